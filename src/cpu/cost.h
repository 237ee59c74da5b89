// Predicted seconds of kernels: a roofline with one bandwidth and one rate per kernel. Only their order
// matters, where the engine's tuning table has no measurement.
#pragma once

#include <algorithm>

#include "ops/kernel.h"

namespace sluice::cpu {

struct Rates {
  double bytes_per_second;
  double flops_per_second;
};

inline double roofline_seconds(const ops::Cost& cost, const Rates& rates) {
  return std::max(cost.bytes / rates.bytes_per_second, cost.flops / rates.flops_per_second);
}

/// What plain loops reach: never preferred to a kernel written for speed.
constexpr Rates kReferenceRates{1e9, 0.5e9};

}  // namespace sluice::cpu
