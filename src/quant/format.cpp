#include "quant/format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "quant/fit.h"
#include "quant/formats.h"
#include "tensor/half.h"

namespace sluice::quant {
namespace {

static_assert(std::endian::native == std::endian::little, "packed fields are read in place");

template <typename T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}
template <typename T>
void store(std::byte* p, T value) {
  std::memcpy(p, &value, sizeof(T));
}

float load_f16(const std::byte* p) { return f16_to_f32(load<uint16_t>(p)); }

// Element i of a row of a plain type.
float plain_value(DType dtype, const std::byte* src, int64_t i) {
  switch (dtype) {
    case DType::f32:
      return load<float>(src + 4 * i);
    case DType::f16:
      return f16_to_f32(load<uint16_t>(src + 2 * i));
    case DType::bf16:
      return bf16_to_f32(load<uint16_t>(src + 2 * i));
    case DType::i8:
      return load<int8_t>(src + i);
    case DType::u8:
      return load<uint8_t>(src + i);
    case DType::i32:
      return static_cast<float>(load<int32_t>(src + 4 * i));
    case DType::i64:
      return static_cast<float>(load<int64_t>(src + 8 * i));
    default:
      break;
  }
  SLUICE_CHECK(false, "{} is not a plain type", name(dtype));
}

struct BlockSize {
  int64_t elems, bytes;
};
BlockSize block_size(DType dtype, int64_t n) {
  const BlockSize size = {info(dtype).block_elems, info(dtype).block_bytes};
  SLUICE_CHECK(n >= 0 && n % size.elems == 0, "{} elements are no whole number of {} blocks of {}", n,
               name(dtype), size.elems);
  return size;
}

// Far beyond what an f16 scale can reach, and small enough that the search does not overflow.
constexpr float kLargest = 0x1p100f;

void quantize_block(const BlockFormat& format, const float* x, int64_t elems, std::byte* packed) {
  Block block;
  bool in_range = true;  // false for NaN too
  for (int64_t i = 0; i < elems; ++i) in_range &= std::fabs(x[i]) < kLargest;
  if (in_range) format.fit(x, block);
  if (!in_range || !std::isfinite(block.d) || !std::isfinite(block.m)) {
    block = {};
    block.d = std::numeric_limits<float>::quiet_NaN();
  }
  format.pack(block, packed);
  store(packed + format.d_offset, f32_to_f16(block.d));
  if (format.m_offset >= 0) store(packed + format.m_offset, f32_to_f16(block.m * format.m_sign));
}

constexpr uint16_t kF16Exponent = 0x7c00;

// The first of n numbers whose exponent is all ones: infinity or NaN.
template <typename Bits>
std::optional<int64_t> find_full_exponent(const std::byte* src, int64_t n, Bits exponent) {
  const auto is_full = [&](int64_t i) {
    return (load<Bits>(src + i * static_cast<int64_t>(sizeof(Bits))) & exponent) == exponent;
  };
  constexpr int64_t kTogether = 256;  // looked at without a branch
  for (int64_t begin = 0; begin < n; begin += kTogether) {
    const int64_t end = std::min(begin + kTogether, n);
    Bits any = 0;
    for (int64_t i = begin; i < end; ++i) any = static_cast<Bits>(any | static_cast<Bits>(is_full(i)));
    if (any == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (is_full(i)) return i;
    }
  }
  return std::nullopt;
}

}  // namespace

const BlockFormat* block_format(DType dtype) {
  switch (dtype) {
    case DType::q8_0:
      return &kQ8_0;
    case DType::q4_0:
      return &kQ4_0;
    case DType::q4_1:
      return &kQ4_1;
    case DType::q5_0:
      return &kQ5_0;
    case DType::q5_1:
      return &kQ5_1;
    case DType::q2_k:
      return &kQ2K;
    case DType::q3_k:
      return &kQ3K;
    case DType::q4_k:
      return &kQ4K;
    case DType::q5_k:
      return &kQ5K;
    case DType::q6_k:
      return &kQ6K;
    case DType::iq4_nl:
      return &kIQ4NL;
    case DType::iq4_xs:
      return &kIQ4XS;
    default:
      return nullptr;
  }
}

void unpack_block(DType dtype, const std::byte* packed, Block& block) {
  const BlockFormat* format = block_format(dtype);
  SLUICE_CHECK(format != nullptr, "{} is not a block type", name(dtype));
  block.d = load_f16(packed + format->d_offset);
  block.m = format->m_offset < 0 ? 0 : load_f16(packed + format->m_offset) * format->m_sign;
  format->unpack(packed, block);
}

void dequantize_row(DType dtype, const std::byte* src, float* dst, int64_t n) {
  const BlockFormat* format = block_format(dtype);
  if (format == nullptr) {
    for (int64_t i = 0; i < n; ++i) dst[i] = plain_value(dtype, src, i);
    return;
  }
  const BlockSize size = block_size(dtype, n);
  Block block;
  for (; n > 0; n -= size.elems, src += size.bytes) {
    unpack_block(dtype, src, block);
    const int8_t* code = block.code;
    for (int g = 0; g < size.elems / format->group; ++g) {
      const float scale = block.d * static_cast<float>(block.scale[g]);
      const float offset = block.m * static_cast<float>(block.min[g]);
      for (int i = 0; i < format->group; ++i) *dst++ = scale * static_cast<float>(*code++) + offset;
    }
  }
}

bool can_quantize(DType dtype) {
  if (const BlockFormat* format = block_format(dtype)) return format->fit != nullptr;
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

void quantize_row(DType dtype, const float* src, std::byte* dst, int64_t n) {
  SLUICE_CHECK(can_quantize(dtype), "no rows of {} can be written", name(dtype));
  const BlockSize size = block_size(dtype, n);
  if (const BlockFormat* format = block_format(dtype)) {
    for (; n > 0; n -= size.elems, src += size.elems, dst += size.bytes) {
      quantize_block(*format, src, size.elems, dst);
    }
  } else if (dtype == DType::f32) {
    std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
  } else {
    const bool f16 = dtype == DType::f16;
    for (int64_t i = 0; i < n; ++i) store(dst + 2 * i, f16 ? f32_to_f16(src[i]) : f32_to_bf16(src[i]));
  }
}

std::optional<int64_t> find_non_finite(DType dtype, const std::byte* src, int64_t n) {
  switch (dtype) {
    case DType::f32:
      return find_full_exponent<uint32_t>(src, n, 0x7f800000);
    case DType::f16:
      return find_full_exponent<uint16_t>(src, n, kF16Exponent);
    case DType::bf16:
      return find_full_exponent<uint16_t>(src, n, 0x7f80);
    default:
      break;
  }
  const BlockFormat* format = block_format(dtype);
  if (format == nullptr) return std::nullopt;  // integers
  // Codes and inner scales are small integers: an element is finite when the f16 scales of its block are.
  const BlockSize size = block_size(dtype, n);
  const auto finite = [](const std::byte* f16) {
    return (load<uint16_t>(f16) & kF16Exponent) != kF16Exponent;
  };
  for (int64_t i = 0; i < n; i += size.elems, src += size.bytes) {
    if (!finite(src + format->d_offset) || (format->m_offset >= 0 && !finite(src + format->m_offset)))
      return i;
  }
  return std::nullopt;
}

}  // namespace sluice::quant
