#include "quant/format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "tensor/half.h"

namespace sluice::quant {
namespace {

using Bytes = std::vector<std::byte>;

constexpr DType kAllTypes[] = {
#define X(name, elems, bytes, ggml) DType::name,
    SLUICE_DTYPES(X)
#undef X
};

constexpr uint16_t kHalf = 0x3800, kQuarter = 0x3400;  // 0.5 and 0.25 in f16
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// A packed block of zero bytes, to be filled in by hand.
struct Packed {
  explicit Packed(DType type) : dtype(type), bytes(info(type).block_bytes) {}
  Packed& f16(size_t at, uint16_t bits) {
    std::memcpy(bytes.data() + at, &bits, 2);
    return *this;
  }
  Packed& u8(size_t at, int value) {
    bytes[at] = static_cast<std::byte>(value);
    return *this;
  }
  std::vector<float> values() const {
    std::vector<float> out(info(dtype).block_elems, kNaN);
    dequantize_row(dtype, bytes.data(), out.data(), static_cast<int64_t>(out.size()));
    return out;
  }
  DType dtype;
  Bytes bytes;
};

std::vector<float> normal_values(size_t n, float deviation, uint32_t seed = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> out(n);
  for (float& v : out) v = normal(rng);
  return out;
}

Bytes quantize(DType dtype, const std::vector<float>& x) {
  Bytes out(row_bytes(dtype, x.size()), std::byte{0xa5});  // poison: every byte must be written
  quantize_row(dtype, x.data(), out.data(), static_cast<int64_t>(x.size()));
  return out;
}

std::vector<float> dequantize(DType dtype, const Bytes& packed, size_t n) {
  std::vector<float> out(n, kNaN);
  dequantize_row(dtype, packed.data(), out.data(), static_cast<int64_t>(n));
  return out;
}

double rms(const std::vector<float>& x) {
  double sum = 0;
  for (float v : x) sum += double{v} * v;
  return std::sqrt(sum / static_cast<double>(x.size()));
}

double relative_rmse(const std::vector<float>& x, const std::vector<float>& y) {
  std::vector<float> difference(x.size());
  for (size_t i = 0; i < x.size(); ++i) difference[i] = x[i] - y[i];
  return rms(difference) / rms(x);
}

// ---- by hand

TEST(Dequantize, Q8ByHand) {
  const auto x = Packed(DType::q8_0).f16(0, kHalf).u8(2, 3).u8(3, -128).u8(33, 127).values();
  EXPECT_EQ(x[0], 1.5f);
  EXPECT_EQ(x[1], -64.0f);
  EXPECT_EQ(x[2], 0.0f);
  EXPECT_EQ(x[31], 63.5f);
}

TEST(Dequantize, FourAndFiveBitsByHand) {
  const auto q4_0 = Packed(DType::q4_0).f16(0, kHalf).u8(2, 0x3a).u8(17, 0xf0).values();
  EXPECT_EQ(q4_0[0], 1.0f);    // 10 - 8
  EXPECT_EQ(q4_0[16], -2.5f);  // 3 - 8
  EXPECT_EQ(q4_0[1], -4.0f);   // 0 - 8
  EXPECT_EQ(q4_0[31], 3.5f);   // 15 - 8

  const auto q4_1 = Packed(DType::q4_1).f16(0, kHalf).f16(2, kQuarter).u8(4, 0x3a).values();
  EXPECT_EQ(q4_1[0], 5.25f);
  EXPECT_EQ(q4_1[16], 1.75f);
  EXPECT_EQ(q4_1[1], 0.25f);

  // Fifth bits of elements 0 and 23.
  const auto q5_0 = Packed(DType::q5_0).f16(0, kHalf).u8(2, 1).u8(4, 0x80).u8(6, 0x02).u8(13, 0xf0).values();
  EXPECT_EQ(q5_0[0], 1.0f);   // 18 - 16
  EXPECT_EQ(q5_0[23], 7.5f);  // 31 - 16
  EXPECT_EQ(q5_0[7], -8.0f);  // 0 - 16

  const auto q5_1 = Packed(DType::q5_1)
                        .f16(0, kHalf)
                        .f16(2, kQuarter)
                        .u8(4, 1)
                        .u8(6, 0x80)
                        .u8(8, 0x02)
                        .u8(15, 0xf0)
                        .values();
  EXPECT_EQ(q5_1[0], 9.25f);    // 18
  EXPECT_EQ(q5_1[23], 15.75f);  // 31
  EXPECT_EQ(q5_1[7], 0.25f);
}

TEST(Dequantize, KQuantsByHand) {
  // Group 8 is elements 128..143; element 129 is in byte 33, shift 0.
  const auto q2 =
      Packed(DType::q2_k).u8(8, 0x2 | 0x3 << 4).u8(16 + 33, 0x3).f16(80, kHalf).f16(82, kQuarter).values();
  EXPECT_EQ(q2[129], 0.5f * 2 * 3 - 0.25f * 3);
  EXPECT_EQ(q2[128], -0.25f * 3);
  EXPECT_EQ(q2[0], 0.0f);

  // Group 9 (elements 144..159): low nibble 5 in byte 1's high half, high bits 2 in the last bytes, 5 + 32
  // - 32. Element 150: code byte 32 + 22, shift 0, high bit 4 of byte 22.
  const auto q3 = Packed(DType::q3_k)
                      .u8(96 + 1, 0x50)
                      .u8(96 + 8 + 1, 2 << 4)
                      .u8(32 + 32 + 22, 1)
                      .u8(22, 1 << 4)
                      .f16(108, kHalf)
                      .values();
  EXPECT_EQ(q3[150], 0.5f * 5 * 1);
  EXPECT_EQ(q3[151], 0.5f * 5 * -4);
  EXPECT_EQ(q3[0], 0.5f * -32 * -4);

  // Group 5 (elements 160..191): scale 7 + 16, min 9 + 32. Element 163: byte 2 * 32 + 3, high half.
  Packed q4_block(DType::q4_k);
  q4_block.f16(0, kHalf).f16(2, kQuarter).u8(4 + 9, 0x97).u8(4 + 1, 0x40).u8(4 + 5, 0x80);
  const auto q4 = q4_block.u8(16 + 67, 0xd0).values();
  EXPECT_EQ(q4[163], 0.5f * 23 * 13 - 0.25f * 41);
  EXPECT_EQ(q4[160], -0.25f * 41);
  EXPECT_EQ(q4[131], 0.0f);

  Packed q5_block(DType::q5_k);
  q5_block.f16(0, kHalf).f16(2, kQuarter).u8(4 + 9, 0x97).u8(4 + 1, 0x40).u8(4 + 5, 0x80);
  const auto q5 = q5_block.u8(16 + 3, 1 << 5).u8(48 + 67, 0xd0).values();
  EXPECT_EQ(q5[163], 0.5f * 23 * 29 - 0.25f * 41);

  // Element 200: second half, 72 in it: low nibble in byte 64 + 8, high half; high part in byte 32 + 8, shift
  // 4; group 12.
  const auto q6 = Packed(DType::q6_k)
                      .u8(64 + 8, 0x70)
                      .u8(128 + 32 + 8, 3 << 4)
                      .u8(192 + 12, -100)
                      .f16(208, kHalf)
                      .values();
  EXPECT_EQ(q6[200], 0.5f * -100 * (7 + 48 - 32));
  EXPECT_EQ(q6[201], 0.5f * -100 * -32);
  EXPECT_EQ(q6[0], 0.0f);
}

TEST(Dequantize, UnevenLevelsByHand) {
  const auto nl = Packed(DType::iq4_nl).f16(0, kHalf).u8(2, 0xf8).values();
  EXPECT_EQ(nl[0], 0.5f);
  EXPECT_EQ(nl[16], 56.5f);
  EXPECT_EQ(nl[1], -63.5f);

  // Group 3: low nibble 9, high bits 2: 9 + 32 - 32.
  const auto xs =
      Packed(DType::iq4_xs).f16(0, kHalf).u8(2, 2 << 6).u8(4 + 1, 0x90).u8(8 + 48 + 4, 0x0c).values();
  EXPECT_EQ(xs[100], 0.5f * 9 * 53);
  EXPECT_EQ(xs[116], 0.5f * 9 * -127);
  EXPECT_EQ(xs[0], 0.5f * -32 * -127);
}

TEST(Dequantize, PlainTypesByValue) {
  const int32_t i32[2] = {-5, 1 << 24};
  float out[2];
  dequantize_row(DType::i32, reinterpret_cast<const std::byte*>(i32), out, 2);
  EXPECT_EQ(out[0], -5.0f);
  EXPECT_EQ(out[1], 16777216.0f);
  const int64_t i64[2] = {-(int64_t{1} << 40), 3};
  dequantize_row(DType::i64, reinterpret_cast<const std::byte*>(i64), out, 2);
  EXPECT_EQ(out[0], -0x1p40f);
  const uint8_t u8[2] = {255, 1};
  dequantize_row(DType::u8, reinterpret_cast<const std::byte*>(u8), out, 2);
  EXPECT_EQ(out[0], 255.0f);
  dequantize_row(DType::i8, reinterpret_cast<const std::byte*>(u8), out, 2);
  EXPECT_EQ(out[0], -1.0f);
}

TEST(Dequantize, SubnormalScalesAreExact) {
  const auto q8 = Packed(DType::q8_0).f16(0, 0x0001).u8(2, 3).values();  // d = 2^-24
  EXPECT_EQ(q8[0], 3 * 0x1p-24f);
  const auto q4 = Packed(DType::q4_k).f16(0, 0x83ff).u8(4, 63).u8(16, 15).values();
  EXPECT_EQ(q4[0], -1023 * 0x1p-24f * 63 * 15);
}

TEST(Dequantize, RefusesPartOfABlock) {
  float out[32];
  const Bytes bytes(34);
  EXPECT_THROW(dequantize_row(DType::q8_0, bytes.data(), out, 31), CheckFailure);
}

// ---- the published blocks

TEST(Dequantize, EqualsReferenceBlocks) {
  const std::string path =
      std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures/gguf/gguf_blocks.safetensors";
  if (!is_regular_file(path)) GTEST_SKIP() << "no reference blocks at " << path;
  const auto text = read_text_file(path);
  ASSERT_TRUE(text.ok());
  uint64_t header_bytes;
  std::memcpy(&header_bytes, text->data(), 8);
  const auto header = parse_json(std::string_view(*text).substr(8, header_bytes), path);
  ASSERT_TRUE(header.ok());
  auto tensor = [&](const std::string& name) {
    const auto& offsets = header->at(name).at("data_offsets");
    return std::string_view(*text).substr(8 + header_bytes + offsets[0].get<size_t>(),
                                          offsets[1].get<size_t>() - offsets[0].get<size_t>());
  };
  int compared = 0;
  for (const auto& [key, row] : header->items()) {
    const size_t dot = key.find(".blocks");
    if (dot == std::string::npos) continue;
    const auto dtype = dtype_from_name(key.substr(0, dot));
    if (!dtype) continue;  // formats we do not name
    const std::string_view packed = tensor(key), expected = tensor(key.substr(0, dot) + ".values");
    std::vector<float> want(expected.size() / 4), got(want.size(), kNaN);
    std::memcpy(want.data(), expected.data(), expected.size());
    ASSERT_EQ(row_bytes(*dtype, want.size()), packed.size());
    dequantize_row(*dtype, reinterpret_cast<const std::byte*>(packed.data()), got.data(),
                   static_cast<int64_t>(got.size()));
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_LE(std::fabs(got[i] - want[i]), 1e-6f * std::fabs(want[i])) << key << " element " << i;
    }
    ++compared;
  }
  EXPECT_EQ(compared, 13);  // bf16 and the twelve block formats
}

// ---- packing

TEST(Pack, InvertsUnpackOnAnyBytes) {
  std::mt19937 rng(7);
  for (DType dtype : kAllTypes) {
    const BlockFormat* format = block_format(dtype);
    if (format == nullptr || format->pack == nullptr) continue;
    for (int round = 0; round < 200; ++round) {
      Bytes packed(info(dtype).block_bytes), again(packed.size(), std::byte{0x5a});
      for (std::byte& b : packed) b = static_cast<std::byte>(rng());
      Block block;
      unpack_block(dtype, packed.data(), block);
      format->pack(block, again.data());
      // d and m are the caller's.
      std::memcpy(again.data() + format->d_offset, packed.data() + format->d_offset, 2);
      if (format->m_offset >= 0)
        std::memcpy(again.data() + format->m_offset, packed.data() + format->m_offset, 2);
      ASSERT_EQ(packed, again) << name(dtype);
    }
  }
}

// Relative RMSE on normally distributed values. What the search reaches is in brackets, with that of the
// plain method (scale from the largest element, nothing searched): a loss of the search's gain fails the
// test.
struct Accuracy {
  DType dtype;
  double limit;
};
constexpr Accuracy kAccuracy[] = {
    {DType::f32, 0},         {DType::f16, 2.2e-4},
    {DType::bf16, 1.8e-3},   {DType::q8_0, 0.00505},  // 0.00499 (0.00534)
    {DType::q4_0, 0.0815},                            // 0.0807 (0.0858)
    {DType::q4_1, 0.0722},                            // 0.0714 (0.0781)
    {DType::q5_0, 0.0404},                            // 0.0400 (0.0426)
    {DType::q5_1, 0.0350},                            // 0.0346 (0.0378)
    {DType::q4_k, 0.0720},                            // 0.0712 (0.0783)
    {DType::q5_k, 0.0356},                            // 0.0351 (0.0381)
    {DType::q6_k, 0.0168},                            // 0.0166 (0.0188)
    {DType::iq4_nl, 0.0741},                          // 0.0733
};

TEST(Quantize, AccuracyPerFormat) {
  const auto x = normal_values(size_t{256} * 400, 0.02f);
  int tested = 0;
  for (const auto& [dtype, limit] : kAccuracy) {
    ASSERT_TRUE(can_quantize(dtype)) << name(dtype);
    EXPECT_LE(relative_rmse(x, dequantize(dtype, quantize(dtype, x), x.size())), limit) << name(dtype);
    ++tested;
  }
  for (DType dtype : kAllTypes) tested -= can_quantize(dtype);
  EXPECT_EQ(tested, 0) << "a writable format has no row in kAccuracy";
}

TEST(Quantize, OneLargeElementKeepsItsValue) {
  auto x = normal_values(256, 0.01f);
  x[37] = 3.0f;
  for (const auto& [dtype, limit] : kAccuracy) {
    const auto y = dequantize(dtype, quantize(dtype, x), x.size());
    EXPECT_NEAR(y[37], 3.0f, 0.05f) << name(dtype);
    x[37] = -x[37];
    EXPECT_NEAR(dequantize(dtype, quantize(dtype, x), x.size())[37], -3.0f, 0.05f) << name(dtype);
    x[37] = -x[37];
  }
}

TEST(Quantize, ZerosStayZeros) {
  const std::vector<float> x(256, 0.0f);
  for (const auto& [dtype, limit] : kAccuracy) {
    EXPECT_EQ(dequantize(dtype, quantize(dtype, x), x.size()), x) << name(dtype);
  }
}

TEST(Quantize, ConstantsAreKept) {
  for (float value : {0.375f, -0.375f}) {
    const std::vector<float> x(256, value);
    for (const auto& [dtype, limit] : kAccuracy) {
      for (float y : dequantize(dtype, quantize(dtype, x), x.size())) {
        EXPECT_NEAR(y, value, 0.0005f) << name(dtype);
      }
    }
  }
}

// Scales in and below the subnormal range of f16: as good as four bits, or as the step of that range, allow.
TEST(Quantize, TinyValues) {
  for (float deviation : {1e-4f, 1e-5f, 1e-6f, 1e-7f, 1e-12f, 1e-38f, 1e-42f}) {
    const auto x = normal_values(256, deviation);
    float largest = 0;
    for (float v : x) largest = std::max(largest, std::fabs(v));
    for (const auto& [dtype, limit] : kAccuracy) {
      if (!is_block_type(dtype)) continue;
      const Bytes packed = quantize(dtype, x);
      EXPECT_EQ(find_non_finite(dtype, packed.data(), 256), std::nullopt);
      const auto y = dequantize(dtype, packed, x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        const float allowed = std::min(2 * largest, 0.15f * largest + 64 * 0x1p-24f);
        ASSERT_LE(std::fabs(x[i] - y[i]), allowed) << name(dtype) << " deviation " << deviation;
      }
    }
  }
}

TEST(Quantize, WhatCannotBeStoredIsReported) {
  for (const auto& [dtype, limit] : kAccuracy) {
    for (float bad : {kNaN, kInf, -kInf, 1e30f, std::numeric_limits<float>::max()}) {
      if (dtype == DType::f32 || dtype == DType::bf16) {
        if (std::isfinite(bad)) continue;  // they hold it
      }
      auto x = normal_values(768, 1.0f);
      x[300] = bad;
      const Bytes packed = quantize(dtype, x);
      const int64_t block = info(dtype).block_elems;
      EXPECT_EQ(find_non_finite(dtype, packed.data(), 768), 300 / block * block) << name(dtype) << " " << bad;
    }
  }
}

TEST(Quantize, ReadOnlyFormatsAreRefused) {
  std::vector<float> x(256);
  Bytes out(1024);
  for (DType dtype : {DType::q2_k, DType::q3_k, DType::iq4_xs, DType::i8, DType::i64}) {
    EXPECT_FALSE(can_quantize(dtype));
    EXPECT_THROW(quantize_row(dtype, x.data(), out.data(), 256), CheckFailure);
  }
}

// ---- finding what is not finite

TEST(FindNonFinite, ScalesOfEveryBlockFormat) {
  for (DType dtype : kAllTypes) {
    const BlockFormat* format = block_format(dtype);
    if (format == nullptr) continue;
    const int64_t elems = info(dtype).block_elems;
    for (int offset : {format->d_offset, format->m_offset}) {
      for (uint16_t bits : {uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7e01}}) {
        if (offset < 0) continue;
        Bytes row(3 * info(dtype).block_bytes);
        EXPECT_EQ(find_non_finite(dtype, row.data(), 3 * elems), std::nullopt);
        std::memcpy(row.data() + 2 * info(dtype).block_bytes + offset, &bits, 2);
        EXPECT_EQ(find_non_finite(dtype, row.data(), 3 * elems), 2 * elems) << name(dtype);
        // The values agree: something in that block, and nothing before it, is not finite.
        const auto values = dequantize(dtype, row, static_cast<size_t>(3 * elems));
        int64_t first = 0;
        while (first < 3 * elems && std::isfinite(values[static_cast<size_t>(first)])) ++first;
        EXPECT_EQ(first, 2 * elems) << name(dtype);
      }
    }
  }
}

TEST(FindNonFinite, PlainTypes) {
  const float f32[3] = {1, 2, kNaN};
  EXPECT_EQ(find_non_finite(DType::f32, reinterpret_cast<const std::byte*>(f32), 3), 2);
  EXPECT_EQ(find_non_finite(DType::f32, reinterpret_cast<const std::byte*>(f32), 2), std::nullopt);
  const uint16_t f16[2] = {0x7bff, 0x7c00};
  EXPECT_EQ(find_non_finite(DType::f16, reinterpret_cast<const std::byte*>(f16), 2), 1);
  const uint16_t bf16[2] = {0x7f7f, 0xff80};
  EXPECT_EQ(find_non_finite(DType::bf16, reinterpret_cast<const std::byte*>(bf16), 2), 1);
}

}  // namespace
}  // namespace sluice::quant
