// Taking a tile's block apart into vectors. Included once per instruction set, after its simd header.
#pragma once

#include "cpu/linear/rows16.h"
#include "cpu/simd/unroll.h"

namespace sluice::cpu::SLUICE_ISA {

constexpr int64_t kParts = kTileRows / kLanes;  // vectors that hold one value of each row of a tile

/// Codes of 8 bits and table levels need a signed or a biased product; which one is the instruction set's
/// choice.
constexpr bool is_wide(const CodedFormat& f) { return f.low_bits == 8 || f.levels; }
/// The quads that codes() yields hold code + bias as unsigned bytes, or signed codes where this is 0 and the
/// format is wide.
constexpr int quad_bias(const CodedFormat& f) { return is_wide(f) ? (kUnsignedDot ? 128 : 0) : f.bias; }
constexpr bool quads_signed(const CodedFormat& f) { return is_wide(f) && !kUnsignedDot; }

SLUICE_SIMD I32 every_byte(int value) {
  return set1(static_cast<int32_t>(static_cast<uint32_t>(value) * 0x01010101u));
}

/// The table of levels, shifted to unsigned where products are.
struct LevelTable {
  int8_t level[16];
};
constexpr LevelTable make_levels() {
  LevelTable t{};
  for (int i = 0; i < 16; ++i)
    t.level[i] = static_cast<int8_t>(static_cast<uint8_t>(kLevels[i] + (kUnsignedDot ? 128 : 0)));
  return t;
}
static constexpr LevelTable kLevelTable = make_levels();

/// Quad `i` of columns of a chunk, of the rows of `part`.
template <CodedFormat F, int i>
SLUICE_SIMD I32 code(const std::byte* chunk, int64_t part) {
  const std::byte* lines = chunk + part * kLanes * 4;
  I32 quad;
  if constexpr (F.low_bits == 8) {
    quad = load_bytes(lines + i * kLineBytes);
    if constexpr (quads_signed(F)) quad = bit_xor(quad, every_byte(0x80));
  } else if constexpr (F.low_bits == 4) {
    quad = bit_and(shift<(i < 4 ? 0 : -4)>(load_bytes(lines + i % 4 * kLineBytes)), every_byte(15));
  } else {
    quad = bit_and(shift<-(i % 4 * 2)>(load_bytes(lines + i / 4 * kLineBytes)), every_byte(3));
  }
  if constexpr (F.high_bits == 1) {
    const I32 high = load_bytes(lines + F.low_bits * kLineBytes);
    quad = bit_or(quad, bit_and(shift<F.low_bits - i>(high), every_byte(1 << F.low_bits)));
  } else if constexpr (F.high_bits == 2) {
    const I32 high = load_bytes(lines + (F.low_bits + i / 4) * kLineBytes);
    quad = bit_or(quad, bit_and(shift<F.low_bits - i % 4 * 2>(high), every_byte(3 << F.low_bits)));
  }
  if constexpr (F.levels) quad = lookup(load_levels(kLevelTable.level), quad);
  return quad;
}

/// The eight quads of a chunk.
template <CodedFormat F>
SLUICE_SIMD void codes(const std::byte* chunk, int64_t part, I32 (&quad)[kQuads]) {
  unroll<kQuads>([&](auto i) { quad[i.value] = code<F, decltype(i)::value>(chunk, part); });
}

/// Scales and offsets of a block's groups: x = scale[g] * code + min[g].
template <CodedFormat F>
SLUICE_SIMD void scales(const std::byte* block, int64_t part, F32 (&scale)[F.groups()],
                        F32 (&min)[F.groups()]) {
  const F32 d = load_f16(block + part * kLanes * 2);
  const F32 m =
      F.has_min() ? mul(load_f16(block + F.m_offset() + part * kLanes * 2), set1(float(F.m_sign))) : zero();
  const auto word = [&](int i) {
    return load_bytes(block + F.words_offset() + i * kLineBytes + part * kLanes * 4);
  };
  if constexpr (F.groups() == 1) {
    scale[0] = d;
    min[0] = m;
  } else if constexpr (F.dtype == DType::q4_k || F.dtype == DType::q5_k) {
    // Four scales a word; those of groups 4..7 have their upper bits in the words of groups 0..3.
    const I32 a = word(0), b = word(1), c = word(2);
    const I32 six = every_byte(63), four = every_byte(15), top = every_byte(0x30);
    const I32 sc[2] = {bit_and(a, six), bit_or(bit_and(c, four), bit_and(shift<-2>(a), top))};
    const I32 mn[2] = {bit_and(b, six), bit_or(bit_and(shift<-4>(c), four), bit_and(shift<-2>(b), top))};
    unroll<8>([&](auto index) {
      constexpr int g = decltype(index)::value;
      scale[g] = mul(d, to_f32(bit_and(shift<-(g % 4 * 8)>(sc[g / 4]), set1(255))));
      min[g] = mul(m, to_f32(bit_and(shift<-(g % 4 * 8)>(mn[g / 4]), set1(255))));
    });
  } else if constexpr (F.dtype == DType::q6_k) {
    unroll<16>([&](auto index) {
      constexpr int g = decltype(index)::value;
      scale[g] = mul(d, to_f32(shift_signed<24>(shift<24 - g % 4 * 8>(word(g / 4)))));
    });
  } else if constexpr (F.dtype == DType::q2_k) {
    unroll<16>([&](auto index) {
      constexpr int g = decltype(index)::value;
      const I32 both = shift<-(g % 4 * 8)>(word(g / 4));
      scale[g] = mul(d, to_f32(bit_and(both, set1(15))));
      min[g] = mul(m, to_f32(bit_and(shift<-4>(both), set1(15))));
    });
  } else if constexpr (F.dtype == DType::q3_k) {
    unroll<16>([&](auto index) {
      constexpr int g = decltype(index)::value;
      const I32 low = bit_and(shift<-(g % 4 * 8 + g / 8 * 4)>(word(g % 8 / 4)), set1(15));
      const I32 high = bit_and(shift<-(g % 4 * 8 + g / 4 * 2)>(word(2)), set1(3));
      scale[g] = mul(d, to_f32(sub(bit_or(low, shift<4>(high)), set1(32))));
    });
  } else {
    static_assert(F.dtype == DType::iq4_xs);
    unroll<8>([&](auto index) {
      constexpr int g = decltype(index)::value;
      const I32 low = bit_and(shift<-(4 * g)>(word(0)), set1(15));
      const std::byte* extra = block + F.extras_offset() + g / 4 * kTileRows + part * kLanes;
      const I32 high = bit_and(shift<-(g % 4 * 2)>(load_u8(extra)), set1(3));
      scale[g] = mul(d, to_f32(sub(bit_or(low, shift<4>(high)), set1(32))));
    });
  }
}

/// Column J (0..3) of a quad as floats, scaled: exactly what the format defines.
template <CodedFormat F, int J>
SLUICE_SIMD F32 value(I32 quad, F32 scale, F32 min) {
  I32 code;
  if constexpr (quads_signed(F)) {
    code = shift_signed<24>(shift<24 - 8 * J>(quad));
  } else {
    code = J == 3 ? shift<-24>(quad) : bit_and(shift<-8 * J>(quad), set1(255));
    if constexpr (quad_bias(F) != 0) code = sub(code, set1(quad_bias(F)));
  }
  const F32 scaled = mul(scale, to_f32(code));
  return F.has_min() ? add(scaled, min) : scaled;
}

}  // namespace sluice::cpu::SLUICE_ISA
