// What each instruction set provides for matrix products in the rows16 layout: functions over ranges, without
// threads. The drivers in linear.cpp and moe.cpp share the ranges out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/linear.h"

namespace sluice::cpu {

/// Rows of x on their way into a product: y (m, n) = x (m, k) * W^T.
///
/// They are prepared once per product, in a form that its multiply() alone knows: panels of some rows, each
/// of which lies as the registers want it.
struct PrepareCall {
  const float* x = nullptr;
  int64_t x_stride = 0;
  const int32_t* x_rows = nullptr;  // row i of the product is row x_rows[i] of x; nullptr: row i
  int64_t m = 0, k = 0;
  std::byte* prepared = nullptr;  // m, rounded up to row_multiple, times row_bytes
};

struct ProductCall {
  const std::byte* prepared = nullptr;
  const std::byte* weight = nullptr;  // all tiles
  const float* bias = nullptr;        // (n), may be null
  float* y = nullptr;                 // column `first_column` of row 0
  int64_t y_stride = 0;
  int64_t first_column = 0;
  int64_t m = 0, n = 0, k = 0;
};

/// An activation that its block of int8 leaves out: element `column` of a chunk of row `row` of a panel.
struct Outlier {
  float x;
  uint16_t row, column;
};

/// 32 activations, quantised, with what a product needs besides their dot product.
struct ActivationBlock {
  float d;  // x = d * q
  // For weights with offsets: d * sum(q), of all 32 or of each half. For weights stored with a bias:
  // -bias * sum(q) as int32, likewise.
  union {
    float d_sum[2];
    int32_t correction[2];
  };
  int32_t outliers_end;  // in the first block of a panel's chunk: the panel's outliers up to this chunk's end
  int8_t q[32];
};
static_assert(sizeof(ActivationBlock) == 48);

/// What a product that goes over its rows anew for each tile should have in rows: they and a tile fit into a
/// second level cache.
constexpr int64_t kCachedRowBytes = 128 << 10;

/// The kernels of one weight type with one representation of activations.
struct ProductFunctions {
  /// Prepares rows [begin, end); begin is a multiple of `panel`.
  void (*prepare)(const PrepareCall& call, int64_t begin, int64_t end) = nullptr;
  /// Computes the columns of y that belong to tiles [begin, end). `scratch` is the thread's.
  void (*multiply)(const ProductCall& call, int64_t begin, int64_t end, std::byte* scratch) = nullptr;
  int64_t (*row_bytes)(int64_t k) =
      nullptr;  // of a prepared row; row r of x begins at r of them if r % panel = 0
  int64_t panel = 1;
  int64_t least_tiles = 1;      // that multiply() should be given, for speed
  int64_t most_row_bytes = 0;   // of prepared rows that it should be given, for speed; 0: any
  bool lone_row_as_is = false;  // a single row is prepared by pointing at it
};

struct TileFunctions {
  /// For products of m rows. Neither an output's bits nor the bytes of a row depend on m. Null functions
  /// where there is no such kernel (int8 activations with plain weights).
  ProductFunctions (*product)(DType weight, ops::Activations activations, int64_t m) = nullptr;
  /// One row of a tile as floats.
  void (*unpack)(DType dtype, const std::byte* tile, int64_t row, int64_t k, float* out) = nullptr;
  int64_t row_multiple = 1;  // there is room for this many prepared rows, or a multiple
  /// Scratch of one thread in multiply(), for products of k columns; nullptr: none.
  int64_t (*scratch_bytes)(int64_t k) = nullptr;
};

const TileFunctions& scalar_tile_functions();
const TileFunctions& avx2_tile_functions();
const TileFunctions& avxvnni_tile_functions();
const TileFunctions& avx512_tile_functions();
const TileFunctions& avx512vnni_tile_functions();
const TileFunctions& avx512bf16_tile_functions();
const TileFunctions& amx_tile_functions();

}  // namespace sluice::cpu
