// A checkpoint in memory, in floats: for tests that take one apart, change it and write it again.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"

namespace sluice::model::testing {

struct LooseTensor {
  std::vector<uint64_t> shape;  // row-major
  std::vector<float> values;
};

struct LooseCheckpoint {
  Json config;
  std::map<std::string, LooseTensor> tensors;

  /// Gives every tensor whose name starts with `from` a name that starts with `to` instead.
  void rename(const std::string& from, const std::string& to);
};

/// Reads a directory's config.json and all its tensors, of whatever type.
Result<LooseCheckpoint> read_loose(const std::string& directory);

/// Writes config.json and model.safetensors (F32) into an existing directory.
Status write_loose(const std::string& directory, const LooseCheckpoint& checkpoint);

}  // namespace sluice::model::testing
