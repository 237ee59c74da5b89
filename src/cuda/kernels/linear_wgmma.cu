// y = x W^T by wgmma, for any number of rows of x: one row at the speed of reading W, thousands at the speed of the
// tensor cores. The rows of W are the 64 of the instruction, those of x its columns, so that few rows waste nothing.
//
// A block runs on each multiprocessor. Its first warpgroup keeps the copy engine busy, kStages pieces of W and x ahead;
// the others multiply, each 64 rows of W by all columns of the tile. Copies of W need not wait for the launch before:
// they fill shared memory while it ends, and with it go the start-up costs of most products.
//
// The work is units: 64 elements of k of one tile. Where whole tiles fill the multiprocessors, each block takes every
// 132nd tile. Else (`shared_out`) each takes an equal stretch of all units, whatever tiles they belong to; of a tile
// that several took, each leaves its sums in memory and the last to come adds them up in order of k. The stretches
// depend on n, k and the number of tiles alone: with one tile of x, an output does not depend on the other rows.
// After Osama et al., "Stream-K: Work-centric Parallel Decomposition for Dense Matrix-Matrix Multiplication" (2023).
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/tensor_map.cuh"
#include "cuda/kernels/wgmma_products.cuh"

namespace sluice::cuda {
namespace {

constexpr int kDepth = 64;                     // of k, in a stage: a row of it is 128 bytes
constexpr int kRows = 128;                     // of W, in a tile
constexpr int kWarpgroup = 128, kMultiplying = 2 * kWarpgroup, kThreads = kMultiplying + kWarpgroup;
static_assert(kLinearMostN == kRows * kCounters);
constexpr int kBlocks = 132;
constexpr int kGroup = 16;                     // tiles of x that are passed before the next tiles of W
constexpr size_t kMostShared = 227 << 10;
constexpr size_t kSharedOfFewRows = 168 << 10;  // leaves room for the small kernels that run between products

template <int kColumns>
struct Stage {
  static constexpr uint32_t kWeightBytes = kRows * kDepth * 2, kInputBytes = kColumns * kDepth * 2;
  static constexpr uint32_t kBytes = kWeightBytes + kInputBytes;
  static constexpr size_t kShared = kColumns <= 64 ? kSharedOfFewRows : kMostShared;
  static constexpr int kStages = static_cast<int>((kShared - 2048) / kBytes);
};

/// What a launch computes; plain values, the same for all blocks.
struct Work {
  int64_t n = 0;
  int64_t rows = 0;   // of x
  int row_tiles = 0;  // tiles of x
  int tiles = 0;      // of both
  int steps = 0;      // units of a tile
  bool shared_out = false;
  const float* bias = nullptr;
  void* y = nullptr;
  int64_t y_stride = 0;
  float4* sums = nullptr;       // (2 kBlocks, registers / 4, kMultiplying): of a block's first and last tile
  uint32_t* arrived = nullptr;  // (tiles): blocks that left their sums; 0 between launches
};

/// A stretch of one tile's units.
struct Part {
  int tile, begin, end;
};

/// The parts of this block, in order. All numbers of units fit in an int, also kBlocks times.
class Parts {
 public:
  __device__ explicit Parts(const Work& w) : w_(w) {
    const int units = w.tiles * w.steps, blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
    at_ = w.shared_out ? units * block / blocks : block * w.steps;
    end_ = w.shared_out ? units * (block + 1) / blocks : units;
  }
  __device__ bool next(Part& part) {
    if (at_ >= end_) return false;
    part.tile = at_ / w_.steps;
    part.begin = at_ - part.tile * w_.steps;
    part.end = min(w_.steps, part.begin + end_ - at_);
    at_ += w_.shared_out ? part.end - part.begin : static_cast<int>(gridDim.x) * w_.steps;
    return true;
  }

 private:
  const Work& w_;
  int at_, end_;
};
/// The block whose stretch holds a unit.
__device__ int owner(const Work& w, int unit) {
  return ((unit + 1) * static_cast<int>(gridDim.x) - 1) / (w.tiles * w.steps);
}

/// Tiles lie in groups of kGroup tiles of x; within a group, those of x change fastest.
struct Place {
  int weight_tile, row_tile;
};
__device__ Place place_of(const Work& w, int tile) {
  if (w.row_tiles == 1) return {tile, 0};
  const int weight_tiles = w.tiles / w.row_tiles, group = tile / (kGroup * weight_tiles);
  const int first = group * kGroup, width = min(kGroup, w.row_tiles - first);
  const int inside = tile - first * weight_tiles;
  return {inside / width, first + inside % width};
}

template <int kColumns>
struct Shared {
  Gates<Stage<kColumns>::kStages> gates;
  int is_last;
};

/// The producer: one thread.
template <int kColumns>
__device__ void fetch(const Work& w, const CUtensorMap& weight, const CUtensorMap& x, Shared<kColumns>& shared,
                      uint32_t stages) {
  using S = Stage<kColumns>;
  const uint64_t weight_policy = cache_policy(w.row_tiles == 1 ? Keep::once : Keep::normal);
  const uint64_t x_policy = cache_policy(Keep::again);
  const auto fetch_weight = [&](int stage, const Place& place, int step) {
    arrive_expecting(shared.gates.full[stage], S::kBytes);
    copy_box(stages + stage * S::kBytes, weight, step * kDepth, place.weight_tile * kRows, shared.gates.full[stage],
             weight_policy);
  };
  const auto fetch_x = [&](int stage, const Place& place, int step) {
    copy_box(stages + stage * S::kBytes + S::kWeightBytes, x, step * kDepth, place.row_tile * kColumns,
             shared.gates.full[stage], x_policy);
  };
  Part part;
  int early = 0;  // no kernel writes weights: the first of them need not wait
  for (Parts parts(w); early < S::kStages && parts.next(part);) {
    const Place place = place_of(w, part.tile);
    for (int step = part.begin; step < part.end && early < S::kStages; ++step) fetch_weight(early++, place, step);
  }
  await_previous();
  Turn<S::kStages> turn;
  for (Parts parts(w); parts.next(part);) {
    const Place place = place_of(w, part.tile);
    for (int step = part.begin; step < part.end; ++step, turn.next()) {
      if (early > 0) {
        --early;
      } else {
        await(shared.gates.free[turn.place], turn.parity ^ 1);
        fetch_weight(turn.place, place, step);
      }
      fetch_x(turn.place, place, step);
    }
  }
}

/// Whether this block has the sums of all of the tile now; of two or more, one does, added up in order of k.
template <int kColumns>
__device__ bool add_up(const Work& w, const Part& part, Shared<kColumns>& shared, float (&sums)[kColumns / 2]) {
  constexpr int kPieces = kColumns / 8;
  const int thread = static_cast<int>(threadIdx.x) - kWarpgroup;
  const auto at = [&](int slot, int piece) { return w.sums + (int64_t{slot} * kPieces + piece) * kMultiplying + thread; };
  const int mine = 2 * static_cast<int>(blockIdx.x) + (part.begin > 0 ? 0 : 1);
#pragma unroll
  for (int i = 0; i < kPieces; ++i)
    __stcg(at(mine, i), make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
  sync_threads_of(1, kMultiplying);
  const int first = owner(w, part.tile * w.steps);
  const int last = owner(w, (part.tile + 1) * w.steps - 1);
  if (thread == 0) {
    __threadfence();  // for all: what a barrier of the block orders, one thread's fence passes on
    const unsigned before = atomicAdd(w.arrived + part.tile, 1u);
    shared.is_last = before == static_cast<unsigned>(last - first);
    if (shared.is_last) w.arrived[part.tile] = 0;
    __threadfence();
  }
  sync_threads_of(1, kMultiplying);
  if (!shared.is_last) return false;
#pragma unroll
  for (float& sum : sums) sum = 0;
  for (int block = first; block <= last; ++block) {
    const int slot = 2 * block + (block == first ? 1 : 0);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (i % 8 == 0) asm volatile("" ::: "memory");  // no more than eight loads at once: registers are scarce
      const float4 v = __ldcg(at(slot, i));
      sums[4 * i] += v.x;
      sums[4 * i + 1] += v.y;
      sums[4 * i + 2] += v.z;
      sums[4 * i + 3] += v.w;
    }
  }
  return true;
}

template <typename Y, int kColumns>
__device__ void store(const Work& w, const Place& place, const float (&sums)[kColumns / 2]) {
  const int thread = static_cast<int>(threadIdx.x) - kWarpgroup, lane = thread % 32;
  const int64_t n0 = int64_t{place.weight_tile} * kRows + thread / 32 * 16 + lane / 4;
  const int64_t row0 = int64_t{place.row_tile} * kColumns + lane % 4 * 2;
  Y* y = static_cast<Y*>(w.y);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t n = n0 + half * 8;
    if (n >= w.n) continue;
    const float bias = w.bias == nullptr ? 0.0f : w.bias[n];
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int64_t row = row0 + j * 8 + e;
        if (row < w.rows) y[row * w.y_stride + n] = from_float<Y>(sums[4 * j + half * 2 + e] + bias);
      }
    }
  }
}

/// The consumers: two warpgroups.
template <typename T, typename Y, int kColumns>
__device__ void multiply(const Work& w, Shared<kColumns>& shared, uint32_t stages) {
  using S = Stage<kColumns>;
  const uint32_t my_rows = (threadIdx.x / kWarpgroup - 1) * (S::kWeightBytes / 2);
  const auto release = [&](int stage) {
    if (threadIdx.x % kWarpgroup == 0) arrive(shared.gates.free[stage]);
  };
  Parts parts(w);
  Part part;
  Turn<S::kStages> turn;
  float sums[kColumns / 2];
  while (parts.next(part)) {
    int before = -1;
    for (int step = part.begin; step < part.end; ++step, turn.next()) {
      await(shared.gates.full[turn.place], turn.parity);
      const uint32_t at = stages + turn.place * S::kBytes;
      const uint64_t a = operand_by_rows(at + my_rows), b = operand_by_rows(at + S::kWeightBytes);
      begin_products();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k)
        multiply_rows<T, kColumns>(sums, advance(a, k * 32), advance(b, k * 32), step > part.begin || k > 0);
      end_products();
      await_products<1>(sums);
      if (before >= 0) release(before);
      before = turn.place;
    }
    await_products<0>(sums);
    release(before);
    const bool whole = part.begin == 0 && part.end == w.steps;
    if (whole || add_up<kColumns>(w, part, shared, sums)) store<Y, kColumns>(w, place_of(w, part.tile), sums);
  }
}

template <typename T, typename Y, int kColumns>
__global__ void __launch_bounds__(kThreads, kColumns <= 32 ? 2 : 1)
    wgmma_kernel(const __grid_constant__ CUtensorMap weight, const __grid_constant__ CUtensorMap x,
                 const __grid_constant__ Work w) {
  extern __shared__ std::byte raw[];
  __shared__ Shared<kColumns> shared;
  const uint32_t stages = (shared_address(raw) + 1023) / 1024 * 1024;  // as the swizzle counts
  if (threadIdx.x == 0) {
    prefetch_map(weight);
    prefetch_map(x);
    shared.gates.init(2);
    publish_barriers();
  }
  __syncthreads();
  allow_next();
  if (threadIdx.x < kWarpgroup) {
    if constexpr (kColumns == 256) give_registers_back<56>();
    if (threadIdx.x == 0) fetch<kColumns>(w, weight, x, shared, stages);
  } else {
    if constexpr (kColumns == 256) take_registers<224>();
    multiply<T, Y, kColumns>(w, shared, stages);
  }
}

/// How the rows of x are cut into tiles, and tiles given to blocks.
struct Cut {
  int columns = 0;
  bool shared_out = true;
};

int fewest_columns(int64_t rows) {
  int columns = 8;
  while (columns < rows && columns < kLinearTileRows) columns *= 2;
  return columns;
}

/// So that few columns are padding and all multiprocessors have work.
Cut cut_of(const LinearCall& c) {
  if (c.x.rows <= 128) return {fewest_columns(c.x.rows), true};
  const int64_t narrow = int64_t{blocks_for(c.x.rows, 128)} * 128, wide = int64_t{blocks_for(c.x.rows, 256)} * 256;
  const int columns = narrow * 10 < wide * 9 ? 128 : 256;
  const int64_t tiles = int64_t{blocks_for(c.n, kRows)} * blocks_for(c.x.rows, columns),
                rounds = blocks_for(tiles, kBlocks);
  return {columns, tiles <= kCounters && tiles * 9 < rounds * kBlocks * 8};
}

template <typename T, typename Y, int kColumns>
void run(Queue queue, const LinearCall& c, bool shared_out, std::byte* workspace, uint32_t* counters) {
  Work w;
  w.n = c.n;
  w.rows = c.x.rows;
  w.row_tiles = static_cast<int>(blocks_for(c.x.rows, kColumns));
  w.tiles = static_cast<int>(blocks_for(c.n, kRows)) * w.row_tiles;
  w.steps = static_cast<int>(blocks_for(c.k, kDepth));
  w.shared_out = shared_out;
  w.bias = c.bias;
  w.y = c.y.data;
  w.y_stride = c.y.stride;
  w.sums = reinterpret_cast<float4*>(workspace);
  w.arrived = counters;
  const auto kernel = wgmma_kernel<T, Y, kColumns>;
  constexpr size_t kShared = size_t{Stage<kColumns>::kBytes} * Stage<kColumns>::kStages + 1024;
  allow_shared(kernel, kShared);
  const int64_t units = int64_t{w.tiles} * w.steps, parts = shared_out ? units : w.tiles;
  if (units * kBlocks > INT32_MAX) throw CudaError("a product of more than 16 million units; use smaller batches");
  launch(kernel, {static_cast<unsigned>(std::min<int64_t>(kBlocks, parts)), kThreads, kShared}, queue,
         tensor_map(c.weight, c.type, {c.n, c.k, c.k}, kRows, kDepth, true),
         tensor_map(c.x.data, c.type, {c.x.rows, c.k, c.x.stride}, kColumns, kDepth, true), w);
}

template <typename T, typename Y>
void run(Queue queue, const LinearCall& c, const Cut& cut, std::byte* workspace, uint32_t* counters) {
  switch (cut.columns) {
    case 8:
      return run<T, Y, 8>(queue, c, cut.shared_out, workspace, counters);
    case 16:
      return run<T, Y, 16>(queue, c, cut.shared_out, workspace, counters);
    case 32:
      return run<T, Y, 32>(queue, c, cut.shared_out, workspace, counters);
    case 64:
      return run<T, Y, 64>(queue, c, cut.shared_out, workspace, counters);
    case 128:
      return run<T, Y, 128>(queue, c, cut.shared_out, workspace, counters);
    default:
      return run<T, Y, 256>(queue, c, cut.shared_out, workspace, counters);
  }
}

}  // namespace

uint64_t linear_wgmma_workspace(int64_t most_rows) {
  return uint64_t{2} * kBlocks * kRows * sizeof(float) * static_cast<uint64_t>(fewest_columns(most_rows));
}

void linear_wgmma(Queue queue, const LinearCall& c, bool one_order, std::byte* workspace, uint32_t* counters) {
  const Cut cut = one_order ? Cut{fewest_columns(c.x.rows), true} : cut_of(c);
  const bool is_bf16 = c.type == DType::bf16;
  if (c.y.dtype == DType::f32) {
    is_bf16 ? run<__nv_bfloat16, float>(queue, c, cut, workspace, counters)
            : run<__half, float>(queue, c, cut, workspace, counters);
  } else {
    is_bf16 ? run<__nv_bfloat16, __nv_bfloat16>(queue, c, cut, workspace, counters)
            : run<__half, __half>(queue, c, cut, workspace, counters);
  }
}

}  // namespace sluice::cuda
