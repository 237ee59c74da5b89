#pragma once

#include "ops/kernel.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// y[i, :] = x[rows[i], :]
struct GatherRows {
  static constexpr std::string_view kName = "gather_rows";
  struct Desc {
    int64_t dim = 0;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("dim", s.dim);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix x;                       // (m, dim) f32
    const int32_t* rows = nullptr;  // (y.rows)
    Matrix y;
  };
  static Cost cost(const Desc& d, int64_t m) { return {8.0 * static_cast<double>(m * d.dim), 0}; }
};

/// x = cap * tanh(scale * x / cap), or x = scale * x without a cap; in place. Gemma's and Cohere's logits.
struct ScaleSoftcap {
  static constexpr std::string_view kName = "scale_softcap";
  struct Desc {
    int64_t dim = 0;
    float scale = 1;
    float softcap = 0;  // 0: none
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("dim", s.dim), v("scale", s.scale), v("softcap", s.softcap);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix x;  // (m, dim) f32
  };
  static Cost cost(const Desc& d, int64_t m) {
    return {8.0 * static_cast<double>(m * d.dim), 20.0 * static_cast<double>(m * d.dim)};
  }
};

}  // namespace sluice::ops
