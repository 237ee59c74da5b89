// A checkpoint whose logits become NaN for some texts.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace sluice::model::testing {

inline constexpr int32_t kBadToken = 77;

/// Writes a tiny llama (TinyModel's sizes) into an existing directory that gives NaN logits to texts with
/// kBadToken in them, and only to those.
Status write_poisoned_checkpoint(const std::string& directory);

}  // namespace sluice::model::testing
