#pragma once

#include "ops/kernel.h"
#include "ops/kinds.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// gated: y = f(x[:, 0:dim]) * x[:, dim:2*dim] (GLU, Shazeer 2020); otherwise y = f(x).
struct Activation {
  static constexpr std::string_view kName = "activation";
  struct Desc {
    int64_t dim = 0;
    ActivationKind kind = ActivationKind::silu;
    bool gated = true;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("dim", s.dim), v("kind", s.kind), v("gated", s.gated);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix x;  // (m, gated ? 2 * dim : dim) f32
    Matrix y;  // (m, dim) f32
  };
  static Cost cost(const Desc& d, int64_t m) {
    const double elems = static_cast<double>(m * d.dim);
    return {4 * elems * (d.gated ? 3 : 2), 20 * elems};
  }
};

}  // namespace sluice::ops
