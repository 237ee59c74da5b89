// Number formats: bytes of a row <-> floats. Everything here is a pure function over bytes, plain enough to
// be the reference that fast kernels are checked against. The block layouts are those of ggml (GGUF files).
//
// A row holds n consecutive elements of a tensor's last dimension; n is a multiple of the format's block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "tensor/dtype.h"

namespace sluice::quant {

/// The largest block of any format, in elements.
constexpr int kMaxBlockElems = 256;

/// One block taken apart, the same for every block format. Element i of the block is
///     x[i] = d * scale[g] * code[i] + m * min[g]   with g = i / group
/// Formats without groups have scale = 1; formats without an offset have m = 0.
struct Block {
  float d = 0;  // of the whole block; always a value that f16 can hold
  float m = 0;  // likewise
  int8_t scale[16] = {};
  uint8_t min[16] = {};
  int8_t code[kMaxBlockElems] = {};
};

/// What one block format is. Adding a format: a row of this and its three functions in one file, and the
/// row's line in format.cpp.
struct BlockFormat {
  DType dtype;
  int group;     // consecutive elements that share a scale
  int d_offset;  // byte offset of the f16 `d` in the packed block
  int m_offset;  // byte offset of the f16 `m`, -1 when the format has none
  float m_sign;  // -1 when the format subtracts the stored value, else 1

  /// Packed bytes -> scale, min and code. d and m are filled by the caller, who knows their offsets.
  void (*unpack)(const std::byte* packed, Block& block);
  /// The inverse; null for formats that are only read.
  void (*pack)(const Block& block, std::byte* packed);
  /// The block whose values come nearest to x[0..block_elems) in the least-squares sense, as far as the
  /// search goes; x is finite. Null for formats that are only read.
  void (*fit)(const float* x, Block& block);
};

/// The block format of a type, or null for plain types.
const BlockFormat* block_format(DType dtype);

/// Takes a packed block apart; `dtype` is a block type.
void unpack_block(DType dtype, const std::byte* packed, Block& block);

/// n elements as floats, exactly as ggml defines them. Plain integers convert by value.
void dequantize_row(DType dtype, const std::byte* src, float* dst, int64_t n);

/// Whether quantize_row can write this type.
bool can_quantize(DType dtype);

/// n floats as packed bytes. f16 and bf16 round to nearest even; block formats minimise the squared error of
/// each block. A block with a NaN, an infinity or a value too large for an f16 scale is stored with a scale
/// of NaN, so that find_non_finite reports it.
void quantize_row(DType dtype, const float* src, std::byte* dst, int64_t n);

/// Index of the first element that is NaN or infinite, or whose scale is; nothing when all are finite.
std::optional<int64_t> find_non_finite(DType dtype, const std::byte* src, int64_t n);

}  // namespace sluice::quant
