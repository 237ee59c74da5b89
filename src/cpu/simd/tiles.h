// Tile registers as kernels see them; what a machine provides is in amx_tiles.h, and in plain code in
// emulated_tiles.h. A provider has static functions over the register numbers 0..7:
//
//   configure(TileConfig), release()
//   zero<T>(), load<T>(from, stride), store<T>(to, stride)
//   dot_int8<C, A, B>()   C[m][n] += sum over j < 4 of A[m][4 k + j] * B[k][4 n + j], signed bytes, int32
//   sums dot_bf16<C, A, B>()   C[m][n] += (sum over k of A[m][2 k] * B[k][2 n]) + (the same of 2 k + 1, 2 n +
//   1), fp32
#pragma once

#include <cstdint>

namespace sluice::cpu {

constexpr int64_t kTileEdge = 16;  // rows of a register, and 32-bit columns of a full one
constexpr int64_t kTileBytes = 1024;
// From this many rows of x on tile registers need fewer instructions than vector registers.
constexpr int64_t kLeastTileRows = 9;

/// Shapes of the registers, as LDTILECFG reads them. Here always: 0..3 sums (16, 16), 4..5 rows of x, 6..7
/// weights.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  /// One instruction takes `depth` bytes of each row of x.
  explicit TileConfig(int depth) {
    for (int t = 0; t < 8; ++t) {
      row_bytes[t] = static_cast<uint16_t>(t == 4 || t == 5 ? depth : 64);
      rows[t] = static_cast<uint8_t>(t >= 6 ? depth / 4 : kTileEdge);
    }
  }
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace sluice::cpu
