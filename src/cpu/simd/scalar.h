// The vector vocabulary of kernels for the x86-64 baseline: one lane. See avx512.h for what each name means.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tensor/half.h"

#define SLUICE_ISA scalar
#define SLUICE_SIMD static inline

namespace sluice::cpu::SLUICE_ISA {

constexpr int kLanes = 1;
constexpr bool kUnsignedDot = false;
constexpr bool kPairProducts = false;
constexpr int kMaxPanel = 4;
constexpr int kFloatPanel = 4;

using F32 = float;
struct I32 {
  uint32_t v;
};

SLUICE_SIMD F32 zero() { return 0; }
SLUICE_SIMD F32 set1(float x) { return x; }
SLUICE_SIMD F32 load(const float* p) { return *p; }
SLUICE_SIMD void store(float* p, F32 v) { *p = v; }
SLUICE_SIMD F32 load_first(const float* p, int64_t n) { return n > 0 ? *p : 0; }
SLUICE_SIMD void store_first(float* p, F32 v, int64_t n) {
  if (n > 0) *p = v;
}
SLUICE_SIMD F32 load_f16(const void* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}
SLUICE_SIMD F32 load_bf16(const void* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return bf16_to_f32(bits);
}
SLUICE_SIMD F32 load_f16_first(const void* p, int64_t n) { return n > 0 ? load_f16(p) : 0; }
SLUICE_SIMD F32 load_bf16_first(const void* p, int64_t n) { return n > 0 ? load_bf16(p) : 0; }
SLUICE_SIMD F32 add(F32 a, F32 b) { return a + b; }
SLUICE_SIMD F32 sub(F32 a, F32 b) { return a - b; }
SLUICE_SIMD F32 mul(F32 a, F32 b) { return a * b; }
SLUICE_SIMD F32 div(F32 a, F32 b) { return a / b; }
SLUICE_SIMD F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
SLUICE_SIMD F32 max(F32 a, F32 b) { return a > b ? a : b; }
SLUICE_SIMD F32 min(F32 a, F32 b) { return a < b ? a : b; }
SLUICE_SIMD float reduce_add(F32 a) { return a; }
SLUICE_SIMD float reduce_max(F32 a) { return a; }
SLUICE_SIMD F32 keep_range(F32 v, int64_t begin, int64_t end, F32 other) {
  return begin <= 0 && end > 0 ? v : other;
}
SLUICE_SIMD F32 select_less(F32 a, F32 b, F32 yes, F32 no) { return a < b ? yes : no; }

SLUICE_SIMD I32 set1(int32_t x) { return {static_cast<uint32_t>(x)}; }
SLUICE_SIMD I32 load_bytes(const void* p) {
  I32 r;
  std::memcpy(&r.v, p, 4);
  return r;
}
SLUICE_SIMD void store_bytes(void* p, I32 a) { std::memcpy(p, &a.v, 4); }
SLUICE_SIMD I32 splat_bytes(const void* p) { return load_bytes(p); }
SLUICE_SIMD I32 add(I32 a, I32 b) { return {a.v + b.v}; }
SLUICE_SIMD I32 sub(I32 a, I32 b) { return {a.v - b.v}; }
SLUICE_SIMD I32 sub_bytes(I32 a, I32 b) {
  uint32_t out = 0;
  for (int j = 0; j < 32; j += 8) out |= (((a.v >> j) - (b.v >> j)) & 255) << j;
  return {out};
}
SLUICE_SIMD I32 bit_and(I32 a, I32 b) { return {a.v & b.v}; }
SLUICE_SIMD I32 bit_or(I32 a, I32 b) { return {a.v | b.v}; }
SLUICE_SIMD I32 bit_xor(I32 a, I32 b) { return {a.v ^ b.v}; }
template <int N>
SLUICE_SIMD I32 shift(I32 a) {
  if constexpr (N >= 0) return {a.v << N};
  return {a.v >> (N < 0 ? -N : 0)};
}
SLUICE_SIMD I32 shift_right(I32 a, int64_t n) { return {a.v >> n}; }
template <int N>
SLUICE_SIMD I32 shift_signed(I32 a) {
  return {static_cast<uint32_t>(static_cast<int32_t>(a.v) >> N)};
}
SLUICE_SIMD I32 max(I32 a, I32 b) { return static_cast<int32_t>(a.v) > static_cast<int32_t>(b.v) ? a : b; }
SLUICE_SIMD int32_t reduce_add(I32 a) { return static_cast<int32_t>(a.v); }
SLUICE_SIMD int32_t reduce_max(I32 a) { return static_cast<int32_t>(a.v); }
SLUICE_SIMD F32 to_f32(I32 a) { return static_cast<float>(static_cast<int32_t>(a.v)); }
SLUICE_SIMD I32 round_to_i32(F32 a) {
  return {static_cast<uint32_t>(static_cast<int32_t>(std::nearbyintf(a)))};
}
SLUICE_SIMD F32 as_f32(I32 a) {
  F32 r;
  std::memcpy(&r, &a.v, 4);
  return r;
}
SLUICE_SIMD I32 as_i32(F32 a) { return load_bytes(&a); }
SLUICE_SIMD void store_i8(int8_t* p, I32 a) { *p = static_cast<int8_t>(static_cast<int32_t>(a.v)); }
SLUICE_SIMD I32 load_u8(const void* p) { return {*static_cast<const uint8_t*>(p)}; }
SLUICE_SIMD I32 load_i8(const void* p) {
  return {static_cast<uint32_t>(static_cast<int32_t>(*static_cast<const int8_t*>(p)))};
}

using Levels = const int8_t*;
SLUICE_SIMD Levels load_levels(const int8_t* table) { return table; }
SLUICE_SIMD I32 lookup(Levels table, I32 index) {
  uint32_t out = 0;
  for (int j = 0; j < 4; ++j) {
    const uint32_t byte = static_cast<uint8_t>(table[(index.v >> (8 * j)) & 15]);
    out |= byte << (8 * j);
  }
  return {out};
}
SLUICE_SIMD I32 dot_unsigned(I32 sum, I32 w, I32 x) {
  int32_t total = 0;
  for (int j = 0; j < 32; j += 8)
    total += static_cast<int32_t>((w.v >> j) & 255) * static_cast<int8_t>((x.v >> j) & 255);
  return {sum.v + static_cast<uint32_t>(total)};
}
SLUICE_SIMD I32 dot_signed(I32 sum, I32 w, I32 x) {
  int32_t total = 0;
  for (int j = 0; j < 32; j += 8)
    total +=
        static_cast<int32_t>(static_cast<int8_t>((w.v >> j) & 255)) * static_cast<int8_t>((x.v >> j) & 255);
  return {sum.v + static_cast<uint32_t>(total)};
}

SLUICE_SIMD void store_f16(void* p, F32 v) {
  const uint16_t bits = f32_to_f16(v);
  std::memcpy(p, &bits, 2);
}
SLUICE_SIMD void store_bf16(void* p, F32 v) {
  const uint16_t bits = f32_to_bf16(v);
  std::memcpy(p, &bits, 2);
}

}  // namespace sluice::cpu::SLUICE_ISA
