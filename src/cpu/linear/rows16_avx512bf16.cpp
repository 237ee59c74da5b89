// Products of bf16 by VDPBF16PS; all else is as without it.
#define SLUICE_WITH_BF16
#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_product.h"

namespace sluice::cpu {
namespace avx512bf16 {
namespace {

/// A panel of R rows as pairs of bf16, (k / 2, R).
void prepare_pairs(const PrepareCall& c, int64_t begin, int64_t end) {
  for_each_panel<kFloatPanel>(begin, end, [&](auto panel, int64_t first) {
    constexpr int R = decltype(panel)::value;
    std::byte* const out = c.prepared + first * c.k * 2;
    for (int r = 0; r < R; ++r) {
      const float* x = source_row(c, first + r);
      for (int64_t k = 0; k < c.k; k += kLanes) {
        alignas(64) uint32_t pairs[kLanes / 2];
        store_bf16(pairs, load_first(x + k, c.k - k));
        for (int64_t i = 0; i < kLanes / 2 && k + 2 * i < c.k; ++i)
          __builtin_memcpy(out + ((k / 2 + i) * R + r) * 4, &pairs[i], 4);
      }
    }
  });
}
int64_t pair_row_bytes(int64_t k) { return k * 2; }

template <int R>
SLUICE_SIMD void multiply_pairs(const std::byte* tile, int64_t part, int64_t k, const std::byte* x,
                                F32 (&sum)[R]) {
  const std::byte* w = tile + part * kLanes * 4;
  for (int64_t pair = 0; pair < k / 2; ++pair, w += kLineBytes, x += 4 * R) {
    prefetch_ahead(w, kLineBytes);
    const I32 weights = load_bytes(w);
    unroll<R>([&](auto row) {
      constexpr int r = decltype(row)::value;
      sum[r] = dot_bf16(sum[r], weights, splat_bytes(x + 4 * r));
    });
  }
}

void multiply_tiles_pairs(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles<kFloatPanel>(
      c, c.k * kTileRows * 2, pair_row_bytes(c.k), begin, end,
      [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* x, auto& sum) {
        static_assert(kTogether == 1);
        multiply_pairs<decltype(panel)::value>(tile, part, k, x, sum[0]);
      });
}

}  // namespace
}  // namespace avx512bf16

namespace {

ProductFunctions product(DType weight, ops::Activations activations, int64_t m) {
  if (weight == DType::bf16 && activations == ops::Activations::bf16)
    return {.prepare = avx512bf16::prepare_pairs,
            .multiply = avx512bf16::multiply_tiles_pairs,
            .row_bytes = avx512bf16::pair_row_bytes,
            .panel = avx512bf16::kFloatPanel,
            .most_row_bytes = kCachedRowBytes};
  return avx512vnni_tile_functions().product(weight, activations, m);
}

}  // namespace

const TileFunctions& avx512bf16_tile_functions() {
  static const TileFunctions functions{.product = product, .unpack = avx512vnni_tile_functions().unpack};
  return functions;
}

}  // namespace sluice::cpu
