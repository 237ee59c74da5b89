// y = x W^T in tiles of 128 x 128: shared memory filled in the background three stages deep, matrix instructions of a
// warp. Each output is summed in order of k, whatever else is computed beside it.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/mma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kTile = 128, kDepth = 64, kStages = 3, kThreads = 256;
constexpr int kPieces = kDepth / 8;  // of 16 bytes, in a row of a stage
constexpr uint32_t kOperandBytes = kTile * kDepth * 2;
constexpr size_t kShared = size_t{2} * kStages * kOperandBytes;

template <typename T>
__device__ void fetch(uint32_t to, const T* from, int64_t stride, int64_t row0, int64_t rows, int64_t k0, int64_t k) {
#pragma unroll
  for (int i = 0; i < kTile * kPieces / kThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kThreads, row = at / kPieces, piece = at % kPieces;
    const bool valid = row0 + row < rows && k0 + piece * 8 < k;
    copy_async(to + swizzled<kPieces>(row, piece), valid ? from + (row0 + row) * stride + k0 + piece * 8 : from, valid);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) tiles_kernel(LinearCall c) {
  extern __shared__ __align__(128) std::byte shared[];
  const auto base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int wm = warp / 4 * 64, wn = warp % 4 * 32;  // a warp's 64 x 32
  const int64_t m0 = int64_t{blockIdx.x} * kTile, n0 = int64_t{blockIdx.y} * kTile;
  const T* x = static_cast<const T*>(c.x.data);
  const T* w = static_cast<const T*>(c.weight);
  const int steps = static_cast<int>((c.k + kDepth - 1) / kDepth);
  const auto stage = [&](int step) {
    const uint32_t to = base + static_cast<uint32_t>(step % kStages) * 2 * kOperandBytes;
    if (step < steps) {
      fetch(to, x, c.x.stride, m0, c.x.rows, int64_t{step} * kDepth, c.k);
      fetch(to + kOperandBytes, w, c.k, n0, c.n, int64_t{step} * kDepth, c.k);
    }
    end_copies();
  };
  await_previous();
  allow_next();
  for (int s = 0; s < kStages - 1; ++s) stage(s);

  float sums[4][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    await_copies<kStages - 2>();
    __syncthreads();
    stage(step + kStages - 1);
    const uint32_t xs = base + static_cast<uint32_t>(step % kStages) * 2 * kOperandBytes, ws = xs + kOperandBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        load_matrices(a[i], xs + swizzled<kPieces>(wm + i * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < 2; ++j)
        load_matrices(b[j], ws + swizzled<kPieces>(wn + j * 16 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          mma<T>(sums[i][j], a[i][0], a[i][1], a[i][2], a[i][3], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t m = m0 + wm + i * 16 + lane / 4 + e / 2 * 8, n = n0 + wn + j * 8 + lane % 4 * 2 + e % 2;
        if (m < c.x.rows && n < c.n)
          static_cast<float*>(c.y.data)[m * c.y.stride + n] = sums[i][j][e] + (c.bias == nullptr ? 0.0f : c.bias[n]);
      }
    }
  }
}

template <typename T>
void run(Queue queue, const LinearCall& c) {
  allow_shared(tiles_kernel<T>, kShared);
  launch(tiles_kernel<T>, {{blocks_for(c.x.rows, kTile), blocks_for(c.n, kTile)}, kThreads, kShared}, queue, c);
}

}  // namespace

void linear_tiles(Queue queue, const LinearCall& c) {
  c.type == DType::bf16 ? run<__nv_bfloat16>(queue, c) : run<__half>(queue, c);
}

}  // namespace sluice::cuda
