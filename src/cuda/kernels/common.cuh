// What device code shares: element types, reductions, launches that may overlap the end of the launch before.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <unordered_set>

#include "cuda/kernels/runtime.h"
#include "tensor/matrix.h"

namespace sluice::cuda {

void check(cudaError_t error, const char* what);

// ---- elements

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float(float x) {
  return x;
}
template <>
__device__ inline __half from_float(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float(float x) {
  return __float2bfloat16_rn(x);
}

/// Calls f with a value of the element type, which says no more than its type.
template <typename F>
void with_type(DType type, F&& f) {
  switch (type) {
    case DType::f32:
      return f(float{});
    case DType::f16:
      return f(__half{});
    case DType::bf16:
      return f(__nv_bfloat16{});
    default:
      throw CudaError("an element type that no CUDA kernel reads");
  }
}

/// Two numbers as one register of a matrix instruction's operand, the first in the low half.
template <typename T>
__device__ inline uint32_t pack2(float low, float high);
template <>
__device__ inline uint32_t pack2<__half>(float low, float high) {
  const __half2 v = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(v);
}
template <>
__device__ inline uint32_t pack2<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(v);
}

// ---- reductions

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

template <typename Op>
__device__ inline float reduce_warp(float v, Op op) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v = op(v, __shfl_xor_sync(0xffffffffu, v, offset));
  return v;
}

/// Over the four lanes that hold one row of an mma's result.
template <typename Op>
__device__ inline float reduce_quad(float v, Op op) {
  v = op(v, __shfl_xor_sync(0xffffffffu, v, 1));
  return op(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

/// Over a block of whole warps; every thread has the result. `shared` has 32 floats and may be used again at once.
template <typename Op>
__device__ inline float reduce_block(float v, Op op, float* shared) {
  v = reduce_warp(v, op);
  if (blockDim.x == 32) return v;
  const int warps = static_cast<int>(blockDim.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  if (lane == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = shared[lane < warps ? lane : 0];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_down_sync(0xffffffffu, v, offset);
    if (lane + offset < warps) v = op(v, other);
  }
  v = __shfl_sync(0xffffffffu, v, 0);
  __syncthreads();
  return v;
}

// ---- launches

/// Programmatic dependent launch: the next kernel's blocks may start once all blocks of this one have called `allow_next`
/// or ended. Every kernel calls `await_previous` before it touches anything that a kernel of the same step writes, so
/// that what is complete when a kernel passes it is everything before it in the queue. Before that it may read weights,
/// and what was there when the step began: behind a step that runs on another begins with a copy, which waits for it.
__device__ inline void await_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ inline void allow_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

struct LaunchShape {
  dim3 grid, block;
  size_t shared = 0;
  unsigned cluster_y = 1;  // blocks of a cluster, along y
};

/// Once for each kernel: it may have all shared memory of a block, and leaves L1 as small as it can be. A multiprocessor
/// that has to change the share of shared memory runs empty first, and the next product could not start beside the
/// kernels before it.
inline void prepare(const void* kernel) {
  thread_local std::unordered_set<const void*> done;
  if (!done.insert(kernel).second) return;
  constexpr int kMostShared = 227 << 10;
  cudaFuncAttributes facts{};
  check(cudaFuncGetAttributes(&facts, kernel), "reading a kernel's properties");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kMostShared - static_cast<int>(facts.sharedSizeBytes)),
        "asking for shared memory");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
        "preferring shared memory");
}

template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), const LaunchShape& shape, Queue queue, const Args&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  prepare(reinterpret_cast<const void*>(kernel));
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {1, shape.cluster_y, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = queue;
  config.attrs = attributes;
  config.numAttrs = shape.cluster_y > 1 ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), "a kernel's launch");
}

inline unsigned blocks_for(int64_t items, int64_t each) { return static_cast<unsigned>((items + each - 1) / each); }

}  // namespace sluice::cuda
