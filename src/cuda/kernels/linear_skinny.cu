// y = x W^T for up to 64 rows of x: the time of reading W once. The rows of W are the 16 of the matrix instruction,
// those of x its 8 columns. Nothing of W passes through shared memory: each lane reads 16 neighbouring bytes of two
// rows, which are its operands of two instructions.
//
// A block has 8 warps: kGroups of them take different 16 rows of W and the same part of k, so that x, which all read,
// comes from L1; the others, and the blocks of a cluster, take other parts of k. The parts are added up in one order.
#include <cooperative_groups.h>

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/mma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kAhead = 4;  // pieces of 32 k whose loads are under way together
constexpr int kMultiprocessors = 132;

struct Weights {
  uint4 low[kAhead], high[kAhead];  // rows g and g + 8
};

template <typename T>
__device__ Weights load_weights(const T* low, const T* high, int piece, int end, int64_t k) {
  Weights w;
#pragma unroll
  for (int u = 0; u < kAhead; ++u) {
    const bool valid = piece + u < end && (piece + u) * 32 + threadIdx.x % 4 * 8 < k;
    w.low[u] = valid ? load_streamed(low + (piece + u) * 32) : uint4{};
    w.high[u] = valid ? load_streamed(high + (piece + u) * 32) : uint4{};
  }
  return w;
}

/// kGroups: of 8 columns of x, and of 16 rows of W in a block.
template <typename T, int kGroups>
__global__ void __launch_bounds__(kThreads, kGroups < 8 ? 2 : 1) skinny_kernel(LinearCall c) {
  constexpr int kParts = kWarps / kGroups, kRows = 16 * kGroups, kColumns = 8 * kGroups;
  __shared__ float partial[kParts][kColumns][kRows];
  const auto cluster = cooperative_groups::this_cluster();
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int warp = threadIdx.x / 32, group = warp % kGroups, part = warp / kGroups;
  const int64_t n0 = int64_t{blockIdx.x} * kRows;
  const int64_t n_low = min(n0 + group * 16 + g, c.n - 1), n_high = min(n0 + group * 16 + g + 8, c.n - 1);
  const T* low = static_cast<const T*>(c.weight) + n_low * c.k + t * 8;
  const T* high = static_cast<const T*>(c.weight) + n_high * c.k + t * 8;
  const int pieces = static_cast<int>((c.k + 31) / 32), workers = static_cast<int>(gridDim.y) * kParts;
  const int worker = static_cast<int>(blockIdx.y) * kParts + part;
  const int begin = static_cast<int>(int64_t{pieces} * worker / workers);
  const int end = static_cast<int>(int64_t{pieces} * (worker + 1) / workers);

  Weights next = load_weights(low, high, begin, end, c.k);  // no kernel writes weights: they need not wait
  await_previous();
  allow_next();
  const T* x[kGroups];
#pragma unroll
  for (int j = 0; j < kGroups; ++j)
    x[j] = static_cast<const T*>(c.x.data) + min(int64_t{j * 8 + g}, c.x.rows - 1) * c.x.stride + t * 8;
  float sums[kGroups][4] = {};
  for (int piece = begin; piece < end; piece += kAhead) {
    const Weights now = next;
    next = load_weights(low, high, piece + kAhead, end, c.k);
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      const int k = (piece + u) * 32;
      if (piece + u >= end) break;
      const bool valid = k + t * 8 < c.k;
#pragma unroll
      for (int j = 0; j < kGroups; ++j)
        mma32<T>(sums[j], now.low[u], now.high[u], valid ? load16(x[j] + k) : uint4{});
    }
  }
#pragma unroll
  for (int j = 0; j < kGroups; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) partial[part][j * 8 + t * 2 + i % 2][group * 16 + g + i / 2 * 8] = sums[j][i];
  }
  cluster.sync();
  const int blocks = static_cast<int>(gridDim.y), columns = static_cast<int>(c.x.rows);
  for (int i = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x); i < columns * kRows;
       i += blocks * kThreads) {
    const int column = i / kRows, row = i % kRows;
    if (n0 + row >= c.n) continue;
    float sum = c.bias == nullptr ? 0.0f : c.bias[n0 + row];
    for (int block = 0; block < blocks; ++block) {
      const float* theirs = cluster.map_shared_rank(&partial[0][column][row], static_cast<unsigned>(block));
#pragma unroll
      for (int p = 0; p < kParts; ++p) sum += theirs[p * kColumns * kRows];
    }
    static_cast<float*>(c.y.data)[column * c.y.stride + n0 + row] = sum;
  }
  cluster.sync();  // nobody leaves while its sums are read
}

template <typename T, int kGroups>
void run(Queue queue, const LinearCall& c) {
  const unsigned blocks = blocks_for(c.n, 16 * kGroups);
  const int64_t pieces = (c.k + 31) / 32, parts = kWarps / kGroups;
  unsigned split = 1;  // enough blocks to keep every multiprocessor reading
  while (split < 8 && blocks * split < 3 * kMultiprocessors / 2 && pieces >= 2 * kAhead * parts * split) split *= 2;
  launch(skinny_kernel<T, kGroups>, {{blocks, split}, kThreads, 0, split}, queue, c);
}

template <typename T>
void run(Queue queue, const LinearCall& c) {
  if (c.x.rows <= 8) return run<T, 1>(queue, c);
  if (c.x.rows <= 16) return run<T, 2>(queue, c);
  if (c.x.rows <= 32) return run<T, 4>(queue, c);
  run<T, 8>(queue, c);
}

}  // namespace

void linear_skinny(Queue queue, const LinearCall& c) {
  c.type == DType::bf16 ? run<__nv_bfloat16>(queue, c) : run<__half>(queue, c);
}

}  // namespace sluice::cuda
