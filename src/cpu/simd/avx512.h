// The vector vocabulary of kernels: what an instruction set offers, under names that all of them share. A
// kernel is written once in these names and compiled for each instruction set in a file of its own with its
// own flags, in a namespace of its own, so that no instruction leaks into code for lesser machines.
//
// This is AVX-512 (F, BW, DQ, VL): 16 lanes. With SLUICE_WITH_VNNI, and in kernels on tile registers with
// SLUICE_WITH_AMX, dot products use VPDPBUSD. With SLUICE_WITH_BF16 there are dot products of bf16, too.
#pragma once

#include <immintrin.h>

#include <cstdint>

#if defined(SLUICE_WITH_AMX)
#define SLUICE_WITH_VNNI
#define SLUICE_ISA amx
#elif defined(SLUICE_WITH_BF16)
#define SLUICE_WITH_VNNI
#define SLUICE_ISA avx512bf16
#elif defined(SLUICE_WITH_VNNI)
#define SLUICE_ISA avx512vnni
#else
#define SLUICE_ISA avx512
#endif
#define SLUICE_SIMD static inline __attribute__((always_inline))

namespace sluice::cpu::SLUICE_ISA {

constexpr int kLanes = 16;
// Rows of x that a product keeps in registers: with integers, and with floats for kTogether vectors of
// outputs.
constexpr int kMaxPanel = 12;
constexpr int kFloatPanel = 16;

/// kLanes floats; kLanes 32-bit integers, which are also 4 * kLanes bytes.
using F32 = __m512;
struct I32 {
  __m512i v;
};

/// Lanes [begin, end) set; the bounds may lie outside of [0, kLanes].
SLUICE_SIMD __mmask16 lane_range(int64_t begin, int64_t end) {
  const int b = begin < 0 ? 0 : begin > 16 ? 16 : static_cast<int>(begin);
  const int e = end < b ? b : end > 16 ? 16 : static_cast<int>(end);
  return static_cast<__mmask16>((1u << e) - (1u << b));
}

SLUICE_SIMD F32 zero() { return _mm512_setzero_ps(); }
SLUICE_SIMD F32 set1(float x) { return _mm512_set1_ps(x); }
SLUICE_SIMD F32 load(const float* p) { return _mm512_loadu_ps(p); }
SLUICE_SIMD void store(float* p, F32 v) { _mm512_storeu_ps(p, v); }
/// The first n lanes, zeros after them; memory beyond is not touched.
SLUICE_SIMD F32 load_first(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(lane_range(0, n), p); }
SLUICE_SIMD void store_first(float* p, F32 v, int64_t n) { _mm512_mask_storeu_ps(p, lane_range(0, n), v); }
SLUICE_SIMD F32 load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
SLUICE_SIMD F32 widen_bf16(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
SLUICE_SIMD F32 load_bf16(const void* p) {
  return widen_bf16(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
SLUICE_SIMD F32 load_f16_first(const void* p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lane_range(0, n), p));
}
SLUICE_SIMD F32 load_bf16_first(const void* p, int64_t n) {
  return widen_bf16(_mm256_maskz_loadu_epi16(lane_range(0, n), p));
}
SLUICE_SIMD F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
SLUICE_SIMD F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
SLUICE_SIMD F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
SLUICE_SIMD F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
/// a * b + c, rounded once where the instruction set can.
SLUICE_SIMD F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
/// a > b ? a : b, so that a NaN in b wins.
SLUICE_SIMD F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
SLUICE_SIMD F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
SLUICE_SIMD float reduce_add(F32 a) { return _mm512_reduce_add_ps(a); }
SLUICE_SIMD float reduce_max(F32 a) { return _mm512_reduce_max_ps(a); }
/// v in lanes [begin, end), `other` elsewhere.
SLUICE_SIMD F32 keep_range(F32 v, int64_t begin, int64_t end, F32 other) {
  return _mm512_mask_mov_ps(other, lane_range(begin, end), v);
}
/// a < b ? yes : no; with a NaN, no.
SLUICE_SIMD F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), yes);
}

SLUICE_SIMD I32 set1(int32_t x) { return {_mm512_set1_epi32(x)}; }
SLUICE_SIMD I32 load_bytes(const void* p) { return {_mm512_loadu_si512(p)}; }
SLUICE_SIMD void store_bytes(void* p, I32 a) { _mm512_storeu_si512(p, a.v); }
/// The four bytes at p in every lane.
SLUICE_SIMD I32 splat_bytes(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return set1(word);
}
SLUICE_SIMD I32 add(I32 a, I32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
SLUICE_SIMD I32 sub(I32 a, I32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
SLUICE_SIMD I32 sub_bytes(I32 a, I32 b) { return {_mm512_sub_epi8(a.v, b.v)}; }
SLUICE_SIMD I32 bit_and(I32 a, I32 b) { return {_mm512_and_si512(a.v, b.v)}; }
SLUICE_SIMD I32 bit_or(I32 a, I32 b) { return {_mm512_or_si512(a.v, b.v)}; }
SLUICE_SIMD I32 bit_xor(I32 a, I32 b) { return {_mm512_xor_si512(a.v, b.v)}; }
/// Each 32-bit lane shifted left by N bits, right by -N when N is negative.
template <int N>
SLUICE_SIMD I32 shift(I32 a) {
  if constexpr (N >= 0) return {_mm512_slli_epi32(a.v, N)};
  return {_mm512_srli_epi32(a.v, N < 0 ? -N : 0)};
}
/// The same to the right, by n bits.
SLUICE_SIMD I32 shift_right(I32 a, int64_t n) { return {_mm512_srl_epi32(a.v, _mm_cvtsi64_si128(n))}; }
/// Right, the sign filling up.
template <int N>
SLUICE_SIMD I32 shift_signed(I32 a) {
  return {_mm512_srai_epi32(a.v, N)};
}
SLUICE_SIMD I32 max(I32 a, I32 b) { return {_mm512_max_epi32(a.v, b.v)}; }
SLUICE_SIMD int32_t reduce_add(I32 a) { return _mm512_reduce_add_epi32(a.v); }
SLUICE_SIMD int32_t reduce_max(I32 a) { return _mm512_reduce_max_epi32(a.v); }
SLUICE_SIMD F32 to_f32(I32 a) { return _mm512_cvtepi32_ps(a.v); }
/// To the nearest integer, ties to even.
SLUICE_SIMD I32 round_to_i32(F32 a) { return {_mm512_cvtps_epi32(a)}; }
SLUICE_SIMD F32 as_f32(I32 a) { return _mm512_castsi512_ps(a.v); }
SLUICE_SIMD I32 as_i32(F32 a) { return {_mm512_castps_si512(a)}; }
/// kLanes int8, values in range.
SLUICE_SIMD void store_i8(int8_t* p, I32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
/// kLanes unsigned bytes, one for each lane.
SLUICE_SIMD I32 load_u8(const void* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}

/// kLanes signed bytes, one for each lane.
SLUICE_SIMD I32 load_i8(const void* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}

/// A table of 16 int8, looked up by each byte in [0, 16).
using Levels = __m512i;
SLUICE_SIMD Levels load_levels(const int8_t* table) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}
SLUICE_SIMD I32 lookup(Levels table, I32 index) { return {_mm512_shuffle_epi8(table, index.v)}; }

// dot_unsigned: each lane of sum + the sum of its four products u8 w * i8 x, exact. dot_signed: i8 w * i8 x.
// kUnsignedDot: w may be any u8, and there is no dot_signed; otherwise w of dot_unsigned is at most 128.
//
// kPairProducts: dot products are made of halves of lanes. pair_products: each 16 bits = the sum of two
// products u8 w * i8 x; with w up to 128 and |x| up to 127 they fit. add_pairs adds such sums as long as they
// do, add_widened the two of a lane to its 32 bits.
#ifdef SLUICE_WITH_VNNI
constexpr bool kUnsignedDot = true;
constexpr bool kPairProducts = false;
SLUICE_SIMD I32 dot_unsigned(I32 sum, I32 w, I32 x) { return {_mm512_dpbusd_epi32(sum.v, w.v, x.v)}; }
#else
constexpr bool kUnsignedDot = false;
constexpr bool kPairProducts = true;
SLUICE_SIMD I32 pair_products(I32 w, I32 x) { return {_mm512_maddubs_epi16(w.v, x.v)}; }
SLUICE_SIMD I32 add_pairs(I32 a, I32 b) { return {_mm512_add_epi16(a.v, b.v)}; }
SLUICE_SIMD I32 add_widened(I32 sum, I32 pairs) {
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(pairs.v, _mm512_set1_epi16(1)))};
}
SLUICE_SIMD I32 dot_unsigned(I32 sum, I32 w, I32 x) { return add_widened(sum, pair_products(w, x)); }
SLUICE_SIMD I32 dot_signed(I32 sum, I32 w, I32 x) {
  const __m512i signed_x = _mm512_mask_sub_epi8(x.v, _mm512_movepi8_mask(w.v), _mm512_setzero_si512(), x.v);
  return dot_unsigned(sum, {_mm512_abs_epi8(w.v)}, {signed_x});
}
#endif

#ifdef SLUICE_WITH_BF16
/// Each lane of sum + its two products of bf16 (VDPBF16PS: denormal numbers are zero).
SLUICE_SIMD F32 dot_bf16(F32 sum, I32 w, I32 x) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w.v), reinterpret_cast<__m512bh>(x.v));
}
#endif

SLUICE_SIMD void store_f16(void* p, F32 v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
/// To nearest even; NaN stays NaN.
SLUICE_SIMD void store_bf16(void* p, F32 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  const __m512i words = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
}

}  // namespace sluice::cpu::SLUICE_ISA
