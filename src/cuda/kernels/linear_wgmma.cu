// y = x W^T by wgmma, for any number of rows of x: one row at the speed of reading W, thousands at the speed of the
// tensor cores. The rows of W are the 64 of the instruction, those of x its columns, so that few rows waste nothing.
//
// A block runs on each multiprocessor. Two threads of its first warpgroup keep the copy engine busy, one brings W, the
// other x; the other warpgroups multiply, each up to 64 rows of W by all columns of the tile. No kernel writes weights, so
// W need not wait for the launch before: it fills shared memory while that ends, and with it go the start-up costs of
// most products.
//
// An output's sum has one order, whatever the other rows. k is cut into parts, whose number follows from n and k alone:
// where W has too few rows for all multiprocessors, several share a tile and take a part each. Each part is summed in
// order of k, and the parts in theirs, by the last block to come, or by one block that takes them all where there are
// tiles enough. How many rows of W and of x make a tile changes nothing, so it is chosen by what takes the least time.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/tensor_map.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kSlab = 64;                     // of k: a row of it is 128 bytes
constexpr int kRowBytes = kSlab * 2;
constexpr int kMostRows = 128;                // of W, in a tile
constexpr int kWarpgroup = 128, kThreads = 3 * kWarpgroup;
constexpr int kMostStages = 24;
constexpr int kBlocks = 132;
constexpr int kGroup = 16;                    // tiles of x that are passed before the next tiles of W
constexpr int64_t kShortestPart = 2048, kShortestPartForPrompts = 4096;  // of k
constexpr int kMostShared = 225 << 10;
constexpr int kSharedOfFewRows = 166 << 10;   // leaves room for the small kernels that run between products
constexpr int kRest = (64 - 8) * kRowBytes;   // a warpgroup reads 64 rows of W, also where its tile has eight

/// What a launch computes; plain values, the same for all blocks.
struct Work {
  int64_t n = 0;
  int64_t rows = 0;    // of x
  int tile_rows = 0;   // of W, in a tile: a multiple of 8
  int row_tiles = 0;   // tiles of x
  int tiles = 0;       // of both
  int slabs = 0;       // of k
  int parts = 0;       // of k
  bool spread = false; // the parts of a tile are given to as many blocks
  int depth = 0;       // slabs in a stage
  int stages = 0;
  const float* bias = nullptr;
  void* y = nullptr;
  int64_t y_stride = 0;
  float4* sums = nullptr;       // (.., registers / 4, 2 kWarpgroup): of a part of each tile if spread, else of each block
  uint32_t* arrived = nullptr;  // (tiles): blocks that left their sums; 0 between launches
};

/// One part of one tile: slabs [begin, end).
struct Part {
  int tile, index, begin, end;
};

/// The parts of this block, in order.
class Parts {
 public:
  __device__ explicit Parts(const Work& w)
      : w_(w), at_(static_cast<int>(blockIdx.x) * (w.spread ? 1 : w.parts)) {}
  __device__ bool next(Part& part) {
    if (at_ >= w_.tiles * w_.parts) return false;
    part.tile = at_ / w_.parts;
    part.index = at_ - part.tile * w_.parts;
    part.begin = w_.slabs * part.index / w_.parts;
    part.end = w_.slabs * (part.index + 1) / w_.parts;
    const int blocks = static_cast<int>(gridDim.x);
    if (w_.spread) {
      at_ += blocks;
    } else {
      at_ += part.index + 1 < w_.parts ? 1 : 1 + (blocks - 1) * w_.parts;
    }
    return true;
  }

 private:
  const Work& w_;
  int at_;
};

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

struct Shared {
  Gates<kMostStages> gates;
  int is_last;
};

/// A stage has `depth` slabs of W, then as many of x.
template <int kColumns>
struct Stage {
  uint32_t weight_bytes, bytes;
  __device__ explicit Stage(const Work& w)
      : weight_bytes(static_cast<uint32_t>(w.tile_rows * kRowBytes)), bytes(w.depth * (weight_bytes + kInputBytes)) {}
  static constexpr uint32_t kInputBytes = kColumns * kRowBytes;
};

/// A producer: one thread brings the slabs of one operand, which lie from `to` on in the first stage.
template <int kColumns, bool kWeight>
__device__ void fetch(const Work& w, const CUtensorMap& map, Shared& shared, uint32_t to, Keep keep) {
  const Stage<kColumns> stage(w);
  const uint32_t bytes = kWeight ? stage.weight_bytes : stage.kInputBytes;
  const uint64_t policy = cache_policy(keep);
  Parts parts(w);
  Part part;
  Turn turn;
  while (parts.next(part)) {
    const Place place = place_of(w, part.tile);
    const int row = kWeight ? place.weight_tile * w.tile_rows : place.row_tile * kColumns;
    for (int slab = part.begin; slab < part.end; slab += w.depth, turn.next(w.stages)) {
      const int depth = min(w.depth, part.end - slab);
      uint64_t& full = shared.gates.full[turn.place];
      await(shared.gates.free[turn.place], turn.parity ^ 1);
      arrive_expecting(full, depth * bytes);
#pragma unroll 1
      for (int i = 0; i < depth; ++i)
        copy_box(to + turn.place * stage.bytes + i * bytes, map, (slab + i) * kSlab, row, full, policy);
    }
  }
}

/// The consumers: one or two warpgroups.
template <typename T, typename Y, int kColumns>
class Multiplier {
 public:
  __device__ Multiplier(const Work& w, Shared& shared, uint32_t stages) : w_(w), shared_(shared), stages_(stages) {}

  __device__ void run() {
    float sums[kColumns / 2];
    Parts parts(w_);
    Part part;
    Turn turn;
    while (parts.next(part)) {
      multiply(part, turn, sums);
      if (w_.parts > 1 && !(w_.spread ? add_if_last(part, sums) : add(part, sums))) continue;
      store(place_of(w_, part.tile), sums);
    }
  }

 private:
  static constexpr int kPieces = kColumns / 8;

  __device__ void multiply(const Part& part, Turn& turn, float (&sums)[kColumns / 2]) {
    const Stage<kColumns> stage(w_);
    const uint32_t mine = thread_ / kWarpgroup * 64 * kRowBytes;
    int inside = 0, done = -1;  // slabs of the stage that were begun; the stage whose last slab is under way
    uint32_t at = 0;
    for (int slab = part.begin; slab < part.end; ++slab) {
      if (inside == 0) {
        await(shared_.gates.full[turn.place], turn.parity);
        at = stages_ + turn.place * stage.bytes;
      }
      const uint64_t a = operand_by_rows(at + inside * stage.weight_bytes + mine);
      const uint64_t b = operand_by_rows(at + w_.depth * stage.weight_bytes + inside * stage.kInputBytes);
      begin_products();
#pragma unroll
      for (int k = 0; k < kSlab / 16; ++k)
        multiply_rows<T, kColumns>(sums, advance(a, k * 32), advance(b, k * 32), slab > part.begin || k > 0);
      end_products();
      await_products<1>(sums);
      release(done);
      done = -1;
      if (++inside == w_.depth || slab + 1 == part.end) {
        done = turn.place;
        inside = 0;
        turn.next(w_.stages);
      }
    }
    await_products<0>(sums);
    release(done);
  }
  __device__ void release(int place) {
    if (place >= 0 && thread_ % kWarpgroup == 0) arrive(shared_.gates.free[place]);
  }

  // Sums that wait in memory for other parts of their tile.
  __device__ float4* at(int slot, int piece) const {
    return w_.sums + (int64_t{slot} * kPieces + piece) * (2 * kWarpgroup) + thread_;
  }
  __device__ void leave(int slot, const float (&sums)[kColumns / 2]) const {
#pragma unroll
    for (int i = 0; i < kPieces; ++i)
      __stcg(at(slot, i), make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
  }
  __device__ void add(int slot, float (&sums)[kColumns / 2]) const {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (i % 16 == 0) asm volatile("" ::: "memory");  // no more loads at once: registers are scarce
      const float4 v = __ldcg(at(slot, i));
      sums[4 * i] += v.x;
      sums[4 * i + 1] += v.y;
      sums[4 * i + 2] += v.z;
      sums[4 * i + 3] += v.w;
    }
  }
  /// Adds the parts before, which this block had too; whether this was the last.
  __device__ bool add(const Part& part, float (&sums)[kColumns / 2]) const {
    const int slot = static_cast<int>(blockIdx.x);
    if (part.index > 0) add(slot, sums);
    if (part.index + 1 == w_.parts) return true;
    leave(slot, sums);
    return false;
  }
  /// Leaves this part's sums; whether all blocks have, and `sums` is what they make.
  __device__ bool add_if_last(const Part& part, float (&sums)[kColumns / 2]) {
    const int threads = w_.tile_rows > 64 ? 2 * kWarpgroup : kWarpgroup, first = part.tile * w_.parts;
    leave(first + part.index, sums);
    sync_threads_of(1, threads);
    if (thread_ == 0) {
      __threadfence();  // for all: what a barrier of the block orders, one thread's fence passes on
      const unsigned before = atomicAdd(w_.arrived + part.tile, 1u);
      shared_.is_last = before + 1 == static_cast<unsigned>(w_.parts);
      if (shared_.is_last) w_.arrived[part.tile] = 0;
      __threadfence();
    }
    sync_threads_of(1, threads);
    if (!shared_.is_last) return false;
#pragma unroll
    for (float& sum : sums) sum = -0.0f;  // which changes nothing that is added to it
    for (int i = 0; i < w_.parts; ++i) add(first + i, sums);
    return true;
  }

  __device__ void store(const Place& place, const float (&sums)[kColumns / 2]) const {
    const int lane = thread_ % 32, in_tile = thread_ / 32 * 16 + lane / 4;
    const int64_t row0 = int64_t{place.row_tile} * kColumns + lane % 4 * 2;
    Y* y = static_cast<Y*>(w_.y);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t n = int64_t{place.weight_tile} * w_.tile_rows + in_tile + half * 8;
      if (in_tile + half * 8 >= w_.tile_rows || n >= w_.n) continue;
      const float bias = w_.bias == nullptr ? 0.0f : w_.bias[n];
#pragma unroll
      for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int64_t row = row0 + j * 8 + e;
          if (row < w_.rows) y[row * w_.y_stride + n] = from_float<Y>(sums[4 * j + half * 2 + e] + bias);
        }
      }
    }
  }

  const Work& w_;
  Shared& shared_;
  const uint32_t stages_;
  const int thread_ = static_cast<int>(threadIdx.x) - kWarpgroup;
};

template <typename T, typename Y, int kColumns>
__global__ void __launch_bounds__(kThreads, kColumns <= 32 ? 2 : 1)
    wgmma_kernel(const __grid_constant__ CUtensorMap weight, const __grid_constant__ CUtensorMap x,
                 const __grid_constant__ Work w) {
  extern __shared__ std::byte raw[];
  __shared__ Shared shared;
  const uint32_t stages = (shared_address(raw) + 1023) / 1024 * 1024;  // as the swizzle counts
  if (threadIdx.x == 0) {
    prefetch_map(weight);
    prefetch_map(x);
    shared.gates.init(w.tile_rows > 64 ? 2 : 1, 2);
    publish_barriers();
  }
  __syncthreads();
  allow_next();
  if (threadIdx.x < kWarpgroup) {
    if constexpr (kColumns == 256) give_registers_back<56>();
    if (threadIdx.x == 0)
      fetch<kColumns, true>(w, weight, shared, stages, w.row_tiles == 1 ? Keep::once : Keep::normal);
    if (threadIdx.x == 32) {
      await_previous();
      fetch<kColumns, false>(w, x, shared, stages + w.depth * w.tile_rows * kRowBytes, Keep::again);
    }
  } else {
    if constexpr (kColumns == 256) take_registers<224>();
    if (threadIdx.x < 2 * kWarpgroup || w.tile_rows > 64) Multiplier<T, Y, kColumns>(w, shared, stages).run();
  }
}

/// Into how many parts k is cut: a power of two, so many that 64 rows of W by a part are work for all multiprocessors.
int parts_of(int64_t n, int64_t k, int64_t shortest) {
  const int64_t most = std::min<int64_t>(kBlocks / blocks_for(n, 64), k / shortest);
  int parts = 1;
  while (parts * 2 <= most) parts *= 2;
  return parts;
}

/// How W and x are cut into tiles, and whether blocks share them.
struct Cut {
  int columns = 0, tile_rows = 0, parts = 0;
  bool spread = false;
};

int fewest_columns(int64_t rows) {
  int columns = 8;
  while (columns < rows && columns < 256) columns *= 2;
  return columns;
}

/// About how many clocks a product takes: what chooses best among those measured on an H200 for an 8B model's products.
/// A multiprocessor's share of memory is 20 bytes a clock; L2 gives it 40, or 32 where blocks do not stream W together.
int64_t clocks_of(const LinearCall& c, const Cut& cut, int64_t row_tiles, int64_t tiles) {
  const int64_t products = (cut.tile_rows > 64 ? 8 : 4) * std::max(cut.columns / 2, 24);
  const int64_t bytes = (cut.tile_rows + cut.columns) * kRowBytes;
  const int64_t copies = row_tiles == 1 ? std::max<int64_t>(cut.tile_rows * kRowBytes / 20, bytes / 40) : bytes / 32;
  const int64_t all_slabs = (std::max(products, copies) + 60) * blocks_for(c.k, kSlab);
  const int64_t exchange = cut.parts > 1 ? cut.tile_rows * cut.columns / 2 : 0;  // of sums, through L2
  if (cut.spread) return all_slabs / cut.parts + exchange + 1500;
  return (all_slabs + (cut.parts - 1) * exchange + cut.tile_rows * cut.columns / 4) * blocks_for(tiles, kBlocks);
}

Cut cut_of(const LinearCall& c, int parts) {
  Cut best;
  int64_t least = INT64_MAX;
  const int widest = fewest_columns(c.x.rows);
  for (int columns = widest; columns >= std::max(8, widest / 4); columns /= 2) {
    const int64_t row_tiles = blocks_for(c.x.rows, columns);
    const int step = row_tiles == 1 ? 8 : 64;
    for (int tile_rows = kMostRows; tile_rows > 0; tile_rows -= step) {
      const int64_t tiles = blocks_for(c.n, tile_rows) * row_tiles;
      for (const bool spread : {false, true}) {
        if (spread && (parts == 1 || tiles * parts > kBlocks)) continue;
        const Cut cut{columns, tile_rows, parts, spread};
        const int64_t clocks = clocks_of(c, cut, row_tiles, tiles);
        if (clocks >= least) continue;
        least = clocks;
        best = cut;
      }
    }
  }
  return best;
}

template <typename T, typename Y, int kColumns>
void run(Queue queue, const LinearCall& c, const Cut& cut, std::byte* workspace, uint32_t* counters) {
  const int64_t row_tiles = blocks_for(c.x.rows, kColumns), tiles = blocks_for(c.n, cut.tile_rows) * row_tiles;
  Work w;
  w.n = c.n;
  w.rows = c.x.rows;
  w.tile_rows = cut.tile_rows;
  w.row_tiles = static_cast<int>(row_tiles);
  w.tiles = static_cast<int>(tiles);
  w.slabs = static_cast<int>(blocks_for(c.k, kSlab));
  w.parts = cut.parts;
  w.spread = cut.spread;
  const int slab_bytes = (cut.tile_rows + kColumns) * kRowBytes, shared = kColumns <= 64 ? kSharedOfFewRows : kMostShared;
  w.depth = std::clamp((12 << 10) / slab_bytes, 1, 4);
  w.stages = std::min(kMostStages, (shared - 1024 - kRest) / (w.depth * slab_bytes));
  w.bias = c.bias;
  w.y = c.y.data;
  w.y_stride = c.y.stride;
  w.sums = reinterpret_cast<float4*>(workspace);
  w.arrived = counters;
  const int64_t work = tiles * (cut.spread ? w.parts : 1);
  if (tiles * w.parts + kBlocks * w.parts > INT32_MAX) throw CudaError("a product of more tiles than an int holds");
  const auto kernel = wgmma_kernel<T, Y, kColumns>;
  launch(kernel, {static_cast<unsigned>(std::min<int64_t>(kBlocks, work)), kThreads, static_cast<size_t>(shared)}, queue,
         tensor_map(c.weight, c.type, {c.n, c.k, c.k}, cut.tile_rows, kSlab, true),
         tensor_map(c.x.data, c.type, {c.x.rows, c.k, c.x.stride}, kColumns, kSlab, true), w);
}

template <typename T, typename Y>
void run(Queue queue, const LinearCall& c, const Cut& cut, std::byte* workspace, uint32_t* counters) {
  switch (cut.columns) {
    case 8:
      return run<T, Y, 8>(queue, c, cut, workspace, counters);
    case 16:
      return run<T, Y, 16>(queue, c, cut, workspace, counters);
    case 32:
      return run<T, Y, 32>(queue, c, cut, workspace, counters);
    case 64:
      return run<T, Y, 64>(queue, c, cut, workspace, counters);
    case 128:
      return run<T, Y, 128>(queue, c, cut, workspace, counters);
    default:
      return run<T, Y, 256>(queue, c, cut, workspace, counters);
  }
}

void run(Queue queue, const LinearCall& c, const Cut& cut, std::byte* workspace, uint32_t* counters) {
  const bool is_bf16 = c.type == DType::bf16;
  if (c.y.dtype == DType::f32) {
    is_bf16 ? run<__nv_bfloat16, float>(queue, c, cut, workspace, counters)
            : run<__half, float>(queue, c, cut, workspace, counters);
  } else {
    is_bf16 ? run<__nv_bfloat16, __nv_bfloat16>(queue, c, cut, workspace, counters)
            : run<__half, __half>(queue, c, cut, workspace, counters);
  }
}

}  // namespace

uint64_t linear_wgmma_workspace(int64_t n, int64_t k, int64_t most_rows) {
  if (parts_of(n, k, kShortestPart) == 1) return 0;
  return uint64_t{kBlocks} * kMostRows * sizeof(float) * static_cast<uint64_t>(fewest_columns(most_rows));
}

bool linear_wgmma_sums_at_once(int64_t n, int64_t k, bool for_prompts) {
  return parts_of(n, k, for_prompts ? kShortestPartForPrompts : kShortestPart) == 1;
}

void linear_wgmma(Queue queue, const LinearCall& c, bool for_prompts, std::byte* workspace, uint32_t* counters) {
  const int parts = parts_of(c.n, c.k, for_prompts ? kShortestPartForPrompts : kShortestPart);
  run(queue, c, cut_of(c, parts), workspace, counters);
}

}  // namespace sluice::cuda
