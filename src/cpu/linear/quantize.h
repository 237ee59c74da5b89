// Activations as int8: what reference/linear.h defines, a block of 32 at a time. Included once per
// instruction set, after its simd header.
#pragma once

#include "cpu/linear/kernels.h"
#include "cpu/linear/rows16_decode.h"

namespace sluice::cpu::SLUICE_ISA {

// See reference/linear.h.
constexpr float kTiniest = 1e-30f;  // below it, activations count as zero
constexpr float kOutlier = 2;       // times the mean of a row's blocks: elements beyond are taken out
constexpr int kMostOutliers = 4;    // of a block

/// What a product needs of the sums of quantised activations.
enum class Sums { none, with_min, with_bias };
constexpr Sums sums_of(const CodedFormat& f) {
  return f.has_min() ? Sums::with_min : quad_bias(f) != 0 ? Sums::with_bias : Sums::none;
}

constexpr int kChunkVectors = static_cast<int>(kChunk) / kLanes;

/// max|x| of a chunk; NaN or infinity if there is one.
SLUICE_SIMD float largest(const float* x) {
  I32 top_bits = set1(0);
  for (int i = 0; i < kChunkVectors; ++i)
    top_bits = max(top_bits, bit_and(as_i32(load(x + i * kLanes)), set1(0x7fffffff)));
  const int32_t bits = reduce_max(top_bits);  // of integers: a NaN is larger than everything
  float top;
  __builtin_memcpy(&top, &bits, 4);
  return top;
}

/// A chunk whose max|x| is `top`, without outliers.
template <CodedFormat F>
SLUICE_SIMD void quantize(const float* x, float top, ActivationBlock* out) {
  constexpr int kVectors = kChunkVectors;
  const bool finite = top < __builtin_inff();
  const bool zeros = !finite || top < kTiniest;
  const float inverse = zeros ? 0.0f : 127.0f / top;
  out->d = zeros ? 0.0f : top / 127.0f;
  if (!finite) out->d = __builtin_nanf("");
  I32 sum[2] = {set1(0), set1(0)};
  for (int i = 0; i < kVectors; ++i) {
    const I32 q = finite ? round_to_i32(mul(load(x + i * kLanes), set1(inverse))) : set1(0);
    store_i8(out->q + i * kLanes, q);
    sum[i * kLanes / 16] = add(sum[i * kLanes / 16], q);
  }
  int32_t total[2] = {reduce_add(sum[0]), reduce_add(sum[1])};
  if constexpr (F.group == kChunk) total[0] += total[1];
  for (int h = 0; h < 2; ++h) {
    if constexpr (sums_of(F) == Sums::with_min) {
      out->d_sum[h] = out->d * static_cast<float>(total[h]);
    } else {
      out->correction[h] = -quad_bias(F) * total[h];
    }
  }
}

/// A chunk of row `row` of a panel. Its outliers, elements beyond `limit`, go to `outliers`, which moves on.
template <CodedFormat F>
SLUICE_SIMD void quantize(const float* x, float top, float limit, int64_t row, ActivationBlock* out,
                          Outlier*& outliers) {
  if (!(top > limit)) return quantize<F>(x, top, out);
  float rest[kChunk];
  __builtin_memcpy(rest, x, sizeof rest);
  for (int taken = 0; taken < kMostOutliers && top > limit; ++taken, top = largest(rest)) {
    uint16_t column = 0;
    while (__builtin_fabsf(rest[column]) != top) ++column;
    *outliers++ = {rest[column], static_cast<uint16_t>(row), column};
    rest[column] = 0;
  }
  quantize<F>(rest, top, out);
}

/// What elements of a row are held against; tops are the max|x| of its chunks, `stride` floats apart.
SLUICE_SIMD float outlier_limit(const float* tops, int64_t stride, int64_t chunks) {
  float sum = 0;
  for (int64_t c = 0; c < chunks; ++c) sum += tops[c * stride];
  return kOutlier * sum / static_cast<float>(chunks);
}

/// A prepared row: its blocks and room for its outliers. Fewer than one in kOutlier of its chunks can have
/// any.
static int64_t int8_row_bytes(int64_t k) {
  const int64_t chunks = k / kChunk, with_outliers = chunks / static_cast<int64_t>(kOutlier) + 1;
  return chunks * static_cast<int64_t>(sizeof(ActivationBlock)) +
         with_outliers * kMostOutliers * static_cast<int64_t>(sizeof(Outlier));
}

}  // namespace sluice::cpu::SLUICE_ISA
