// The one view that ops compute on: rows of tokens, columns of features. It owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace sluice {

/// (rows, cols) of plain elements; consecutive rows are `stride` elements apart, so that a view may be a
/// range of columns of a wider buffer.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* f32(int64_t row = 0) const { return static_cast<float*>(data) + row * stride; }
  int32_t* i32(int64_t row = 0) const { return static_cast<int32_t*>(data) + row * stride; }
};

}  // namespace sluice
