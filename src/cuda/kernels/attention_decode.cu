// Attention of sequences with one new row each. A block takes one KV head of one sequence with all heads that share
// it, a cluster of blocks shares a long context out. Keys and values go from memory straight into the operands of
// matrix instructions: 16 keys to a warp at a time, eight neighbouring dimensions to a lane.
#include <cooperative_groups.h>

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/kv_page.cuh"
#include "cuda/kernels/mma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * 32;
constexpr int kHeads = 16;  // rows of the matrix instruction: heads of a KV head, padded
constexpr int kKeys = 16;   // of one round of a warp; a page has a multiple of them
constexpr int kMultiprocessors = 132;
constexpr int kMostSplits = 8;  // blocks of a cluster

/// What is known of a part of the context: exp(score - top) summed, and values weighted by it.
template <int D>
struct Partial {
  float top[kHeads], total[kHeads];
  float out[kHeads][D];
};

/// Lanes g and g + 8 of the instruction are heads; one lane holds dimensions kk * 32 + 8 t ... + 7 of both.
template <typename T, int D>
__device__ void load_queries(const AttentionCall& c, int64_t row, int64_t first_head, int heads, uint4 (&low)[D / 32],
                             uint4 (&high)[D / 32]) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const float* q = static_cast<const float*>(c.q.data) + row * c.q.stride + first_head * D;
  const auto pack = [&](int head, int at) {
    if (head >= heads) return uint4{};
    const float* v = q + head * D + at;
    return uint4{pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3]), pack2<T>(v[4], v[5]), pack2<T>(v[6], v[7])};
  };
#pragma unroll
  for (int kk = 0; kk < D / 32; ++kk) {
    low[kk] = pack(g, kk * 32 + t * 8);
    high[kk] = pack(g + 8, kk * 32 + t * 8);
  }
}

/// The first warp's partial becomes that of all warps of the block.
template <int D>
__device__ void merge_warps(Partial<D>* partials, int heads) {
  for (int i = static_cast<int>(threadIdx.x); i < heads * D; i += kThreads) {
    const int head = i / D, dim = i % D;
    float best = -INFINITY, sum = 0;
    for (int w = 0; w < kWarps; ++w) best = fmaxf(best, partials[w].top[head]);
    for (int w = 0; w < kWarps && best > -INFINITY; ++w)
      sum += __expf(partials[w].top[head] - best) * partials[w].out[head][dim];
    partials[0].out[head][dim] = sum;
  }
  __syncthreads();
  const int head = static_cast<int>(threadIdx.x);
  if (head >= heads) return;
  float best = -INFINITY, total = 0;
  for (int w = 0; w < kWarps; ++w) best = fmaxf(best, partials[w].top[head]);
  for (int w = 0; w < kWarps && best > -INFINITY; ++w)
    total += __expf(partials[w].top[head] - best) * partials[w].total[head];
  partials[0].top[head] = best;
  partials[0].total[head] = total;
}

/// What a warp takes of a page in one round: keys g and g + 8, and values of keys 2t, 2t + 1, 2t + 8 and 2t + 9.
template <int D>
struct Round {
  uint4 keys[2][D / 32], values[4][D / 64];
};
template <typename T, int D>
__device__ Round<D> load_round(const AttentionCall& c, const ops::SequenceRows& s, int64_t kv_head, int round) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, key0 = round * kKeys;
  const int64_t page_row = kv_row(c.shape, c.cache.tables, s.table, key0, kv_head, D);
  const T* keys = reinterpret_cast<const T*>(c.cache.keys) + page_row;
  const T* values = reinterpret_cast<const T*>(c.cache.values) + page_row;
  Round<D> r;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int kk = 0; kk < D / 32; ++kk) r.keys[n][kk] = load16(keys + (n * 8 + g) * D + kk * 32 + t * 8);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int key = 2 * t + i % 2 + i / 2 * 8;
#pragma unroll
    for (int half = 0; half < D / 64; ++half)
      r.values[i][half] = key0 + key <= s.first_position
                              ? load16(values + key * D + half * 64 + g * 8)
                              : uint4{};  // a page's unwritten rest may hold anything, and 0 * NaN is NaN
  }
  return r;
}

template <typename T, int D>
__global__ void __launch_bounds__(kThreads) decode_kernel(AttentionCall c) {
  extern __shared__ __align__(16) std::byte shared[];
  auto* partials = reinterpret_cast<Partial<D>*>(shared);  // one for each warp
  const auto cluster = cooperative_groups::this_cluster();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int64_t row = blockIdx.x, kv_head = blockIdx.z;
  const KvShape& d = c.shape;
  const int heads = static_cast<int>(d.heads / d.kv_heads);
  const int64_t first_head = kv_head * heads;
  allow_next();
  const int32_t sequence = c.sequences.sequence_of[row];
  const ops::SequenceRows s = sequence < 0 ? ops::SequenceRows{} : c.sequences.sequences[sequence];
  if (sequence < 0 || s.rows != 1) {  // all blocks of the cluster alike
    await_previous();
    return;
  }
  const int position = s.first_position;
  const int seen_from = c.window > 0 ? max(0, position - static_cast<int>(c.window) + 1) : 0;
  const int first = seen_from / kKeys, rounds = position / kKeys + 1 - first;
  const int splits = static_cast<int>(gridDim.y), split = static_cast<int>(blockIdx.y);
  const int begin = first + rounds * split / splits, end = first + rounds * (split + 1) / splits;

  // Only the newest key is of this step: the others need not wait for the launches before.
  const int last = position / kKeys;
  int round = begin + warp;
  const bool early = round < end && round < last;
  Round<D> now;
  if (early) now = load_round<T, D>(c, s, kv_head, round);
  await_previous();
  if (!early && round < end) now = load_round<T, D>(c, s, kv_head, round);
  uint4 q_low[D / 32], q_high[D / 32];
  load_queries<T, D>(c, row, first_head, heads, q_low, q_high);
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {};  // of heads g and g + 8
  float out[D / 64][8][4] = {};
  const float slope[2] = {c.slopes != nullptr && g < heads ? c.slopes[first_head + g] : 0.0f,
                          c.slopes != nullptr && g + 8 < heads ? c.slopes[first_head + g + 8] : 0.0f};
  for (; round < end; round += kWarps) {
    const int key0 = round * kKeys;
    Round<D> next;
    if (round + kWarps < end) next = load_round<T, D>(c, s, kv_head, round + kWarps);
    float scores[2][4] = {};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int kk = 0; kk < D / 32; ++kk) mma32<T>(scores[n], q_low[kk], q_high[kk], now.keys[n][kk]);
    }
    float new_top[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int key = key0 + n * 8 + t * 2 + e % 2;
        float score = scores[n][e] * c.scale;
        if (c.softcap > 0) score = c.softcap * tanhf(score / c.softcap);
        score -= slope[e / 2] * static_cast<float>(position - key);
        score = key <= position && key >= seen_from ? score : -INFINITY;
        scores[n][e] = score;
        new_top[e / 2] = fmaxf(new_top[e / 2], score);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      new_top[h] = reduce_quad(new_top[h], Max());
      const float shrink = top[h] == new_top[h] ? 1.0f : __expf(top[h] - new_top[h]);
      top[h] = new_top[h];
      total[h] *= shrink;
#pragma unroll
      for (int half = 0; half < D / 64; ++half) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          out[half][j][h * 2] *= shrink;
          out[half][j][h * 2 + 1] *= shrink;
        }
      }
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[n][e] = top[e / 2] == -INFINITY ? 0.0f : __expf(scores[n][e] - top[e / 2]);
        total[e / 2] += scores[n][e];
      }
    }
    const uint32_t p0 = pack2<T>(scores[0][0], scores[0][1]), p1 = pack2<T>(scores[0][2], scores[0][3]);
    const uint32_t p2 = pack2<T>(scores[1][0], scores[1][1]), p3 = pack2<T>(scores[1][2], scores[1][3]);
#pragma unroll
    for (int half = 0; half < D / 64; ++half) {
      const auto word = [&](int i, int w) {
        const uint4& v = now.values[i][half];
        return w == 0 ? v.x : w == 1 ? v.y : w == 2 ? v.z : v.w;
      };
#pragma unroll
      for (int j = 0; j < 8; ++j) {  // column g of instruction j is dimension half * 64 + 8 g + j
        const uint32_t pick = j % 2 == 0 ? 0x5410 : 0x7632;
        mma<T>(out[half][j], p0, p1, p2, p3, __byte_perm(word(0, j / 2), word(1, j / 2), pick),
               __byte_perm(word(2, j / 2), word(3, j / 2), pick));
      }
    }
    now = next;
  }

  Partial<D>& mine = partials[warp];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = reduce_quad(total[h], Add());
    if (t == 0) {
      mine.top[g + h * 8] = top[h];
      mine.total[g + h * 8] = total[h];
    }
#pragma unroll
    for (int half = 0; half < D / 64; ++half) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        mine.out[g + h * 8][half * 64 + 16 * t + j] = out[half][j][h * 2];
        mine.out[g + h * 8][half * 64 + 16 * t + 8 + j] = out[half][j][h * 2 + 1];
      }
    }
  }
  __syncthreads();
  merge_warps<D>(partials, heads);
  cluster.sync();
  for (int i = split * kThreads + static_cast<int>(threadIdx.x); i < heads * D; i += splits * kThreads) {
    const int head = i / D, dim = i % D;
    float tops[kMostSplits], totals[kMostSplits], outs[kMostSplits];  // all read before the first is used
    float best = c.sinks == nullptr ? -INFINITY : c.sinks[first_head + head];
#pragma unroll
    for (int p = 0; p < kMostSplits; ++p) {
      const Partial<D>& theirs = *cluster.map_shared_rank(partials, p < splits ? p : 0);
      tops[p] = p < splits ? theirs.top[head] : -INFINITY;
      totals[p] = theirs.total[head];
      outs[p] = theirs.out[head][dim];
      best = fmaxf(best, tops[p]);
    }
    float sum = 0, weights = c.sinks == nullptr ? 0.0f : __expf(c.sinks[first_head + head] - best);
#pragma unroll
    for (int p = 0; p < kMostSplits; ++p) {
      const float weight = __expf(tops[p] - best);
      weights += weight * totals[p];
      sum += weight * outs[p];
    }
    const int64_t at = row * c.out.stride + (first_head + head) * D + dim;
    const float result = sum / weights;
    if (c.out.dtype == DType::f32) {
      static_cast<float*>(c.out.data)[at] = result;
    } else if (c.out.dtype == DType::bf16) {
      static_cast<__nv_bfloat16*>(c.out.data)[at] = from_float<__nv_bfloat16>(result);
    } else {
      static_cast<__half*>(c.out.data)[at] = from_float<__half>(result);
    }
  }
  cluster.sync();  // nobody leaves while its part is read
}

template <typename T, int D>
void run(Queue queue, const AttentionCall& c) {
  const auto rows = static_cast<unsigned>(c.q.rows), kv_heads = static_cast<unsigned>(c.shape.kv_heads);
  unsigned splits = 1;
  while (splits < kMostSplits && rows * kv_heads * splits < 2 * kMultiprocessors) splits *= 2;
  constexpr size_t kShared = kWarps * sizeof(Partial<D>);
  allow_shared(decode_kernel<T, D>, kShared);
  launch(decode_kernel<T, D>, {{rows, splits, kv_heads}, kThreads, kShared, splits}, queue, c);
}

}  // namespace

bool attention_tiles_fit(const KvShape& s) {
  return (s.type == DType::f16 || s.type == DType::bf16) && s.d_qk == s.d_v && (s.d_qk == 64 || s.d_qk == 128) &&
         s.heads / s.kv_heads <= kHeads && s.page_tokens % kKeys == 0;
}

void attention_decode(Queue queue, const AttentionCall& c) {
  const bool wide = c.shape.d_qk == 128;
  if (c.shape.type == DType::bf16) {
    wide ? run<__nv_bfloat16, 128>(queue, c) : run<__nv_bfloat16, 64>(queue, c);
  } else {
    wide ? run<__half, 128>(queue, c) : run<__half, 64>(queue, c);
  }
}

}  // namespace sluice::cuda
