#pragma once

#include "ops/kinds.h"

namespace sluice::cuda {

__device__ inline float activate(ops::ActivationKind kind, float x) {
  switch (kind) {
    case ops::ActivationKind::silu:
      return __fdividef(x, 1.0f + __expf(-x));  // off by as little as other orders of a product's sum
    case ops::ActivationKind::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case ops::ActivationKind::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case ops::ActivationKind::relu:
      return x > 0 || isnan(x) ? x : 0.0f;
    default:
      return x > 0 || isnan(x) ? x * x : 0.0f;
  }
}

}  // namespace sluice::cuda
