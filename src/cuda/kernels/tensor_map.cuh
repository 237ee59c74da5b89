// Tensor maps: what copies by the tensor memory accelerator know of a matrix in memory.
#pragma once

#include <cuda.h>

#include "cuda/kernels/common.cuh"

namespace sluice::cuda {

struct MapShape {
  int64_t rows = 0, columns = 0, stride = 0;  // in elements
};

namespace detail {

/// A map of `dims` dimensions, the first of which is contiguous; strides, in elements, are of the others. The driver's
/// function is asked for by name, since a program that links to the driver does not start where there is none. L2
/// fetches no more than a row of a swizzled box at once: with 256 bytes, boxes that stream a matrix reach 4.38 TB/s on an
/// H200 that reads 4.63.
template <int kDims>
CUtensorMap make_map(const void* data, DType type, const int64_t (&sizes)[kDims], const int64_t (&strides)[kDims - 1],
                     const int64_t (&box)[kDims], bool swizzled) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "asking the driver for tensor maps");
    if (found != cudaDriverEntryPointSuccess) throw CudaError("CUDA: the driver has no tensor maps; update it");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  cuuint64_t all[kDims], bytes[kDims - 1];
  cuuint32_t boxes[kDims], steps[kDims];
  for (int i = 0; i < kDims; ++i) {
    all[i] = static_cast<cuuint64_t>(sizes[i]);
    boxes[i] = static_cast<cuuint32_t>(box[i]);
    steps[i] = 1;
    if (i > 0) bytes[i - 1] = static_cast<cuuint64_t>(strides[i - 1]) * (type == DType::f32 ? 4 : 2);
  }
  CUtensorMap map;
  const CUresult result =
      encode(&map,
             type == DType::f32    ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
             : type == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
             kDims, const_cast<void*>(data), all, bytes, boxes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw CudaError("CUDA: a tensor map was refused with status " + std::to_string(result));
  return map;
}

}  // namespace detail

/// Of a matrix of f32, f16 or bf16 whose address and rows are multiples of 16 bytes, copied by boxes of box_rows x
/// box_columns. `swizzled` boxes have rows of 128 bytes.
inline CUtensorMap tensor_map(const void* data, DType type, const MapShape& shape, int64_t box_rows,
                              int64_t box_columns, bool swizzled) {
  return detail::make_map<2>(data, type, {shape.columns, shape.rows}, {shape.stride}, {box_columns, box_rows}, swizzled);
}

/// Of two matrices of shape.rows rows (a multiple of 8) one behind the other, copied by swizzled boxes of box_rows rows
/// in which eight of the first and the same eight of the second take turns: dimensions are columns, 8 rows, matrices and
/// eights of rows.
inline CUtensorMap paired_map(const void* data, DType type, const MapShape& shape, int64_t box_rows,
                              int64_t box_columns) {
  return detail::make_map<4>(data, type, {shape.columns, 8, 2, shape.rows / 8},
                             {shape.stride, shape.rows * shape.stride, 8 * shape.stride},
                             {box_columns, 8, 2, box_rows / 16}, true);
}

}  // namespace sluice::cuda
