#pragma once

#include <vector>

#include "model/model.h"

namespace sluice::model {

/// Finds every weight that the Spec needs among the checkpoint's tensors, by the document's names. Missing
/// tensors are listed (the first ten), shapes that disagree with the config are named.
Result<std::vector<Weight>> bind_weights(const Spec& spec, const Json& document, const Checkpoint& checkpoint,
                                         const std::string& config_origin);

/// The weights that the Spec needs, all of one type and without parts, sorted by role.
std::vector<Weight> expected_weights(const Spec& spec, const Json& document, DType dtype);

}  // namespace sluice::model
