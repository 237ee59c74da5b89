#include "ops/kernel.h"

#include <cstring>

#include "quant/format.h"

namespace sluice::ops {

const WeightLayout& plain_layout() {
  static const WeightLayout layout{
      .name = "plain",
      .row_tile = 1,
      .packed_bytes = [](DType dtype, int64_t n, int64_t k) -> uint64_t {
        return static_cast<uint64_t>(n) * row_bytes(dtype, static_cast<uint64_t>(k));
      },
      .pack =
          [](DType dtype, int64_t, int64_t k, int64_t row, int64_t rows, const std::byte* src, std::byte* dst) {
            const uint64_t bytes = row_bytes(dtype, static_cast<uint64_t>(k));
            std::memcpy(dst + static_cast<uint64_t>(row) * bytes, src, static_cast<uint64_t>(rows) * bytes);
          },
      .unpack_row =
          [](DType dtype, int64_t, int64_t k, const std::byte* packed, int64_t row, float* out) {
            const uint64_t bytes = row_bytes(dtype, static_cast<uint64_t>(k));
            quant::dequantize_row(dtype, packed + static_cast<uint64_t>(row) * bytes, out, k);
          },
  };
  return layout;
}

}  // namespace sluice::ops
