// y = x W^T for many rows of x, and a gated activation of it while sums are in registers: of gate and up nothing is
// written but what `down` reads.
//
// A block makes tiles of 128 rows of x by 256 rows of W: 64 rows of x and all of W for each of two warpgroups. Two blocks
// of a cluster have the same rows of W, of which each brings one half to both. The second warpgroup begins two slabs
// behind the first and stays behind, so that one ends a tile while the other multiplies.
//
// For a gate eight rows of `up` follow on eight of `gate` in a tile: the copy engine brings them so from where they are,
// and a thread has both of what it multiplies.
//
// A sum goes over k in order, as linear_wgmma's do where they have one part.
#include "cuda/kernels/activate.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/tensor_map.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda {
namespace {

using ops::ActivationKind;

constexpr int kSlab = 64;  // of k: a row of it is 128 bytes
constexpr int kRowBytes = kSlab * 2;
constexpr int kRows = 128, kColumns = 256;  // of x and of W in a block's tile
constexpr int kWarpgroup = 128, kThreads = 3 * kWarpgroup;
constexpr int kStages = 4, kStageBytes = (kRows + kColumns) * kRowBytes;
constexpr int kBoxBytes = 64 * kRowBytes;     // of rounded results: 64 rows of 64
constexpr int kOutBytes = 2 * 2 * kBoxBytes;  // of both warpgroups
constexpr int kBlocks = 132;
constexpr int kGroup = 8;   // tiles of x that are passed before the next rows of W
constexpr int kBehind = 2;  // slabs
constexpr int kBegun = 3;   // the barrier at which the first warpgroup says that it is so far

/// What a launch computes. Tiles are a cluster's.
struct Work {
  int64_t rows = 0, columns = 0;  // of y
  int row_tiles = 0, tiles = 0, slabs = 0;
  const float* bias = nullptr;
  float* y = nullptr;  // if it is f32
  int64_t y_stride = 0;
};

/// Tiles lie in groups of kGroup tiles of x; within a group, those of x change fastest.
struct Place {
  int row_tile, column_tile;
};
__device__ Place place_of(const Work& w, int tile) {
  const int columns = w.tiles / w.row_tiles, group = tile / (kGroup * columns);
  const int first = group * kGroup, width = min(kGroup, w.row_tiles - first);
  const int inside = tile - first * columns;
  return {first + inside % width, inside / width};
}

template <int kCluster, bool kGated>
__device__ void fetch(const Work& w, const CUtensorMap& weight, const CUtensorMap& x, Gates<kStages>& gates,
                      uint32_t stages) {
  constexpr int kShare = kColumns / kCluster;  // rows of W that this block brings
  const int rank = rank_in_cluster();
  const uint64_t normal = cache_policy(Keep::normal), again = cache_policy(Keep::again);
  Turn turn;
  for (int tile = static_cast<int>(blockIdx.x); tile < w.tiles; tile += static_cast<int>(gridDim.x)) {
    const Place place = place_of(w, tile);
    const int row = (place.row_tile * kCluster + rank) * kRows, column = place.column_tile * kColumns + rank * kShare;
    for (int slab = 0; slab < w.slabs; ++slab, turn.next(kStages)) {
      uint64_t& full = gates.full[turn.place];
      const uint32_t to = stages + turn.place * kStageBytes, to_weight = to + (kRows + rank * kShare) * kRowBytes;
      await(gates.free[turn.place], turn.parity ^ 1);
      arrive_expecting(full, kStageBytes);
      copy_box(to, x, slab * kSlab, row, full, again);
      if constexpr (kGated) {
        copy_pairs_to_cluster<kCluster>(to_weight, weight, slab * kSlab, column / 2, full, normal);
      } else {
        copy_box_to_cluster<kCluster>(to_weight, weight, slab * kSlab, column, full, normal);
      }
    }
  }
}

/// The consumers: two warpgroups.
template <typename T, typename Y, int kCluster, bool kGated, ActivationKind kGate>
class Multiplier {
 public:
  __device__ Multiplier(const Work& w, const CUtensorMap& out, Gates<kStages>& gates, uint32_t stages)
      : w_(w), out_(out), gates_(gates), stages_(stages) {}

  __device__ void run() {
    const int rank = rank_in_cluster();
    float sums[kColumns / 2];
    Turn turn;
    bool tell = half_ == 0;
    if (half_ == 1) sync_threads_of(kBegun, 2 * kWarpgroup);
    for (int tile = static_cast<int>(blockIdx.x); tile < w_.tiles; tile += static_cast<int>(gridDim.x)) {
      multiply(turn, sums, tell);
      tell = false;
      const Place place = place_of(w_, tile);
      const int64_t row = int64_t{place.row_tile * kCluster + rank} * kRows + half_ * 64;
      const int64_t column = int64_t{place.column_tile} * kOutputs;
      if (w_.bias != nullptr) add_bias(column, sums);
      if constexpr (kGated) {
        finish_gated(row, column, sums);
      } else {
        finish(row, column, sums);
      }
    }
    if (thread_ == 0) await_stores_read();
  }

 private:
  static constexpr int kOutputs = kGated ? kColumns / 2 : kColumns;  // of a tile

  __device__ void multiply(Turn& turn, float (&sums)[kColumns / 2], bool tell) {
    int done = -1;
    for (int slab = 0; slab < w_.slabs; ++slab) {
      await(gates_.full[turn.place], turn.parity);
      const uint32_t at = stages_ + turn.place * kStageBytes;
      const uint64_t a = operand_by_rows(at + half_ * 64 * kRowBytes), b = operand_by_rows(at + kRows * kRowBytes);
      begin_products();
#pragma unroll
      for (int k = 0; k < kSlab / 16; ++k)
        multiply_rows<T, kColumns>(sums, advance(a, k * 32), advance(b, k * 32), slab > 0 || k > 0);
      end_products();
      await_products<1>(sums);
      release(done);
      done = turn.place;
      turn.next(kStages);
      if (tell && slab == min(kBehind, w_.slabs - 1)) arrive_at(kBegun, 2 * kWarpgroup);
    }
    await_products<0>(sums);
    release(done);
  }
  __device__ void release(int place) {
    if (place >= 0 && thread_ < kCluster) arrive_at_rank(gates_.free[place], thread_);
  }

  // A thread's sums: c[4 j + 2 h + e] is of row 16 warp + lane / 4 + 8 h and of W's row 8 j + lane % 4 * 2 + e.
  __device__ int64_t row_of(int64_t tile_row, int h) const { return tile_row + thread_ / 32 * 16 + lane_ / 4 + h * 8; }

  __device__ void add_bias(int64_t tile_column, float (&sums)[kColumns / 2]) const {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int64_t column = tile_column + (kGated ? j / 2 : j) * 8 + lane_ % 4 * 2;
      if (column >= w_.columns) continue;
      const auto bias = *reinterpret_cast<const float2*>(w_.bias + column + (kGated && j % 2 == 1 ? w_.columns : 0));
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        sums[4 * j + h * 2] += bias.x;
        sums[4 * j + h * 2 + 1] += bias.y;
      }
    }
  }

  __device__ void finish(int64_t tile_row, int64_t tile_column, const float (&sums)[kColumns / 2]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t row = row_of(tile_row, h);
      if (row >= w_.rows) continue;
#pragma unroll
      for (int j = 0; j < kColumns / 8; ++j)
        write(row, tile_column + j * 8 + lane_ % 4 * 2, sums[4 * j + h * 2], sums[4 * j + h * 2 + 1]);
    }
  }
  __device__ void write(int64_t row, int64_t column, float a, float b) const {
    if (column < w_.columns) *reinterpret_cast<float2*>(w_.y + row * w_.y_stride + column) = {a, b};
  }

  /// Eight columns of the gate and eight of what it is for take turns.
  __device__ void finish_gated(int64_t tile_row, int64_t tile_column, const float (&sums)[kColumns / 2]) {
    const uint32_t box = stages_ + kStages * kStageBytes + half_ * 2 * kBoxBytes;
    if constexpr (sizeof(Y) == 2) {
      if (thread_ == 0) await_stores_read();
      sync_threads_of(1 + half_, kWarpgroup);
    }
#pragma unroll
    for (int g = 0; g < kColumns / 16; g += 2) {
      float v[4][2];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* both = sums + 8 * (g + i / 2) + i % 2 * 2;
#pragma unroll
        for (int e = 0; e < 2; ++e) v[i][e] = activate(kGate, both[e]) * both[4 + e];
        if constexpr (sizeof(Y) == 4) {
          const int64_t row = row_of(tile_row, i % 2);
          if (row < w_.rows) write(row, tile_column + (g + i / 2) * 8 + lane_ % 4 * 2, v[i][0], v[i][1]);
        }
      }
      if constexpr (sizeof(Y) == 2) {
        const uint32_t packed[4] = {pack2<Y>(v[0][0], v[0][1]), pack2<Y>(v[1][0], v[1][1]), pack2<Y>(v[2][0], v[2][1]),
                                    pack2<Y>(v[3][0], v[3][1])};
        const uint32_t to = swizzled<8>(thread_ / 32 * 16 + lane_ % 16, g % 8 + lane_ / 16);
        store_matrices(box + g / 8 * kBoxBytes + to, packed);
      }
    }
    if constexpr (sizeof(Y) == 2) {
      publish_to_copies();
      sync_threads_of(1 + half_, kWarpgroup);
      if (thread_ != 0 || tile_row >= w_.rows) return;
      for (int i = 0; i < 2 && tile_column + i * 64 < w_.columns; ++i)
        store_box(out_, static_cast<int>(tile_column) + i * 64, static_cast<int>(tile_row), box + i * kBoxBytes);
      end_stores();
    }
  }

  const Work& w_;
  const CUtensorMap& out_;
  Gates<kStages>& gates_;
  const uint32_t stages_;
  const int half_ = static_cast<int>(threadIdx.x) / kWarpgroup - 1, thread_ = static_cast<int>(threadIdx.x) % kWarpgroup,
            lane_ = thread_ % 32;
};

template <typename T, typename Y, int kCluster, bool kGated, ActivationKind kGate>
__global__ void __launch_bounds__(kThreads, 1)
    large_kernel(const __grid_constant__ CUtensorMap weight, const __grid_constant__ CUtensorMap x,
                 const __grid_constant__ CUtensorMap out, const __grid_constant__ Work w) {
  extern __shared__ std::byte raw[];
  __shared__ Gates<kStages> gates;
  const uint32_t stages = (shared_address(raw) + 1023) / 1024 * 1024;  // as the swizzle counts
  if (threadIdx.x == 0) {
    prefetch_map(weight);
    prefetch_map(x);
    gates.init(2 * kCluster);
    publish_barriers();
  }
  sync_cluster();
  allow_next();
  if (threadIdx.x < kWarpgroup) {
    give_registers_back<32>();
    if (threadIdx.x == 0) {
      await_previous();
      fetch<kCluster, kGated>(w, weight, x, gates, stages);
    }
  } else {
    take_registers<232>();
    Multiplier<T, Y, kCluster, kGated, kGate>(w, out, gates, stages).run();
  }
  sync_cluster();  // nobody leaves while another may copy to it or arrive at its barriers
}

int64_t tiles_of(const LinearCall& c, int cluster) {
  return blocks_for(c.x.rows, cluster * kRows) * int64_t{blocks_for(c.n, kColumns)};
}

template <typename T, typename Y, int kCluster, bool kGated, ActivationKind kGate>
void run(Queue queue, const LinearCall& c) {
  const int64_t tiles = tiles_of(c, kCluster), columns = kGated ? c.n / 2 : c.n;
  if (tiles > INT32_MAX) throw CudaError("a product of more tiles than an int holds");
  Work w;
  w.rows = c.x.rows;
  w.columns = columns;
  w.row_tiles = static_cast<int>(blocks_for(c.x.rows, kCluster * kRows));
  w.tiles = static_cast<int>(tiles);
  w.slabs = static_cast<int>(blocks_for(c.k, kSlab));
  w.bias = c.bias;
  w.y = sizeof(Y) == 4 ? static_cast<float*>(c.y.data) : nullptr;
  w.y_stride = c.y.stride;
  constexpr int kShare = kColumns / kCluster;
  const CUtensorMap x = tensor_map(c.x.data, c.type, {c.x.rows, c.k, c.x.stride}, kRows, kSlab, true);
  const CUtensorMap weight = kGated ? paired_map(c.weight, c.type, {columns, c.k, c.k}, kShare, kSlab)
                                    : tensor_map(c.weight, c.type, {c.n, c.k, c.k}, kShare, kSlab, true);
  const CUtensorMap out = sizeof(Y) == 4 ? x : tensor_map(c.y.data, c.type, {c.x.rows, columns, c.y.stride}, 64, 64, true);
  const size_t shared = 1024 + kStages * kStageBytes + (sizeof(Y) == 4 ? 0 : kOutBytes);
  launch(large_kernel<T, Y, kCluster, kGated, kGate>,
         {dim3(static_cast<unsigned>(std::min<int64_t>(kBlocks / kCluster, tiles)), kCluster), kThreads, shared, kCluster},
         queue, weight, x, out, w);
}

/// By clusters, unless blocks alone would do with fewer tiles one after the other.
template <typename T, typename Y, bool kGated, ActivationKind kGate = ActivationKind::silu>
void run(Queue queue, const LinearCall& c) {
  const bool alone = blocks_for(tiles_of(c, 1), kBlocks) < blocks_for(tiles_of(c, 2), kBlocks / 2);
  alone ? run<T, Y, 1, kGated, kGate>(queue, c) : run<T, Y, 2, kGated, kGate>(queue, c);
}

template <typename T, typename Y>
void run_gated(Queue queue, const LinearCall& c, ActivationKind gate) {
  switch (gate) {
    case ActivationKind::silu:
      return run<T, Y, true, ActivationKind::silu>(queue, c);
    case ActivationKind::gelu:
      return run<T, Y, true, ActivationKind::gelu>(queue, c);
    default:
      return run<T, Y, true, ActivationKind::gelu_tanh>(queue, c);
  }
}

template <typename T>
void run(Queue queue, const LinearCall& c, std::optional<ActivationKind> gate) {
  if (!gate) return run<T, float, false>(queue, c);
  c.y.dtype == DType::f32 ? run_gated<T, float>(queue, c, *gate) : run_gated<T, T>(queue, c, *gate);
}

}  // namespace

bool linear_large_fits(const LinearCall& c) {
  const auto is_paired = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 8 == 0; };
  return c.y.dtype == DType::f32 && c.n % 2 == 0 && c.y.stride % 2 == 0 && is_paired(c.y.data) && is_paired(c.bias);
}
bool linear_large_fits(ActivationKind gate, int64_t n) {
  return n % 16 == 0 && (gate == ActivationKind::silu || gate == ActivationKind::gelu || gate == ActivationKind::gelu_tanh);
}

void linear_large(Queue queue, const LinearCall& c, std::optional<ActivationKind> gate) {
  c.type == DType::bf16 ? run<__nv_bfloat16>(queue, c, gate) : run<__half>(queue, c, gate);
}

}  // namespace sluice::cuda
