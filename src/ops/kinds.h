// The choices that ops know, spelt once: for descriptors, model documents and device code alike.
#pragma once

#include <array>
#include <string_view>

namespace sluice::ops {

enum class ActivationKind {
  silu,       // x * sigmoid(x)
  gelu,       // x * Phi(x), with erf
  gelu_tanh,  // its tanh approximation ("gelu_new", "gelu_pytorch_tanh")
  relu,
  relu2,  // relu(x)^2
};
constexpr auto enum_names(ActivationKind) {
  return std::array<std::string_view, 5>{"silu", "gelu", "gelu_tanh", "relu", "relu2"};
}

enum class NormKind {
  none,
  rms,    // x / sqrt(mean(x^2) + eps) * w        (Zhang & Sennrich 2019)
  layer,  // (x - mean) / sqrt(var + eps) * w + b  (Ba et al. 2016); w and b may be absent
};
constexpr auto enum_names(NormKind) { return std::array<std::string_view, 3>{"none", "rms", "layer"}; }

enum class RopeStyle {
  none,
  half,         // pairs (i, i + n): GPT-NeoX, transformers' rotate_half
  interleaved,  // pairs (2i, 2i + 1): GPT-J, GGUF's llama
};
constexpr auto enum_names(RopeStyle) {
  return std::array<std::string_view, 3>{"none", "half", "interleaved"};
}

enum class QkNormScope {
  none,
  head,      // over each head's d_qk, one weight (d_qk) for all heads
  per_head,  // over each head's d_qk, own weights (heads, d_qk)
  full,      // over the whole projection, weight (heads * d_qk)
};
constexpr auto enum_names(QkNormScope) {
  return std::array<std::string_view, 4>{"none", "head", "per_head", "full"};
}

enum class RouterScore { softmax, sigmoid };
constexpr auto enum_names(RouterScore) { return std::array<std::string_view, 2>{"softmax", "sigmoid"}; }

}  // namespace sluice::ops
