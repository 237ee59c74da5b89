#include "cpu/linear/rows16.h"

#include <array>
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

/// kLevelIndex[level + 128]: where a level stands in the table.
constexpr auto kLevelIndex = [] {
  std::array<uint8_t, 256> index{};
  for (uint8_t i = 0; i < 16; ++i) index[static_cast<size_t>(kLevels[i] + 128)] = i;
  return index;
}();

/// The lines of a chunk as one row has them, a word of each, from its quads of stored codes.
void pack_chunk(const CodedFormat& f, const uint32_t* quad, uint32_t* line) {
  const auto every_byte = [](uint32_t bits) { return bits * 0x01010101u; };
  const uint32_t low = every_byte((1u << f.low_bits) - 1), high = every_byte((1u << f.high_bits) - 1);
  const int low_quads = 8 / f.low_bits;  // that share a line
  for (int i = 0; i < kQuads; ++i) {
    // Four-bit lines hold quads four apart, the others consecutive ones.
    const int to = f.low_bits == 4 ? i % 4 : i / low_quads, place = f.low_bits == 4 ? i / 4 : i % low_quads;
    line[to] |= (quad[i] & low) << (place * f.low_bits);
    if (f.high_bits == 0) continue;
    const int high_quads = 8 / f.high_bits;
    line[f.low_bits + i / high_quads] |= ((quad[i] >> f.low_bits) & high) << (i % high_quads * f.high_bits);
  }
}

/// The codes of one block, a word of four for each quad, whatever their source looks like.
void pack_codes(const CodedFormat& f, const std::byte* src, std::byte* dst) {
  quant::Block block;
  quant::unpack_block(f.dtype, src, block);
  uint8_t stored[quant::kMaxBlockElems];
  for (int e = 0; e < f.elems; ++e) {
    const auto biased = static_cast<uint8_t>(block.code[e] + (f.levels ? 128 : f.bias));
    stored[e] = f.levels ? kLevelIndex[biased] : biased;
  }
  for (int c = 0; c < f.chunks(); ++c, dst += f.chunk_bytes()) {
    uint32_t quad[kQuads], line[kQuads + 2] = {};
    std::memcpy(quad, stored + c * kChunk, sizeof quad);
    pack_chunk(f, quad, line);
    for (int i = 0; i < f.low_bits + f.high_bits; ++i) std::memcpy(dst + i * kLineBytes, &line[i], 4);
  }
}

// The same for the commonest formats, whose codes need little more than to be moved: packing is most of what
// loading a GGUF file takes.

/// Bytes: stored with their bias, the other sign bit.
void move_bytes(const std::byte* codes, std::byte* dst) {
  for (int i = 0; i < kQuads; ++i, dst += kLineBytes) {
    uint32_t word;
    std::memcpy(&word, codes + 4 * i, 4);
    word ^= 0x80808080u;
    std::memcpy(dst, &word, 4);
  }
}
/// Each byte holds an element of 32 and the one 16 further on, as a line does.
void move_nibbles(const CodedFormat& f, const std::byte* codes, std::byte* dst) {
  for (int c = 0; c < f.chunks(); ++c, codes += kChunk / 2, dst += f.chunk_bytes()) {
    for (int i = 0; i < 4; ++i) std::memcpy(dst + i * kLineBytes, codes + 4 * i, 4);
  }
}
/// Each byte holds an element of one chunk and one of the next.
void move_paired_nibbles(const CodedFormat& f, const std::byte* codes, std::byte* dst) {
  constexpr uint32_t kLow = 0x0f0f0f0fu;
  for (int c = 0; c < f.chunks(); c += 2, codes += kChunk, dst += 2 * f.chunk_bytes()) {
    uint32_t word[kQuads];
    std::memcpy(word, codes, sizeof word);
    for (int i = 0; i < 4; ++i) {
      const uint32_t even = (word[i] & kLow) | (word[i + 4] & kLow) << 4;
      const uint32_t odd = (word[i] >> 4 & kLow) | (word[i + 4] & ~kLow);
      std::memcpy(dst + i * kLineBytes, &even, 4);
      std::memcpy(dst + f.chunk_bytes() + i * kLineBytes, &odd, 4);
    }
  }
}

/// Nibbles as above, and a word with the fifth bits of 32 elements, one after another.
void move_nibbles_and_fifths(const CodedFormat& f, const std::byte* fifths, std::byte* dst) {
  move_nibbles(f, fifths + 4, dst);
  uint32_t bits, line = 0;
  std::memcpy(&bits, fifths, 4);
  // The multiplication puts four neighbours into the lowest bits of four bytes.
  for (int i = 0; i < kQuads; ++i) line |= ((bits >> (4 * i) & 15) * 0x00204081u & 0x01010101u) << i;
  std::memcpy(dst + 4 * kLineBytes, &line, 4);
}
/// q6_k: for each four chunks 64 bytes, whose low halves belong to the first two and high halves to the last
/// two, and 32 bytes with two bits of each chunk.
void move_six_bits(const CodedFormat& f, const std::byte* src, std::byte* dst) {
  constexpr uint32_t kLow = 0x0f0f0f0fu, kTwo = 0x03030303u;
  for (int c = 0; c < f.chunks(); ++c, dst += f.chunk_bytes()) {
    uint32_t low[kQuads], high[kQuads], line[2] = {};
    std::memcpy(low, src + c / 4 * 64 + c % 2 * 32, sizeof low);
    std::memcpy(high, src + 128 + c / 4 * 32, sizeof high);
    for (int i = 0; i < 4; ++i) {
      const int half = c % 4 / 2 * 4;
      const uint32_t nibbles = (low[i] >> half & kLow) | (low[i + 4] >> half & kLow) << 4;
      std::memcpy(dst + i * kLineBytes, &nibbles, 4);
      for (int j = 0; j < 2; ++j) line[j] |= (high[4 * j + i] >> (c % 4 * 2) & kTwo) << (2 * i);
    }
    for (int j = 0; j < 2; ++j) std::memcpy(dst + (4 + j) * kLineBytes, &line[j], 4);
  }
}

/// One block of one row, as `source` has it, into its places in the tile's block at `dst`.
void pack_block(const CodedFormat& f, const quant::BlockFormat& source, const std::byte* src, int64_t lane,
                std::byte* dst) {
  std::memcpy(dst + 2 * lane, src + source.d_offset, 2);
  if (f.has_min()) std::memcpy(dst + f.m_offset() + 2 * lane, src + source.m_offset, 2);
  for (int i = 0; i < f.scale_words; ++i)
    std::memcpy(dst + f.words_offset() + i * kLineBytes + 4 * lane, src + f.scale_offset + 4 * i, 4);
  for (int i = 0; i < f.extra_bytes; ++i)
    dst[f.extras_offset() + i * kTileRows + lane] = src[f.extra_offset + i];

  std::byte* const codes = dst + f.chunks_offset() + 4 * lane;
  switch (f.dtype) {
    case DType::q8_0:
      return move_bytes(src + f.bytes - f.elems, codes);
    case DType::q4_0:
    case DType::q4_1:
    case DType::iq4_nl:
    case DType::iq4_xs:
      return move_nibbles(f, src + f.bytes - f.elems / 2, codes);
    case DType::q5_0:
    case DType::q5_1:
      return move_nibbles_and_fifths(f, src + f.bytes - f.elems / 2 - 4, codes);
    case DType::q6_k:
      return move_six_bits(f, src, codes);
    case DType::q4_k:
      return move_paired_nibbles(f, src + f.bytes - f.elems / 2, codes);
    default:
      return pack_codes(f, src, codes);
  }
}

void pack_plain_row(uint32_t bytes, int64_t k, const std::byte* src, int64_t lane, std::byte* tile) {
  for (int64_t i = 0; i < k; ++i) {
    // Constant sizes, so that each is one move.
    if (bytes == 4) {
      std::memcpy(tile + (i * kTileRows + lane) * 4, src + i * 4, 4);
    } else {
      std::memcpy(tile + (i * kTileRows + lane) * 2, src + i * 2, 2);
    }
  }
}

void pack_row(DType dtype, int64_t k, const std::byte* src, int64_t lane, std::byte* tile) {
  const DTypeInfo& type = info(dtype);
  const CodedFormat* format = coded_format(dtype);
  if (dtype == DType::bf16) return pack_plain_row(4, k / 2, src, lane, tile);  // pairs
  if (format == nullptr) return pack_plain_row(type.block_bytes, k, src, lane, tile);
  const quant::BlockFormat& source = *quant::block_format(dtype);
  for (int64_t i = 0; i < k; i += type.block_elems, src += type.block_bytes, tile += format->tile_bytes())
    pack_block(*format, source, src, lane, tile);
}

void pack(DType dtype, int64_t n, int64_t k, int64_t row, int64_t rows, const std::byte* src,
          std::byte* dst) {
  SLUICE_CHECK(row % kTileRows == 0 && (rows % kTileRows == 0 || row + rows == n), "rows [{}, {}) of {}", row,
               row + rows, n);
  const uint64_t tile = tile_bytes(dtype, k), source_row = row_bytes(dtype, static_cast<uint64_t>(k));
  for (int64_t r = row; r < row + rows; ++r, src += source_row) {
    std::byte* to = dst + static_cast<uint64_t>(r / kTileRows) * tile;
    // The last tile may have fewer rows.
    if (r % kTileRows == 0 && r + kTileRows > n) std::memset(to, 0, tile);
    pack_row(dtype, k, src, r % kTileRows, to);
  }
}

void unpack_row(DType dtype, int64_t, int64_t k, const std::byte* packed, int64_t row, float* out) {
  const std::byte* tile = packed + static_cast<uint64_t>(row / kTileRows) * tile_bytes(dtype, k);
  scalar_tile_functions().unpack(dtype, tile, row % kTileRows, k, out);
}

}  // namespace

std::string rows16_layout_refuses(DType dtype, int64_t k) {
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16 && coded_format(dtype) == nullptr)
    return fmt::format("the layout does not hold {}", name(dtype));
  if (k % info(dtype).block_elems != 0) return "k is not a multiple of the weight type's block";
  if (dtype == DType::bf16 && k % 2 != 0) return "the layout holds pairs of bf16, k is odd";
  return {};
}

const ops::WeightLayout& rows16_layout() {
  static const ops::WeightLayout layout{.name = "cpu-rows16.2",
                                        .row_tile = kTileRows,
                                        .packed_bytes = packed_bytes,
                                        .pack = pack,
                                        .unpack_row = unpack_row};
  return layout;
}

}  // namespace sluice::cpu
