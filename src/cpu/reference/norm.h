#pragma once

#include <cstdint>

#include "ops/add_norm.h"

namespace sluice::cpu::reference {

/// y = norm(x) over n elements, sums in double; y may be x. Absent weights are 1, absent biases 0.
void normalise(ops::NormKind kind, int64_t n, float eps, const float* x, const float* weight,
               const float* bias, float* y);

}  // namespace sluice::cpu::reference
