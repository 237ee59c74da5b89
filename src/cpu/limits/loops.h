// Included once per instruction set, after its simd header.
#pragma once

#include "cpu/limits/limits.h"

namespace sluice::cpu::SLUICE_ISA {

constexpr int kChains = 12;  // enough independent operations to hide each one's latency

static int32_t read_loop(const std::byte* begin, int64_t bytes) {
  constexpr int64_t kVector = 4 * kLanes;
  I32 sum[4] = {set1(0), set1(0), set1(0), set1(0)};
  for (int64_t i = 0; i < bytes; i += 4 * kVector) {
    for (int j = 0; j < 4; ++j) sum[j] = add(sum[j], load_bytes(begin + i + j * kVector));
  }
  return reduce_add(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
}

static double f32_loop(int64_t rounds, float* sink) {
  F32 chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = set1(static_cast<float>(c));
  const F32 a = set1(*sink), b = set1(1.0f - *sink);
  for (int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) chain[c] = fma(chain[c], a, b);
  }
  for (int c = 0; c < kChains; ++c) *sink += reduce_add(chain[c]);
  return 2.0 * kChains * kLanes;
}

constexpr int kDots = 8;

/// kDots dot products in the cheapest way there is, which where pairs are added is that of codes of 4 bits;
/// each takes the last one's result, so that none can be left out. Generic in V: see rows16_product.h.
template <typename V>
SLUICE_SIMD V dots(V sum, V w) {
  if constexpr (kPairProducts) {
    V pairs = pair_products(w, sum);
    for (int i = 1; i < kDots; ++i) pairs = add_pairs(pairs, pair_products(w, pairs));
    return add_widened(sum, pairs);
  } else {
    for (int i = 0; i < kDots; ++i) sum = dot_unsigned(sum, w, sum);
    return sum;
  }
}

static double int8_loop(int64_t rounds, int32_t* sink) {
  I32 chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = set1(c);
  const I32 w = set1(*sink & 0x0f0f0f0f);
  for (int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) chain[c] = dots(chain[c], w);
  }
  for (int c = 0; c < kChains; ++c) *sink += reduce_add(chain[c]);
  return 2.0 * 4 * kDots * kChains * kLanes;
}

}  // namespace sluice::cpu::SLUICE_ISA
