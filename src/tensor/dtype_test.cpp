#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tensor/half.h"

namespace sluice {
namespace {

TEST(DType, NamesAndGgmlNumbersRoundTrip) {
#define X(n, elems, bytes, ggml)            \
  EXPECT_EQ(dtype_from_name(#n), DType::n); \
  if (ggml >= 0) { EXPECT_EQ(dtype_from_ggml(static_cast<uint32_t>(ggml)), DType::n); }
  SLUICE_DTYPES(X)
#undef X
  EXPECT_EQ(dtype_from_name("BFloat16"), DType::bf16);
  EXPECT_EQ(dtype_from_name("fp64"), std::nullopt);
  EXPECT_EQ(dtype_from_ggml(31), std::nullopt);
}

TEST(Half, EveryF16RoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      EXPECT_EQ(f32_to_f16(value), bits);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(f32_to_f16(1.0f + 0x1.8p-10f), 0x3c02);
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1.8p-7f), 0x3f82);
}

}  // namespace
}  // namespace sluice
