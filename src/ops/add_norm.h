#pragma once

#include "ops/kernel.h"
#include "ops/kinds.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// The residual stream's one op. With branch:   h += multiplier * Nb(branch) ; then, with output:  y = Ny(h).
/// Nb and Ny are norms or the identity (none); sums of squares are taken in fp32.
struct AddNorm {
  static constexpr std::string_view kName = "add_norm";
  struct Desc {
    int64_t dim = 0;
    bool branch = false;  // false: h is only read
    NormKind branch_norm = NormKind::none;
    float multiplier = 1;
    bool output = false;
    NormKind output_norm = NormKind::none;
    float eps = 1e-5f;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("dim", s.dim), v("branch", s.branch), v("branch_norm", s.branch_norm), v("multiplier", s.multiplier);
      v("output", s.output), v("output_norm", s.output_norm), v("eps", s.eps);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix h;                              // (m, dim) f32, updated in place
    Matrix branch;                         // (m, dim) f32
    Matrix y;                              // (m, dim) f32; may not alias h
    const float* branch_weight = nullptr;  // (dim), nullptr: 1
    const float* branch_bias = nullptr;    // (dim), nullptr: 0
    const float* output_weight = nullptr;
    const float* output_bias = nullptr;
  };
  static Cost cost(const Desc& d, int64_t m) {
    const double elems = static_cast<double>(m * d.dim);
    return {4 * elems * (1 + (d.branch ? 2 : 0) + (d.output ? 1 : 0)), 6 * elems};
  }
};

}  // namespace sluice::ops
