#include "cpu/linear/rows16.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "cpu/linear/kernels.h"
#include "quant/format.h"

namespace sluice::cpu {
namespace {

const CodedFormat* coded_format(DType dtype) {
  switch (dtype) {
#define X(format)      \
  case (format).dtype: \
    return &(format);
    SLUICE_CODED_FORMATS(X)
#undef X
    default:
      return nullptr;
  }
}

uint64_t tile_bytes(DType dtype, int64_t k) { return kTileRows * row_bytes(dtype, static_cast<uint64_t>(k)); }

uint64_t packed_bytes(DType dtype, int64_t n, int64_t k) {
  return static_cast<uint64_t>(ceil_div(n, kTileRows)) * tile_bytes(dtype, k);
}

/// One block of one row into its places in the tile's block at `dst`.
void pack_block(const CodedFormat& f, const std::byte* src, int64_t lane, std::byte* dst) {
  const quant::BlockFormat& source = *quant::block_format(f.dtype);
  std::memcpy(dst + 2 * lane, src + source.d_offset, 2);
  if (f.has_min()) std::memcpy(dst + f.m_offset() + 2 * lane, src + source.m_offset, 2);
  for (int i = 0; i < f.scale_words; ++i)
    std::memcpy(dst + f.words_offset() + i * kLineBytes + 4 * lane, src + f.scale_offset + 4 * i, 4);
  for (int i = 0; i < f.extra_bytes; ++i)
    dst[f.extras_offset() + i * kTileRows + lane] = src[f.extra_offset + i];

  quant::Block block;
  quant::unpack_block(f.dtype, src, block);
  for (int e = 0; e < f.elems; ++e) {
    const auto stored = static_cast<unsigned>(
        f.levels ? std::find(kLevels, kLevels + 16, block.code[e]) - kLevels : block.code[e] + f.bias);
    const int64_t quad = e % kChunk / 4;
    std::byte* chunk = dst + f.chunks_offset() + e / kChunk * f.chunk_bytes() + 4 * lane + e % 4;
    const auto put = [&](int64_t line, int64_t shift, unsigned bits) {
      chunk[line * kLineBytes] |= static_cast<std::byte>(bits << shift);
    };
    const unsigned low = stored & ((1u << f.low_bits) - 1), high = stored >> f.low_bits;
    if (f.low_bits == 8) put(quad, 0, low);
    if (f.low_bits == 4) put(quad % 4, quad / 4 * 4, low);
    if (f.low_bits == 2) put(quad / 4, quad % 4 * 2, low);
    if (f.high_bits == 1) put(f.low_bits, quad, high);
    if (f.high_bits == 2) put(f.low_bits + quad / 4, quad % 4 * 2, high);
  }
}

void pack_row(DType dtype, int64_t k, const std::byte* src, int64_t lane, std::byte* tile) {
  const DTypeInfo& type = info(dtype);
  const CodedFormat* format = coded_format(dtype);
  if (format == nullptr) {
    for (int64_t i = 0; i < k; ++i)
      std::memcpy(tile + (i * kTileRows + lane) * type.block_bytes, src + i * type.block_bytes,
                  type.block_bytes);
    return;
  }
  for (int64_t i = 0; i < k; i += type.block_elems, src += type.block_bytes, tile += format->tile_bytes())
    pack_block(*format, src, lane, tile);
}

void pack(DType dtype, int64_t n, int64_t k, int64_t row, int64_t rows, const std::byte* src,
          std::byte* dst) {
  SLUICE_CHECK(row % kTileRows == 0 && (rows % kTileRows == 0 || row + rows == n), "rows [{}, {}) of {}", row,
               row + rows, n);
  const uint64_t tile = tile_bytes(dtype, k), source_row = row_bytes(dtype, static_cast<uint64_t>(k));
  for (int64_t r = row; r < row + rows; ++r, src += source_row) {
    std::byte* to = dst + static_cast<uint64_t>(r / kTileRows) * tile;
    if (r % kTileRows == 0) std::memset(to, 0, tile);
    pack_row(dtype, k, src, r % kTileRows, to);
  }
}

void unpack_row(DType dtype, int64_t, int64_t k, const std::byte* packed, int64_t row, float* out) {
  const std::byte* tile = packed + static_cast<uint64_t>(row / kTileRows) * tile_bytes(dtype, k);
  scalar_tile_functions().unpack(dtype, tile, row % kTileRows, k, out);
}

}  // namespace

bool is_rows16_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || coded_format(dtype) != nullptr;
}

const ops::WeightLayout& rows16_layout() {
  static const ops::WeightLayout layout{.name = "cpu-rows16.1",
                                        .row_tile = kTileRows,
                                        .packed_bytes = packed_bytes,
                                        .pack = pack,
                                        .unpack_row = unpack_row};
  return layout;
}

}  // namespace sluice::cpu
