// The vector vocabulary of kernels on AVX2, FMA and F16C: 8 lanes. See avx512.h for what each name means.
// With SLUICE_WITH_VNNI dot products use the VPDPBUSD of AVX-VNNI.
#pragma once

#include <immintrin.h>

#include <cstdint>

#ifdef SLUICE_WITH_VNNI
#define SLUICE_ISA avxvnni
#else
#define SLUICE_ISA avx2
#endif
#define SLUICE_SIMD static inline __attribute__((always_inline))

namespace sluice::cpu::SLUICE_ISA {

constexpr int kLanes = 8;
constexpr int kMaxPanel = 4;
constexpr int kFloatPanel = 6;

using F32 = __m256;
struct I32 {
  __m256i v;
};

/// Lanes [begin, end) set.
SLUICE_SIMD __m256i lane_range(int64_t begin, int64_t end) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int b = begin < 0 ? 0 : begin > 8 ? 8 : static_cast<int>(begin);
  const int e = end < 0 ? 0 : end > 8 ? 8 : static_cast<int>(end);
  return _mm256_and_si256(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(b - 1)),
                          _mm256_cmpgt_epi32(_mm256_set1_epi32(e), index));
}

SLUICE_SIMD F32 zero() { return _mm256_setzero_ps(); }
SLUICE_SIMD F32 set1(float x) { return _mm256_set1_ps(x); }
SLUICE_SIMD F32 load(const float* p) { return _mm256_loadu_ps(p); }
SLUICE_SIMD void store(float* p, F32 v) { _mm256_storeu_ps(p, v); }
SLUICE_SIMD F32 load_first(const float* p, int64_t n) { return _mm256_maskload_ps(p, lane_range(0, n)); }
SLUICE_SIMD void store_first(float* p, F32 v, int64_t n) { _mm256_maskstore_ps(p, lane_range(0, n), v); }
SLUICE_SIMD F32 load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
SLUICE_SIMD F32 widen_bf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
SLUICE_SIMD F32 load_bf16(const void* p) {
  return widen_bf16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
SLUICE_SIMD __m128i load_halves(const void* p, int64_t n) {
  alignas(16) uint16_t part[8] = {};
  const auto* halves = static_cast<const uint16_t*>(p);
  for (int64_t i = 0; i < n && i < 8; ++i) part[i] = halves[i];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(part));
}
SLUICE_SIMD F32 load_f16_first(const void* p, int64_t n) { return _mm256_cvtph_ps(load_halves(p, n)); }
SLUICE_SIMD F32 load_bf16_first(const void* p, int64_t n) { return widen_bf16(load_halves(p, n)); }
SLUICE_SIMD F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
SLUICE_SIMD F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
SLUICE_SIMD F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
SLUICE_SIMD F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
SLUICE_SIMD F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
SLUICE_SIMD F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
SLUICE_SIMD F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
SLUICE_SIMD float reduce_add(F32 a) {
  __m128 h = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
SLUICE_SIMD float reduce_max(F32 a) {
  __m128 h = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  h = _mm_max_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}
SLUICE_SIMD F32 keep_range(F32 v, int64_t begin, int64_t end, F32 other) {
  return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(lane_range(begin, end)));
}
SLUICE_SIMD F32 select_less(F32 a, F32 b, F32 yes, F32 no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

SLUICE_SIMD I32 set1(int32_t x) { return {_mm256_set1_epi32(x)}; }
SLUICE_SIMD I32 load_bytes(const void* p) { return {_mm256_loadu_si256(static_cast<const __m256i*>(p))}; }
SLUICE_SIMD I32 splat_bytes(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return set1(word);
}
SLUICE_SIMD I32 add(I32 a, I32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
SLUICE_SIMD I32 sub(I32 a, I32 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
SLUICE_SIMD I32 bit_and(I32 a, I32 b) { return {_mm256_and_si256(a.v, b.v)}; }
SLUICE_SIMD I32 bit_or(I32 a, I32 b) { return {_mm256_or_si256(a.v, b.v)}; }
SLUICE_SIMD I32 bit_xor(I32 a, I32 b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int N>
SLUICE_SIMD I32 shift(I32 a) {
  if constexpr (N >= 0) return {_mm256_slli_epi32(a.v, N)};
  return {_mm256_srli_epi32(a.v, N < 0 ? -N : 0)};
}
SLUICE_SIMD I32 shift_right(I32 a, int64_t n) { return {_mm256_srl_epi32(a.v, _mm_cvtsi64_si128(n))}; }
template <int N>
SLUICE_SIMD I32 shift_signed(I32 a) {
  return {_mm256_srai_epi32(a.v, N)};
}
SLUICE_SIMD I32 max(I32 a, I32 b) { return {_mm256_max_epi32(a.v, b.v)}; }
SLUICE_SIMD int32_t reduce_add(I32 a) {
  __m128i h = _mm_add_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}
SLUICE_SIMD int32_t reduce_max(I32 a) {
  __m128i h = _mm_max_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}
SLUICE_SIMD F32 to_f32(I32 a) { return _mm256_cvtepi32_ps(a.v); }
SLUICE_SIMD I32 round_to_i32(F32 a) { return {_mm256_cvtps_epi32(a)}; }
SLUICE_SIMD F32 as_f32(I32 a) { return _mm256_castsi256_ps(a.v); }
SLUICE_SIMD I32 as_i32(F32 a) { return {_mm256_castps_si256(a)}; }
SLUICE_SIMD void store_i8(int8_t* p, I32 a) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
SLUICE_SIMD I32 load_u8(const void* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)))};
}
SLUICE_SIMD I32 load_i8(const void* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)))};
}

using Levels = __m256i;
SLUICE_SIMD Levels load_levels(const int8_t* table) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
}
SLUICE_SIMD I32 lookup(Levels table, I32 index) { return {_mm256_shuffle_epi8(table, index.v)}; }

#ifdef SLUICE_WITH_VNNI
constexpr bool kUnsignedDot = true;
constexpr bool kPairProducts = false;
SLUICE_SIMD I32 dot_unsigned(I32 sum, I32 w, I32 x) { return {_mm256_dpbusd_avx_epi32(sum.v, w.v, x.v)}; }
#else
constexpr bool kUnsignedDot = false;
constexpr bool kPairProducts = true;
SLUICE_SIMD I32 pair_products(I32 w, I32 x) { return {_mm256_maddubs_epi16(w.v, x.v)}; }
SLUICE_SIMD I32 add_pairs(I32 a, I32 b) { return {_mm256_add_epi16(a.v, b.v)}; }
SLUICE_SIMD I32 add_widened(I32 sum, I32 pairs) {
  return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(pairs.v, _mm256_set1_epi16(1)))};
}
SLUICE_SIMD I32 dot_unsigned(I32 sum, I32 w, I32 x) { return add_widened(sum, pair_products(w, x)); }
SLUICE_SIMD I32 dot_signed(I32 sum, I32 w, I32 x) {
  return dot_unsigned(sum, {_mm256_abs_epi8(w.v)}, {_mm256_sign_epi8(x.v, w.v)});
}
#endif

SLUICE_SIMD void store_f16(void* p, F32 v) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
SLUICE_SIMD void store_bf16(void* p, F32 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i words = _mm256_blendv_epi8(rounded, quiet, nan);
  _mm_storeu_si128(static_cast<__m128i*>(p),
                   _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

}  // namespace sluice::cpu::SLUICE_ISA
