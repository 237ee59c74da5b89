// Attention of sequences with one new row each. A block takes one KV head of one sequence with all heads that share
// it, a cluster of blocks shares a long context out. Within a block every warp works by itself until the end: it takes
// 16 keys at a time from a ring of its own, which the copy engine fills some rounds ahead, since it takes tens of KiB
// under way in each multiprocessor to keep the memory busy.
#include <cooperative_groups.h>

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/kv_page.cuh"
#include "cuda/kernels/mma.cuh"
#include "cuda/kernels/tensor_map.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * 32;
constexpr int kHeads = 16;  // rows of the matrix instruction: heads of a KV head, padded
constexpr int kKeys = 16;   // of one round of a warp; a page has a multiple of them
constexpr unsigned kMultiprocessors = 132;
template <int D>
constexpr int kResident = D > 128 ? 1 : 2;  // blocks that fit a multiprocessor
template <int D>
constexpr int kTiles = (D + 63) / 64;  // of 64 dimensions (wgmma.cuh); the copy engine fills the last with zeros
constexpr int kMostSplits = 8;  // blocks of a cluster

/// The keys and values of one round.
template <typename T, int D>
struct Stage {
  T keys[kTiles<D>][kKeys * 64], values[kTiles<D>][kKeys * 64];
};
/// What is known of a part of the context: exp(score - top) summed, and values weighted by it.
template <int D>
struct Partial {
  float top[kHeads], total[kHeads];
  float out[kHeads][D + 8];  // rows begin in different banks
};
/// A warp's memory.
template <typename T, int D>
union Ring {
  static constexpr int kStages = D <= 64 ? 6 : 3;
  Stage<T, D> stages[kStages];
  Partial<D> partial;  // once all rounds are done
};
template <typename T, int D>
struct alignas(1024) Shared {
  Ring<T, D> rings[kWarps];
  uint64_t full[kWarps][Ring<T, D>::kStages];
};

/// Which keys a block reads, for whom.
struct Part {
  int64_t row, kv_head, first_head;
  int heads, table, position, seen_from;  // the newest key and the oldest that the window shows
  int begin, end;                         // rounds of the block
};
__device__ Part part_of(const AttentionCall& c, const ops::SequenceRows& s) {
  Part p{.row = s.first_row, .kv_head = blockIdx.z, .first_head = 0, .heads = 0, .table = s.table,
         .position = s.first_position, .seen_from = 0, .begin = 0, .end = 0};
  p.heads = static_cast<int>(c.shape.heads / c.shape.kv_heads);
  p.first_head = p.kv_head * p.heads;
  if (c.window > 0) p.seen_from = max(0, p.position - static_cast<int>(c.window) + 1);
  const int first = p.seen_from / kKeys, rounds = p.position / kKeys + 1 - first;
  const int splits = static_cast<int>(gridDim.y), split = static_cast<int>(blockIdx.y);
  p.begin = first + rounds * split / splits;
  p.end = first + rounds * (split + 1) / splits;
  return p;
}

/// Brings a warp's rounds: the i-th is round begin + warp + i kWarps, in stage i % kStages.
template <typename T, int D>
class Fetcher {
 public:
  __device__ Fetcher(const AttentionCall& c, const Part& part, Shared<T, D>& shared, const CUtensorMap& keys,
                     const CUtensorMap& values)
      : c_(c), part_(part), ring_(shared.rings[threadIdx.x / 32]), full_(shared.full[threadIdx.x / 32]), keys_(keys),
        values_(values), lane_(static_cast<int>(threadIdx.x % 32)) {
    if (lane_ == 0) {
      for (uint64_t& full : full_) init_barrier(full, 1);
      publish_barriers();
    }
    __syncwarp();
  }

  /// The next round, if there is one before `limit`. The stage must not be in use by any lane.
  __device__ void fetch(int limit) {
    const int round = round_of(next_);
    if (round >= limit) return;
    if (next_ % 32 == 0) rows_ = pool_row(round_of(next_ + lane_));
    const int row = __shfl_sync(0xffffffffu, rows_, next_ % 32);
    if (lane_ == 0) {
      Stage<T, D>& stage = ring_.stages[next_ % kStages];
      uint64_t& full = full_[next_ % kStages];
      arrive_expecting(full, sizeof(stage));
#pragma unroll
      for (int i = 0; i < kTiles<D>; ++i) copy_box(shared_address(stage.keys[i]), keys_, i * 64, row, full);
#pragma unroll
      for (int i = 0; i < kTiles<D>; ++i) copy_box(shared_address(stage.values[i]), values_, i * 64, row, full);
    }
    __syncwarp();
    ++next_;
  }
  /// As many rounds as there is room for at the beginning.
  __device__ void fill(int limit) {
    while (next_ < kStages && round_of(next_) < limit) fetch(limit);
  }
  __device__ const Stage<T, D>& await_round(int i) const {
    await(full_[i % kStages], i / kStages % 2);
    return ring_.stages[i % kStages];
  }
  __device__ int round_of(int i) const { return part_.begin + static_cast<int>(threadIdx.x / 32) + i * kWarps; }

 private:
  static constexpr int kStages = Ring<T, D>::kStages;

  __device__ int pool_row(int round) const {
    if (round >= part_.end) return 0;
    return static_cast<int>(kv_row(c_.shape, c_.cache.tables, part_.table, round * kKeys, part_.kv_head, 1));
  }

  const AttentionCall& c_;
  const Part& part_;
  Ring<T, D>& ring_;
  uint64_t (&full_)[kStages];
  const CUtensorMap &keys_, &values_;
  const int lane_;
  int next_ = 0;
  int rows_ = 0;  // a lane's of the next 32 rounds: where the pool has its first key
};

/// What a warp computes: lanes hold heads g and g + 8 as mma.cuh says.
template <typename T, int D>
class Accumulator {
 public:
  __device__ Accumulator(const AttentionCall& c, const Part& part) : c_(c), part_(part) {
    const float* q = static_cast<const float*>(c.q.data) + part.row * c.q.stride + part.first_head * D;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int head = g_ + i % 2 * 8;
#pragma unroll
      for (int kk = 0; kk < D / 16; ++kk) {
        const float* v = q + head * D + kk * 16 + i / 2 * 8 + t_ * 2;
        q_[kk][i] = head < part.heads ? pack2<T>(v[0], v[1]) : 0;
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h)
      slope_[h] = c.slopes != nullptr && g_ + h * 8 < part.heads ? c.slopes[part.first_head + g_ + h * 8] : 0;
  }

  __device__ void add(const Stage<T, D>& stage, int key0) {
    float scores[2][4] = {};
    multiply_keys(stage, scores);
    finish(scores, key0);
    weigh(scores);
    add_values(stage, scores, key0);
  }

  __device__ void store(Partial<D>& to) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int head = g_ + h * 8;
      const float total = reduce_quad(total_[h], Add());
      if (head >= part_.heads) continue;
      to.top[head] = top_[h];
      to.total[head] = total;
#pragma unroll
      for (int j = 0; j < D / 8; ++j)
        *reinterpret_cast<float2*>(&to.out[head][j * 8 + t_ * 2]) = {out_[j][h * 2], out_[j][h * 2 + 1]};
    }
  }

 private:
  /// Element e of scores[n] is of head g + e / 2 * 8 and key n * 8 + 2 t + e % 2.
  __device__ void multiply_keys(const Stage<T, D>& stage, float (&scores)[2][4]) const {
    const uint32_t keys = shared_address(stage.keys);
    const int row = lane_ % 8 + lane_ / 16 * 8;
#pragma unroll
    for (int kk = 0; kk < D / 16; ++kk) {
      const int piece = kk % 4 * 2 + lane_ / 8 % 2;
      uint32_t k[4];  // eight keys by eight dimensions each: of the first keys, of the others
      load_matrices(k, keys + static_cast<uint32_t>(kk / 4 * kKeys * 128) + swizzled<8>(row, piece));
#pragma unroll
      for (int n = 0; n < 2; ++n)
        mma<T>(scores[n], q_[kk][0], q_[kk][1], q_[kk][2], q_[kk][3], k[n * 2], k[n * 2 + 1]);
    }
  }
  /// Products become scores, -inf where a key is not seen.
  __device__ void finish(float (&scores)[2][4], int key0) const {
    if (c_.softcap > 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& score = scores[i / 4][i % 4];
        score = c_.softcap * tanhf(score * c_.scale / c_.softcap);
      }
    }
    const float scale = c_.softcap > 0 ? 1.0f : c_.scale;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = key0 + n * 8 + t_ * 2 + e % 2;
        const float score = scores[n][e] * scale - slope_[e / 2] * static_cast<float>(part_.position - key);
        scores[n][e] = key <= part_.position && key >= part_.seen_from ? score : -INFINITY;
      }
    }
  }
  /// Scores become weights; earlier sums shrink to the new top.
  __device__ void weigh(float (&scores)[2][4]) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float here = fmaxf(fmaxf(scores[0][h * 2], scores[0][h * 2 + 1]),
                               fmaxf(scores[1][h * 2], scores[1][h * 2 + 1]));
      const float top = fmaxf(top_[h], reduce_quad(here, Max()));
      const float shrink = top_[h] == top ? 1.0f : __expf(top_[h] - top);
      top_[h] = top;
      total_[h] *= shrink;
#pragma unroll
      for (int j = 0; j < D / 8; ++j) {
        out_[j][h * 2] *= shrink;
        out_[j][h * 2 + 1] *= shrink;
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int e = h * 2; e < h * 2 + 2; ++e) {
          scores[n][e] = top == -INFINITY ? 0.0f : __expf(scores[n][e] - top);
          total_[h] += scores[n][e];
        }
      }
    }
  }
  __device__ void add_values(const Stage<T, D>& stage, const float (&weights)[2][4], int key0) {
    const uint32_t p0 = pack2<T>(weights[0][0], weights[0][1]), p1 = pack2<T>(weights[0][2], weights[0][3]);
    const uint32_t p2 = pack2<T>(weights[1][0], weights[1][1]), p3 = pack2<T>(weights[1][2], weights[1][3]);
    // A page's unwritten rest may hold anything, and 0 * NaN is NaN.
    const auto written = [&](int key) {
      return (key <= part_.position ? 0xffffu : 0u) | (key + 1 <= part_.position ? 0xffff0000u : 0u);
    };
    const uint32_t first = written(key0 + t_ * 2), second = written(key0 + 8 + t_ * 2);
    const uint32_t values = shared_address(stage.values);
    const int row = lane_ % 16;
#pragma unroll
    for (int jj = 0; jj < D / 16; ++jj) {
      const int piece = jj % 4 * 2 + lane_ / 16;
      uint32_t v[4];  // eight keys by eight dimensions each: of the first dimensions, of the others
      load_matrices_transposed(v, values + static_cast<uint32_t>(jj / 4 * kKeys * 128) + swizzled<8>(row, piece));
      mma<T>(out_[jj * 2], p0, p1, p2, p3, v[0] & first, v[1] & second);
      mma<T>(out_[jj * 2 + 1], p0, p1, p2, p3, v[2] & first, v[3] & second);
    }
  }

  const AttentionCall& c_;
  const Part& part_;
  const int lane_ = static_cast<int>(threadIdx.x % 32), g_ = lane_ / 4, t_ = lane_ % 4;
  uint32_t q_[D / 16][4];
  float slope_[2];
  float top_[2] = {-INFINITY, -INFINITY}, total_[2] = {};  // totals of a lane's own keys
  float out_[D / 8][4] = {};
};

/// The first warp's partial becomes that of all warps of the block.
template <typename T, int D>
__device__ void merge_warps(Ring<T, D> (&rings)[kWarps], int heads) {
  const auto best_of = [&](int head) {
    float best = -INFINITY;
    for (const Ring<T, D>& ring : rings) best = fmaxf(best, ring.partial.top[head]);
    return best;
  };
  for (int i = static_cast<int>(threadIdx.x); i < heads * D; i += kThreads) {
    const int head = i / D, dim = i % D;
    const float best = best_of(head);
    float sum = 0;
    for (int w = 0; w < kWarps && best > -INFINITY; ++w)
      sum += __expf(rings[w].partial.top[head] - best) * rings[w].partial.out[head][dim];
    rings[0].partial.out[head][dim] = sum;
  }
  __syncthreads();
  const int head = static_cast<int>(threadIdx.x);
  if (head >= heads) return;
  const float best = best_of(head);
  float total = 0;
  for (int w = 0; w < kWarps && best > -INFINITY; ++w)
    total += __expf(rings[w].partial.top[head] - best) * rings[w].partial.total[head];
  rings[0].partial.top[head] = best;
  rings[0].partial.total[head] = total;
}

__device__ void write(const Matrix& to, int64_t at, float x) {
  if (to.dtype == DType::f32) {
    static_cast<float*>(to.data)[at] = x;
  } else if (to.dtype == DType::bf16) {
    static_cast<__nv_bfloat16*>(to.data)[at] = from_float<__nv_bfloat16>(x);
  } else {
    static_cast<__half*>(to.data)[at] = from_float<__half>(x);
  }
}

/// Each block of the cluster writes a share of the output from the partials of all.
template <int D>
__device__ void merge_blocks(const AttentionCall& c, const Part& part, Partial<D>& mine) {
  const auto cluster = cooperative_groups::this_cluster();
  const int splits = static_cast<int>(gridDim.y), split = static_cast<int>(blockIdx.y);
  cluster.sync();
  for (int i = split * kThreads + static_cast<int>(threadIdx.x); i < part.heads * D; i += splits * kThreads) {
    const int head = i / D, dim = i % D;
    float tops[kMostSplits], totals[kMostSplits], outs[kMostSplits];  // all read before the first is used
    const float sink = c.sinks == nullptr ? -INFINITY : c.sinks[part.first_head + head];
    float best = sink;
#pragma unroll
    for (int p = 0; p < kMostSplits; ++p) {
      const Partial<D>& theirs = *cluster.map_shared_rank(&mine, p < splits ? p : 0);
      tops[p] = p < splits ? theirs.top[head] : -INFINITY;
      totals[p] = theirs.total[head];
      outs[p] = theirs.out[head][dim];
      best = fmaxf(best, tops[p]);
    }
    float sum = 0, weights = __expf(sink - best);
#pragma unroll
    for (int p = 0; p < kMostSplits; ++p) {
      const float weight = __expf(tops[p] - best);
      weights += weight * totals[p];
      sum += weight * outs[p];
    }
    write(c.out, part.row * c.out.stride + (part.first_head + head) * D + dim, sum / weights);
  }
  cluster.sync();  // nobody leaves while its part is read
}

template <typename T, int D>
__global__ void __launch_bounds__(kThreads, kResident<D>)
    decode_kernel(const __grid_constant__ AttentionCall c, bool by_row, const __grid_constant__ CUtensorMap keys,
                  const __grid_constant__ CUtensorMap values) {
  extern __shared__ std::byte unaligned[];
  auto& shared = *reinterpret_cast<Shared<T, D>*>(unaligned + (1024 - shared_address(unaligned) % 1024) % 1024);
  allow_next();
  const int32_t sequence = by_row ? c.sequences.sequence_of[blockIdx.x] : static_cast<int32_t>(blockIdx.x);
  const ops::SequenceRows s = sequence < 0 ? ops::SequenceRows{} : c.sequences.sequences[sequence];
  if (sequence < 0 || s.rows != 1) {  // all blocks of the cluster alike
    await_previous();
    return;
  }
  const Part part = part_of(c, s);
  Fetcher<T, D> fetcher(c, part, shared, keys, values);
  fetcher.fill(min(part.end, part.position / kKeys));  // only the newest key is of this step: all others are there
  await_previous();
  fetcher.fill(part.end);
  Accumulator<T, D> sums(c, part);
  for (int i = 0; fetcher.round_of(i) < part.end; ++i) {
    sums.add(fetcher.await_round(i), fetcher.round_of(i) * kKeys);
    __syncwarp();
    fetcher.fetch(part.end);
  }
  auto& rings = shared.rings;
  sums.store(rings[threadIdx.x / 32].partial);
  __syncthreads();
  merge_warps<T, D>(rings, part.heads);
  merge_blocks<D>(c, part, rings[0].partial);
}

template <typename T, int D>
void run(Queue queue, const AttentionCall& c, int64_t sequences) {
  // Beside prompts most rows are not for this kernel, and a block for each of them would cost as much as the others do.
  const bool by_row = c.q.rows <= sequences;
  const auto rows = static_cast<unsigned>(by_row ? c.q.rows : sequences), kv_heads = static_cast<unsigned>(c.shape.kv_heads);
  unsigned splits = 1;
  // Clusters of eight fill a part of the GPU only: they are for batches that leave most of it idle.
  const auto room = [](unsigned s) { return kMultiprocessors * (s < 4 ? kResident<D> : 1); };
  while (splits < kMostSplits && rows * kv_heads * splits * 2 <= room(splits)) splits *= 2;
  const auto pages = [&](const std::byte* pool) {
    constexpr int64_t kAnyRows = (int64_t{1} << 38) / (D * int64_t{sizeof(T)});  // 256 GiB of them
    return tensor_map(pool, c.shape.type, {kAnyRows, D, D}, kKeys, 64, true);
  };
  constexpr size_t kShared = sizeof(Shared<T, D>) + 1024;
  launch(decode_kernel<T, D>, {{rows, splits, kv_heads}, kThreads, kShared, splits}, queue, c, by_row,
         pages(c.cache.keys), pages(c.cache.values));
}

}  // namespace

bool attention_tiles_fit(const KvShape& s) {
  const bool dims = s.d_qk == 64 || s.d_qk == 80 || s.d_qk == 96 || s.d_qk == 128 || s.d_qk == 256;
  return (s.type == DType::f16 || s.type == DType::bf16) && s.d_qk == s.d_v && dims && s.heads / s.kv_heads <= kHeads &&
         s.page_tokens >= kKeys && (s.page_tokens & (s.page_tokens - 1)) == 0;
}

void attention_decode(Queue queue, const AttentionCall& c, int64_t sequences) {
  with_head(c.shape, [&](auto t, auto d) { run<decltype(t), decltype(d)::value>(queue, c, sequences); });
}

}  // namespace sluice::cuda
