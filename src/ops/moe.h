#pragma once

#include "ops/activation.h"
#include "ops/linear.h"

namespace sluice::ops {

/// Picks the k experts of each token and their weights. Ties go to the lower expert. In fp32.
///   score_first:  s = score(logits), take the k largest of s (+ selection_bias), weight = s
///   otherwise:    take the k largest logits, weight = score over those k
/// renormalise: weights are divided by their sum; all are multiplied by `scale`.
struct Route {
  static constexpr std::string_view kName = "route";
  struct Desc {
    int64_t experts = 0;
    int64_t k = 0;
    RouterScore score = RouterScore::softmax;
    bool score_first = true;
    bool selection_bias = false;
    bool renormalise = false;
    float scale = 1;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("experts", s.experts), v("k", s.k), v("score", s.score), v("score_first", s.score_first);
      v("selection_bias", s.selection_bias), v("renormalise", s.renormalise), v("scale", s.scale);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix logits;  // (m, experts) f32
    const float* selection_bias = nullptr;
    Matrix experts;  // (m, k) i32
    Matrix weights;  // (m, k) f32
  };
  static Cost cost(const Desc& d, int64_t m) {
    const double elems = static_cast<double>(m * d.experts);
    return {4 * elems, 10 * elems};
  }
};

/// y[m] = sum_j weights[m, j] * down_e(act(gate_up_e(x[m]))), e = experts[m, j]. Expert matrices lie one
/// after another, each packed as a Linear of its own.
struct MoeMlp {
  static constexpr std::string_view kName = "moe_mlp";
  struct Desc {
    int64_t experts = 0;
    int64_t k = 0;
    int64_t hidden = 0;
    int64_t width = 0;
    ActivationKind activation = ActivationKind::silu;
    bool gated = true;
    DType gate_up = DType::f32;  // (experts, gated ? 2 * width : width, hidden)
    DType down = DType::f32;     // (experts, hidden, width)
    Activations activations = Activations::f32;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("experts", s.experts), v("k", s.k), v("hidden", s.hidden), v("width", s.width),
          v("activation", s.activation);
      v("gated", s.gated), v("gate_up", s.gate_up), v("down", s.down), v("activations", s.activations);
    }
    bool operator==(const Desc&) const = default;

    Linear::Desc gate_up_linear() const {
      return {gated ? 2 * width : width, hidden, gate_up, activations, false};
    }
    Linear::Desc down_linear() const { return {hidden, width, down, activations, false}; }
  };
  struct Args {
    Matrix x;        // (m, hidden) f32
    Matrix experts;  // (m, k) i32
    Matrix weights;  // (m, k) f32
    const std::byte* gate_up = nullptr;
    const std::byte* down = nullptr;
    Matrix y;  // (m, hidden) f32
  };
  static Cost cost(const Desc& d, int64_t m) {
    // Experts touched by m tokens of k draws, were they uniform.
    double untouched = 1;
    for (int64_t i = 0; i < std::min<int64_t>(m * d.k, 4096); ++i)
      untouched *= 1 - 1.0 / static_cast<double>(d.experts);
    const double touched = static_cast<double>(d.experts) * (1 - untouched);
    const Cost up = Linear::cost(d.gate_up_linear(), 0), down = Linear::cost(d.down_linear(), 0);
    const Cost up_rows = Linear::cost(d.gate_up_linear(), m * d.k),
               down_rows = Linear::cost(d.down_linear(), m * d.k);
    return {touched * (up.bytes + down.bytes) + (up_rows.bytes - up.bytes) + (down_rows.bytes - down.bytes),
            up_rows.flops + down_rows.flops};
  }
};

}  // namespace sluice::ops
