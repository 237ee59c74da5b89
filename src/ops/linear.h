#pragma once

#include <optional>

#include "ops/kernel.h"
#include "ops/kinds.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// How the input of a matrix product is represented while it is computed.
enum class Activations {
  f32,   // as it is; weights are dequantised exactly and products are summed in fp32
  int8,  // quantised to int8 with one scale for 32 consecutive elements: integer dot products with quantised
         // weights
  bf16,  // rounded to bf16, for bf16 weights: products are exact and summed in fp32
  f16,   // the same with f16
};
constexpr auto enum_names(Activations) {
  return std::array<std::string_view, 4>{"f32", "int8", "bf16", "f16"};
}

/// y[m, n] = sum_k x[m, k] * W[n, k] (+ bias[n]). With a gate the first half of these sums is activated and
/// multiplied by the second: y[m, j] = gate(s[m, j]) * s[m, n / 2 + j].
struct Linear {
  static constexpr std::string_view kName = "linear";
  struct Desc {
    int64_t n = 0;
    int64_t k = 0;  // a multiple of the weight type's block
    DType weight = DType::f32;
    Activations activations = Activations::f32;
    bool bias = false;
    std::optional<ActivationKind> gate = {};
    /// Columns of y.
    int64_t outputs() const { return gate ? n / 2 : n; }
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("n", s.n), v("k", s.k), v("weight", s.weight), v("activations", s.activations), v("bias", s.bias);
      v("gate", s.gate);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix x;                           // (m, k) f32, or already rounded as `activations` says
    const std::byte* weight = nullptr;  // (n, k) in the kernel's layout
    const float* bias = nullptr;        // (n)
    Matrix y;                           // (m, outputs) f32; may be a range of columns of a wider buffer
  };
  static Cost cost(const Desc& d, int64_t m) {
    const double weights = static_cast<double>(d.n) * static_cast<double>(row_bytes(d.weight, d.k));
    const double rows = static_cast<double>(m);
    return {weights + 4 * rows * static_cast<double>(d.k + d.outputs()),
            2 * rows * static_cast<double>(d.n) * static_cast<double>(d.k)};
  }
};

}  // namespace sluice::ops
