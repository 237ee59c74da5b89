// The documents of src/arch, compiled into the binary, and the closed set of value forms they use
// (src/arch/README.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace sluice::model {

/// Names of all architectures that can be loaded, sorted.
std::vector<std::string> known_architectures();

/// The document that covers this `model_type` of a config.json, with everything it extends merged in. An
/// unknown one is refused with the nearest known names.
Result<Json> arch_for_model_type(const std::string& model_type);

/// The same for GGUF's `general.architecture`, with the document's "gguf" patch applied.
Result<Json> arch_for_gguf(const std::string& architecture);

/// A config key's value: "$a.b" style paths without the "$"; null when missing or null.
const Json* config_value(const Json& config, std::string_view path);

/// Replaces every form inside `value` by what it stands for in layer `layer` of this config. Members whose
/// form yields nothing are left out. `origin` names the config's file in messages.
Result<Json> evaluate(const Json& value, const Json& config, int64_t layer, const std::string& origin);

/// The config keys that a form reads, as "a or b": for messages about the value it gave.
std::string config_keys(const Json& value);

}  // namespace sluice::model
