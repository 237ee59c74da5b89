#define SLUICE_WITH_AMX
#include "cpu/simd/avx512.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"
#include "cpu/simd/amx_tiles.h"
#include "cpu/simd/unroll.h"

namespace sluice::cpu {
namespace {

/// Products into the four registers of sums in turn; `Int8`: of bytes, four to a word, otherwise of bf16,
/// two.
template <bool Int8>
double tile_loop(int64_t rounds) {
  alignas(64) const std::byte zeros[kTileBytes] = {};
  AmxTiles::configure(TileConfig(64));
  amx::unroll<4>([](auto index) { AmxTiles::zero<decltype(index)::value>(); });
  amx::unroll<4>([&](auto index) { AmxTiles::load<4 + decltype(index)::value>(zeros, 64); });
  for (int64_t i = 0; i < rounds; ++i) {
    amx::unroll<4>([](auto index) {
      constexpr int sum = decltype(index)::value;
      if constexpr (Int8) {
        AmxTiles::dot_int8<sum, 4 + sum / 2, 6 + sum % 2>();
      } else {
        AmxTiles::dot_bf16<sum, 4 + sum / 2, 6 + sum % 2>();
      }
    });
  }
  AmxTiles::release();
  return 2.0 * 4 * kTileEdge * kTileEdge * kTileEdge * (Int8 ? 4 : 2);
}

}  // namespace

const LimitLoops& amx_limit_loops() {
  static constexpr LimitLoops loops{amx::read_loop, amx::f32_loop, amx::int8_loop, tile_loop<false>,
                                    tile_loop<true>};
  return loops;
}

}  // namespace sluice::cpu
