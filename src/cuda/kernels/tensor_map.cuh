// Tensor maps: what copies by the tensor memory accelerator know of a matrix in memory.
#pragma once

#include <cuda.h>

#include "cuda/kernels/common.cuh"

namespace sluice::cuda {

struct MapShape {
  int64_t rows = 0, columns = 0, stride = 0;  // in elements
};

/// Of a matrix of f32, f16 or bf16 whose address and rows are multiples of 16 bytes, copied by boxes of box_rows x
/// box_columns. `swizzled` boxes have rows of 128 bytes. The driver's function is asked for by name, since a program
/// that links to the driver does not start where there is none. L2 fetches no more than a row of a swizzled box at once:
/// with 256 bytes, boxes that stream a matrix reach 4.38 TB/s on an H200 that reads 4.63.
inline CUtensorMap tensor_map(const void* data, DType type, const MapShape& shape, int64_t box_rows,
                              int64_t box_columns, bool swizzled) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "asking the driver for tensor maps");
    if (found != cudaDriverEntryPointSuccess) throw CudaError("CUDA: the driver has no tensor maps; update it");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  const cuuint64_t bytes = type == DType::f32 ? 4 : 2;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(shape.columns), static_cast<cuuint64_t>(shape.rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(shape.stride) * bytes};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map,
             type == DType::f32    ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
             : type == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
             2, const_cast<void*>(data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw CudaError("CUDA: a tensor map was refused with status " + std::to_string(result));
  return map;
}

}  // namespace sluice::cuda
