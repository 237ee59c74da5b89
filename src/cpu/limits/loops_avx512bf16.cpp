#define SLUICE_WITH_BF16
#include "cpu/simd/avx512.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"

namespace sluice::cpu {
namespace {

double bf16_loop(int64_t rounds) {
  using namespace avx512bf16;
  F32 chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = zero();
  const I32 ones = set1(0x3f803f80);
  for (int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) chain[c] = dot_bf16(chain[c], ones, ones);
  }
  float sum = 0;
  for (int c = 0; c < kChains; ++c) sum += reduce_add(chain[c]);
  // Never so: the sums must be needed.
  return sum < 0 ? 0 : 2.0 * 2 * kChains * kLanes;
}

}  // namespace

const LimitLoops& avx512bf16_limit_loops() {
  static constexpr LimitLoops loops{avx512bf16::read_loop, avx512bf16::f32_loop, avx512bf16::int8_loop,
                                    bf16_loop};
  return loops;
}

}  // namespace sluice::cpu
