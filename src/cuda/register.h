#pragma once

#include <algorithm>

#include "ops/ops.h"

namespace sluice::cuda {

void register_row_kernels(ops::Kernels& kernels);
void register_linear_kernels(ops::Kernels& kernels);
void register_attention_kernels(ops::Kernels& kernels);
void register_moe_kernels(ops::Kernels& kernels);

/// What a kernel reaches of the device; only their order matters where nothing was measured.
struct Rates {
  double bytes_per_second, flops_per_second;
};
inline double roofline_seconds(const ops::Cost& cost, const Rates& rates) {
  return std::max(cost.bytes / rates.bytes_per_second, cost.flops / rates.flops_per_second);
}
template <typename Op>
double seconds_of_rows(const typename Op::Desc& d, int64_t rows) {
  return roofline_seconds(Op::cost(d, rows), {2.5e12, 20e12});
}

inline bool is_plain_float(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

}  // namespace sluice::cuda
