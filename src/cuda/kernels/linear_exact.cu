// Matrix products in fp32 on the plain cores, for fp32 weights, for the mode that follows a reference to the last
// digits, and for shapes that matrix instructions cannot take.
#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"

namespace sluice::cuda {
namespace {

template <typename W>
__device__ float element(const LinearCall& c, bool rounded, int64_t m, int64_t k) {
  if (c.x.dtype != DType::f32) return to_float(static_cast<const W*>(c.x.data)[m * c.x.stride + k]);
  const float x = static_cast<const float*>(c.x.data)[m * c.x.stride + k];
  return rounded ? to_float(from_float<W>(x)) : x;
}

// ---- few rows: a warp to a column of y

constexpr int kWarps = 8, kRows = 8;

template <typename W>
__global__ void __launch_bounds__(kWarps * 32) gemv_kernel(LinearCall c, bool rounded) {
  const int lane = threadIdx.x % 32;
  const int64_t n = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  allow_next();
  await_previous();
  if (n >= c.n) return;
  const W* w = static_cast<const W*>(c.weight) + n * c.k;
  float sums[kRows] = {};
  for (int64_t k = lane; k < c.k; k += 32) {
    const float weight = to_float(w[k]);
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      if (m < c.x.rows) sums[m] += weight * element<W>(c, rounded, m, k);
    }
  }
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
    const float sum = reduce_warp(sums[m], Add{});
    if (lane == 0 && m < c.x.rows)
      static_cast<float*>(c.y.data)[m * c.y.stride + n] = sum + (c.bias == nullptr ? 0.0f : c.bias[n]);
  }
}

// ---- tiles of 64 x 64, 4 x 4 to a thread; each output's products are summed in order of k

constexpr int kTile = 64, kDepth = 16, kThreads = 256;

template <typename W>
__global__ void __launch_bounds__(kThreads) tile_kernel(LinearCall c, bool rounded) {
  __shared__ float xs[kDepth][kTile + 4], ws[kDepth][kTile + 4];
  allow_next();
  await_previous();
  const int64_t m0 = int64_t{blockIdx.y} * kTile, n0 = int64_t{blockIdx.x} * kTile;
  const int tid = static_cast<int>(threadIdx.x), tm = tid / 16 * 4, tn = tid % 16 * 4;
  const W* weight = static_cast<const W*>(c.weight);
  float sums[4][4] = {};
  for (int64_t k0 = 0; k0 < c.k; k0 += kDepth) {
    for (int i = tid; i < kTile * kDepth; i += kThreads) {
      const int64_t row = i / kDepth, k = k0 + i % kDepth;
      xs[i % kDepth][row] = m0 + row < c.x.rows && k < c.k ? element<W>(c, rounded, m0 + row, k) : 0.0f;
      ws[i % kDepth][row] = n0 + row < c.n && k < c.k ? to_float(weight[(n0 + row) * c.k + k]) : 0.0f;
    }
    __syncthreads();
    const int depth = static_cast<int>(min(int64_t{kDepth}, c.k - k0));  // 0 * NaN of another row's padding is none
    for (int k = 0; k < depth; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += xs[k][tm + i] * ws[k][tn + j];
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int64_t m = m0 + tm + i, n = n0 + tn + j;
      if (m < c.x.rows && n < c.n)
        static_cast<float*>(c.y.data)[m * c.y.stride + n] = sums[i][j] + (c.bias == nullptr ? 0.0f : c.bias[n]);
    }
  }
}

}  // namespace

void linear_exact(Queue queue, const LinearCall& c, bool rounded) {
  if (c.x.rows > kRows) return linear_exact_tiles(queue, c, rounded);
  with_type(c.type, [&](auto t) {
    launch(gemv_kernel<decltype(t)>, {blocks_for(c.n, kWarps), kWarps * 32}, queue, c, rounded);
  });
}

void linear_exact_tiles(Queue queue, const LinearCall& c, bool rounded) {
  with_type(c.type, [&](auto t) {
    launch(tile_kernel<decltype(t)>, {{blocks_for(c.n, kTile), blocks_for(c.x.rows, kTile)}, kThreads}, queue, c,
           rounded);
  });
}

}  // namespace sluice::cuda
