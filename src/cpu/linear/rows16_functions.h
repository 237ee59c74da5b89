// The products of rows16_product.h as a table. Included once per instruction set, after its simd header.
#pragma once

#include "cpu/linear/rows16_product.h"

namespace sluice::cpu::SLUICE_ISA {

static int64_t float_row_bytes(int64_t k) { return k * static_cast<int64_t>(sizeof(float)); }
template <CodedFormat F>
constexpr ProductFunctions coded_product(bool int8) {
  if (int8)
    return {.prepare = prepare_int8<F>,
            .multiply = multiply_tiles_int8<F>,
            .row_bytes = int8_row_bytes,
            .panel = kMaxPanel,
            .most_row_bytes = kCachedRowBytes};
  return {.prepare = prepare_floats<keep>,
          .multiply = multiply_tiles_f32<F>,
          .row_bytes = float_row_bytes,
          .panel = kFloatPanel,
          .most_row_bytes = kCachedRowBytes,
          .lone_row_as_is = true};
}

template <DType D>
constexpr ProductFunctions plain_product(ops::Activations activations) {
  const bool rounded = activations == ops::Activations::bf16;
  if (activations == ops::Activations::int8 || (rounded && D != DType::bf16)) return {};
  return {.prepare = rounded ? prepare_floats<round_to_bf16> : prepare_floats<keep>,
          .multiply = multiply_tiles_plain<D>,
          .row_bytes = float_row_bytes,
          .panel = kFloatPanel,
          .most_row_bytes = kCachedRowBytes,
          .lone_row_as_is = !rounded};
}

static ProductFunctions product_functions(DType weight, ops::Activations activations, int64_t) {
  switch (weight) {
#define X(format)      \
  case (format).dtype: \
    return coded_product<format>(activations == ops::Activations::int8);
    SLUICE_CODED_FORMATS(X)
#undef X
    case DType::f32:
      return plain_product<DType::f32>(activations);
    case DType::f16:
      return plain_product<DType::f16>(activations);
    case DType::bf16:
      return plain_product<DType::bf16>(activations);
    default:
      return {};
  }
}

template <CodedFormat F>
static void unpack_coded(const std::byte* tile, int64_t row, int64_t k, float* out) {
  float block[F.elems * kLanes];
  for (int64_t i = 0; i < k; i += F.elems, tile += F.tile_bytes()) {
    dequantise_block<F>(tile, row / kLanes, block);
    for (int e = 0; e < F.elems; ++e) *out++ = block[e * kLanes + row % kLanes];
  }
}

template <DType D>
static void unpack_plain(const std::byte* tile, int64_t row, int64_t k, float* out) {
  const int64_t part = row / kLanes, lane = row % kLanes;
  float lanes[kLanes];
  for (int64_t i = 0; i < k; ++i) {
    store(lanes, i % 2 == 0 ? load_column<D, false>(tile, part, i) : load_column<D, true>(tile, part, i));
    out[i] = lanes[lane];
  }
}

static void unpack(DType dtype, const std::byte* tile, int64_t row, int64_t k, float* out) {
  switch (dtype) {
#define X(format)      \
  case (format).dtype: \
    return unpack_coded<format>(tile, row, k, out);
    SLUICE_CODED_FORMATS(X)
#undef X
    case DType::f32:
      return unpack_plain<DType::f32>(tile, row, k, out);
    case DType::f16:
      return unpack_plain<DType::f16>(tile, row, k, out);
    default:
      return unpack_plain<DType::bf16>(tile, row, k, out);
  }
}

}  // namespace sluice::cpu::SLUICE_ISA
