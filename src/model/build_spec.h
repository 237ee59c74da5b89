#pragma once

#include "model/checkpoint/checkpoint.h"
#include "model/config.h"
#include "model/spec.h"

namespace sluice::model {

/// The Spec that a config describes through its arch document. Reads a GGUF's rope tables from the
/// checkpoint.
Result<Spec> build_spec(const Config& config, const Checkpoint& checkpoint);

}  // namespace sluice::model
