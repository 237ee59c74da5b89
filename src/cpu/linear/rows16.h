// The weight layout "cpu-rows16.2": 16 rows of the matrix (output features) interleaved, so that a vector
// register holds one column, or four consecutive columns as bytes, of 8 or 16 rows. Each lane sums its own
// output in the order of k: no horizontal sums, and the same sums whatever the number of rows of x.
//
// A tile is 16 rows by k; the last one is padded with zero rows. It takes exactly the bytes of its rows in
// the source format. Plain types: (k, 16) elements, bf16 (k / 2, 16, 2), what dot
// products of pairs take. Block types: block after block, each
//
//   d        16 f16                 scales of the 16 rows
//   m        16 f16                 offsets, where the format has them
//   scales   (scale_words, 16) u32  the inner scales' bytes as the format packs them, four at a time
//   extra    (scale_bytes, 16) u8   what does not fill four
//   chunks   of 32 columns each: first the low bits of the codes, then the high bits
//
// Codes are stored as unsigned numbers, code + bias, or as indices into a table of levels. A chunk is eight
// quads of columns; quad i holds columns 4i..4i+3, one in each byte of a 32-bit lane. Lines are 64 bytes: 16
// rows by four bytes.
//
//   8 bits: line i          = quad i
//   4 bits: line i % 4      = quad i in the low halves of the bytes for i < 4, in the high halves otherwise
//   2 bits: line i / 4      = quad i in bits 2 (i % 4) and up
//   1 bit:  the only line   = quad i in bit i
#pragma once

#include <cstdint>
#include <string>

#include "ops/kernel.h"

namespace sluice::cpu {

constexpr int64_t kTileRows = 16;
constexpr int64_t kChunk = 32;      // columns
constexpr int64_t kQuads = 8;       // of four columns in a chunk
constexpr int64_t kLineBytes = 64;  // 16 rows by 4 bytes

/// How a block type lies in a tile. Structural, so that kernels are templates over it.
struct CodedFormat {
  DType dtype;
  int elems;  // columns of a block
  int bytes;  // of one row's block
  int group;  // columns that share a scale: 16 or 32
  int low_bits, high_bits;
  int bias;          // stored = code + bias
  bool levels;       // stored = index into kLevels
  int m_sign;        // of the stored offset; 0: the format has none
  int scale_offset;  // where the inner scales begin in the source block
  int scale_words;   // how many 32-bit words of them there are
  int extra_offset;  // where further bytes of inner scales begin
  int extra_bytes;

  constexpr bool has_min() const { return m_sign != 0; }
  constexpr int groups() const { return elems / group; }
  constexpr int chunks() const { return elems / static_cast<int>(kChunk); }
  constexpr int m_offset() const { return 2 * static_cast<int>(kTileRows); }
  constexpr int words_offset() const { return (has_min() ? 2 : 1) * 2 * static_cast<int>(kTileRows); }
  constexpr int extras_offset() const { return words_offset() + scale_words * static_cast<int>(kLineBytes); }
  constexpr int chunks_offset() const { return extras_offset() + extra_bytes * static_cast<int>(kTileRows); }
  constexpr int chunk_bytes() const { return static_cast<int>(kLineBytes) * (low_bits + high_bits); }
  /// Bytes of 16 rows of one block.
  constexpr int tile_bytes() const { return static_cast<int>(kTileRows) * bytes; }
  constexpr bool consistent() const { return chunks_offset() + chunks() * chunk_bytes() == tile_bytes(); }
};

//                                      dtype        elems bytes group low high bias levels m  scales    extra
inline constexpr CodedFormat kRowsQ8_0{DType::q8_0, 32, 34, 32, 8, 0, 128, false, 0, 0, 0, 0, 0};
inline constexpr CodedFormat kRowsQ4_0{DType::q4_0, 32, 18, 32, 4, 0, 8, false, 0, 0, 0, 0, 0};
inline constexpr CodedFormat kRowsQ4_1{DType::q4_1, 32, 20, 32, 4, 0, 0, false, 1, 0, 0, 0, 0};
inline constexpr CodedFormat kRowsQ5_0{DType::q5_0, 32, 22, 32, 4, 1, 16, false, 0, 0, 0, 0, 0};
inline constexpr CodedFormat kRowsQ5_1{DType::q5_1, 32, 24, 32, 4, 1, 0, false, 1, 0, 0, 0, 0};
inline constexpr CodedFormat kRowsQ2K{DType::q2_k, 256, 84, 16, 2, 0, 0, false, -1, 0, 4, 0, 0};
inline constexpr CodedFormat kRowsQ3K{DType::q3_k, 256, 110, 16, 2, 1, 4, false, 0, 96, 3, 0, 0};
inline constexpr CodedFormat kRowsQ4K{DType::q4_k, 256, 144, 32, 4, 0, 0, false, -1, 4, 3, 0, 0};
inline constexpr CodedFormat kRowsQ5K{DType::q5_k, 256, 176, 32, 4, 1, 0, false, -1, 4, 3, 0, 0};
inline constexpr CodedFormat kRowsQ6K{DType::q6_k, 256, 210, 16, 4, 2, 32, false, 0, 192, 4, 0, 0};
inline constexpr CodedFormat kRowsIQ4NL{DType::iq4_nl, 32, 18, 32, 4, 0, 0, true, 0, 0, 0, 0, 0};
inline constexpr CodedFormat kRowsIQ4XS{DType::iq4_xs, 256, 136, 32, 4, 0, 0, true, 0, 4, 1, 2, 2};

#define SLUICE_CODED_FORMATS(X) \
  X(kRowsQ8_0)                  \
  X(kRowsQ4_0)                  \
  X(kRowsQ4_1)                  \
  X(kRowsQ5_0)                  \
  X(kRowsQ5_1)                  \
  X(kRowsQ2K)                   \
  X(kRowsQ3K)                   \
  X(kRowsQ4K)                   \
  X(kRowsQ5K)                   \
  X(kRowsQ6K)                   \
  X(kRowsIQ4NL)                 \
  X(kRowsIQ4XS)

#define X(format) static_assert(format.consistent());
SLUICE_CODED_FORMATS(X)
#undef X

/// The levels of iq4_nl and iq4_xs (ggml's table).
inline constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};

/// Empty when the layout can hold rows of k elements of this type.
std::string rows16_layout_refuses(DType dtype, int64_t k);

const ops::WeightLayout& rows16_layout();

}  // namespace sluice::cpu
