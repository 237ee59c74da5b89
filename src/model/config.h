// config.json, or GGUF metadata under the same key names; and the text part of multimodal configs.
#pragma once

#include "base/json.h"
#include "model/checkpoint/checkpoint.h"

namespace sluice::model {

struct Config {
  std::string origin;  // the file, for messages
  Json values;
  Json document;  // the arch document that covers it
};

/// Reads the config that belongs to a checkpoint and finds its arch document.
Result<Config> read_config(const Checkpoint& checkpoint);

/// A value as messages show it: its first characters.
std::string in_brief(const Json& value);

}  // namespace sluice::model
