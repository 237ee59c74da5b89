// Models of known shapes without weights: for plans and measurements that need no download.
#pragma once

#include <string>
#include <string_view>

#include "model/model.h"

namespace sluice::model {

/// A MODEL named "random:llama-8b" has the shape of a well-known model and random weights.
constexpr std::string_view kShapePrefix = "random:";

/// "random:llama-8b" as a model: its weights have roles, shapes and the type bf16, but no parts to read.
/// Unknown shapes are refused with those that are known.
Result<Model> model_of_shape(const std::string& name);

}  // namespace sluice::model
