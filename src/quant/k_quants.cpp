// The 256-element formats of ggml: groups of 16 or 32 elements whose scales are small integers under one f16
// for the whole block. d and dmin are f16, scales 6 bits wide unless said otherwise.
//
//          bytes of a block                                                      value of element i, g its
//          group
//   q2_k   u8 scales[16] | 2-bit codes[64] | d | dmin                            d * sc[g] * q - dmin * mn[g]
//   q3_k   high bits[32] | 2-bit codes[64] | scales[12] | d                      d * (sc[g] - 32) * (q - 4)
//   q4_k   d | dmin | scales[12] | nibbles[128]                                  d * sc[g] * q - dmin * mn[g]
//   q5_k   d | dmin | scales[12] | high bits[32] | nibbles[128]                  d * sc[g] * q - dmin * mn[g]
//   q6_k   low nibbles[128] | 2-bit high parts[64] | i8 scales[16] | d           d * sc[g] * (q - 32)
//
// The code arrays interleave: consecutive elements lie in consecutive bytes, and the bit fields of one byte
// belong to elements 32 or 64 apart, so that one shift serves a whole vector register. Each place is spelt
// out below.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/fit.h"
#include "quant/formats.h"

namespace sluice::quant {
namespace {

constexpr int kElems = 256;

uint8_t byte_at(const std::byte* p, int i) { return std::to_integer<uint8_t>(p[i]); }

// Where element i lies. Nibbles (q4_k, q5_k): 64 elements share 32 bytes, the first 32 in the low halves.
struct Place {
  int byte, shift;
};
constexpr Place nibble_place(int i) { return {i / 64 * 32 + i % 32, i % 64 / 32 * 4}; }
// Pairs of bits (q2_k, q3_k, the high parts of q6_k): 128 elements share 32 bytes, 32 elements for each
// shift.
constexpr Place pair_place(int i) { return {i / 128 * 32 + i % 32, i % 128 / 32 * 2}; }
// Single bits (q3_k, q5_k): 256 elements share 32 bytes.
constexpr Place bit_place(int i) { return {i % 32, i / 32}; }
// Low nibbles of q6_k: 128 elements share 64 bytes, the first 64 in the low halves.
constexpr Place q6_nibble_place(int i) { return {i / 128 * 64 + i % 64, i % 128 / 64 * 4}; }

int get(const std::byte* p, Place place, int mask) { return (byte_at(p, place.byte) >> place.shift) & mask; }
// Sets bits of a field that is zero.
void put(std::byte* p, Place place, int value) {
  p[place.byte] |= static_cast<std::byte>(value << place.shift);
}

// ---- q2_k

constexpr int kQ2Codes = 16;

void unpack_q2(const std::byte* packed, Block& block) {
  for (int g = 0; g < 16; ++g) {
    block.scale[g] = static_cast<int8_t>(byte_at(packed, g) & 15);
    block.min[g] = byte_at(packed, g) >> 4;
  }
  for (int i = 0; i < kElems; ++i) {
    block.code[i] = static_cast<int8_t>(get(packed + kQ2Codes, pair_place(i), 3));
  }
}

// ---- q3_k

constexpr int kQ3Codes = 32, kQ3Scales = 96;

void unpack_q3(const std::byte* packed, Block& block) {
  // Scale g: four low bits in nibble g of the first 8 bytes (low halves first), two high bits in the last 4.
  const std::byte* scales = packed + kQ3Scales;
  for (int g = 0; g < 16; ++g) {
    const int low = get(scales, {g % 8, g / 8 * 4}, 15);
    const int high = get(scales + 8, {g % 4, g / 4 * 2}, 3);
    block.scale[g] = static_cast<int8_t>(low + 16 * high - 32);
  }
  for (int i = 0; i < kElems; ++i) {
    const int low = get(packed + kQ3Codes, pair_place(i), 3);
    const int high = get(packed, bit_place(i), 1);
    block.code[i] = static_cast<int8_t>(low + 4 * high - 4);
  }
}

// ---- q4_k and q5_k: the same scales

constexpr int kScaleBytes = 12, kQ4Scales = 4, kQ4Codes = 16, kQ5High = 16, kQ5Codes = 48;

// Groups 0..3 have scale and min whole, in the low 6 bits of bytes g and g + 4. Groups 4..7 have the low four
// bits of both in byte g + 4, and the high two in the top bits of the bytes of group g - 4.
void unpack_scales(const std::byte* scales, Block& block) {
  for (int g = 0; g < 4; ++g) {
    const int a = byte_at(scales, g), b = byte_at(scales, g + 4), c = byte_at(scales, g + 8);
    block.scale[g] = static_cast<int8_t>(a & 63);
    block.min[g] = static_cast<uint8_t>(b & 63);
    block.scale[g + 4] = static_cast<int8_t>((c & 15) | (a >> 6) << 4);
    block.min[g + 4] = static_cast<uint8_t>((c >> 4) | (b >> 6) << 4);
  }
}

void pack_scales(const Block& block, std::byte* scales) {
  for (int g = 0; g < 4; ++g) {
    const int late_scale = block.scale[g + 4], late_min = block.min[g + 4];
    scales[g] = static_cast<std::byte>(block.scale[g] | (late_scale >> 4) << 6);
    scales[g + 4] = static_cast<std::byte>(block.min[g] | (late_min >> 4) << 6);
    scales[g + 8] = static_cast<std::byte>((late_scale & 15) | (late_min & 15) << 4);
  }
}

void unpack_q4(const std::byte* packed, Block& block) {
  unpack_scales(packed + kQ4Scales, block);
  for (int i = 0; i < kElems; ++i) {
    block.code[i] = static_cast<int8_t>(get(packed + kQ4Codes, nibble_place(i), 15));
  }
}

void pack_q4(const Block& block, std::byte* packed) {
  std::memset(packed + kQ4Scales, 0, kScaleBytes + 128);
  pack_scales(block, packed + kQ4Scales);
  for (int i = 0; i < kElems; ++i) put(packed + kQ4Codes, nibble_place(i), block.code[i]);
}

void unpack_q5(const std::byte* packed, Block& block) {
  unpack_scales(packed + kQ4Scales, block);
  for (int i = 0; i < kElems; ++i) {
    const int low = get(packed + kQ5Codes, nibble_place(i), 15);
    const int high = get(packed + kQ5High, bit_place(i), 1);
    block.code[i] = static_cast<int8_t>(low + 16 * high);
  }
}

void pack_q5(const Block& block, std::byte* packed) {
  std::memset(packed + kQ4Scales, 0, kScaleBytes + 32 + 128);
  pack_scales(block, packed + kQ4Scales);
  for (int i = 0; i < kElems; ++i) {
    put(packed + kQ5Codes, nibble_place(i), block.code[i] & 15);
    put(packed + kQ5High, bit_place(i), block.code[i] >> 4);
  }
}

// ---- q6_k

constexpr int kQ6High = 128, kQ6Scales = 192;

void unpack_q6(const std::byte* packed, Block& block) {
  std::memcpy(block.scale, packed + kQ6Scales, 16);
  for (int i = 0; i < kElems; ++i) {
    const int low = get(packed, q6_nibble_place(i), 15);
    const int high = get(packed + kQ6High, pair_place(i), 3);
    block.code[i] = static_cast<int8_t>(low + 16 * high - 32);
  }
}

void pack_q6(const Block& block, std::byte* packed) {
  std::memset(packed, 0, kQ6Scales);
  std::memcpy(packed + kQ6Scales, block.scale, 16);
  for (int i = 0; i < kElems; ++i) {
    const int q = block.code[i] + 32;
    put(packed, q6_nibble_place(i), q & 15);
    put(packed + kQ6High, pair_place(i), q >> 4);
  }
}

// ---- search

constexpr int kMaxScale = 63;  // of a 6-bit scale or min

// The f16 under which `extreme` becomes an integer of at most `limit`, both of one sign or both of different
// signs: rounded away from zero, so that the largest group is not clipped where f16 is subnormal and coarse.
float block_scale(float extreme, int limit) {
  const float exact = extreme / static_cast<float>(limit);
  const uint16_t bits = f32_to_f16(exact);
  const bool short_of = std::fabs(f16_to_f32(bits)) < std::fabs(exact);
  return f16_to_f32(short_of ? static_cast<uint16_t>(bits + 1) : bits);
}

// Each group's own best (d, m) fixes the block's two f16; then every group takes the pair of 6-bit integers,
// out of the nearest and their neighbours, that leaves the least error with codes chosen anew.
template <int Hi>
void fit_offset_groups(const float* x, Block& block) {
  constexpr int kGroup = 32, kGroups = kElems / kGroup;
  ScaleMin best[kGroups];
  float max_d = 0, max_m = 0;
  for (int g = 0; g < kGroups; ++g) {
    best[g] = fit_scale_min(x + g * kGroup, kGroup, Hi, /*min_may_be_positive=*/false);
    max_d = std::max(max_d, best[g].d);
    max_m = std::max(max_m, -best[g].m);
  }
  const float d = block_scale(max_d, kMaxScale), dmin = block_scale(max_m, kMaxScale);
  block.d = d;
  block.m = -dmin;
  for (int g = 0; g < kGroups; ++g) {
    const float* group = x + g * kGroup;
    const int scale = d == 0 ? 0 : std::min(kMaxScale, static_cast<int>(std::lround(best[g].d / d)));
    const int min = dmin == 0 ? 0 : std::min(kMaxScale, static_cast<int>(std::lround(-best[g].m / dmin)));
    float least = HUGE_VALF;
    for (int s = std::max(0, scale - 1); s <= std::min(kMaxScale, scale + 1); ++s) {
      for (int m = std::max(0, min - 1); m <= std::min(kMaxScale, min + 1); ++m) {
        const float error =
            assigned_error(group, kGroup, d * static_cast<float>(s), -dmin * static_cast<float>(m), 0, Hi);
        if (error >= least) continue;
        least = error;
        block.scale[g] = static_cast<int8_t>(s);
        block.min[g] = static_cast<uint8_t>(m);
      }
    }
    assign_codes(group, kGroup, d * static_cast<float>(block.scale[g]),
                 -dmin * static_cast<float>(block.min[g]), 0, Hi, block.code + g * kGroup);
  }
}

void fit_q6(const float* x, Block& block) {
  constexpr int kGroup = 16, kGroups = kElems / kGroup;
  float best[kGroups];
  float extreme = 0;
  for (int g = 0; g < kGroups; ++g) {
    best[g] = fit_scale(x + g * kGroup, kGroup, -32, 31);
    if (std::fabs(best[g]) > std::fabs(extreme)) extreme = best[g];
  }
  block.d = block_scale(extreme, -128);  // the largest scale takes the longer side of int8
  for (int g = 0; g < kGroups; ++g) {
    const float scale = block.d == 0 ? 0 : std::clamp(std::round(best[g] / block.d), -128.0f, 127.0f);
    block.scale[g] = static_cast<int8_t>(scale);
    assign_codes(x + g * kGroup, kGroup, block.d * scale, 0, -32, 31, block.code + g * kGroup);
  }
}

}  // namespace

const BlockFormat kQ2K = {DType::q2_k, 16, 80, 82, -1, unpack_q2, nullptr, nullptr};
const BlockFormat kQ3K = {DType::q3_k, 16, 108, -1, 1, unpack_q3, nullptr, nullptr};
const BlockFormat kQ4K = {DType::q4_k, 32, 0, 2, -1, unpack_q4, pack_q4, fit_offset_groups<15>};
const BlockFormat kQ5K = {DType::q5_k, 32, 0, 2, -1, unpack_q5, pack_q5, fit_offset_groups<31>};
const BlockFormat kQ6K = {DType::q6_k, 16, 208, -1, 1, unpack_q6, pack_q6, fit_q6};

}  // namespace sluice::quant
