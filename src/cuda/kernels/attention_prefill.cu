// Attention of sequences with several new rows: a block takes 64 rows of one head of one sequence and walks over the
// keys in tiles of 64 (FlashAttention-2, Dao 2023). Keys and values come page by page into shared memory in the
// background, one tile ahead.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/kv_page.cuh"
#include "cuda/kernels/mma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * 32, kRows = kWarps * 16, kKeys = 64;

template <typename T, int D>
__device__ void fetch(const AttentionCall& c, const ops::SequenceRows& s, int64_t kv_head, int key0, int last,
                      uint32_t keys, uint32_t values) {
  constexpr int kPieces = D / 8;
#pragma unroll
  for (int i = 0; i < kKeys * kPieces / kThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kThreads, row = at / kPieces, piece = at % kPieces;
    const bool valid = key0 + row <= last;
    const int64_t from = valid ? kv_row(c.shape, c.cache.tables, s.table, key0 + row, kv_head, D) + piece * 8 : 0;
    copy_async(keys + swizzled<kPieces>(row, piece), reinterpret_cast<const T*>(c.cache.keys) + from, valid);
    copy_async(values + swizzled<kPieces>(row, piece), reinterpret_cast<const T*>(c.cache.values) + from, valid);
  }
  end_copies();
}

template <typename T, int D>
__global__ void __launch_bounds__(kThreads) prefill_kernel(AttentionCall c) {
  constexpr int kPieces = D / 8;
  constexpr uint32_t kTileBytes = kKeys * D * sizeof(T);
  extern __shared__ __align__(128) std::byte shared[];
  const auto base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  await_previous();
  allow_next();
  const ops::SequenceRows s = c.sequences.sequences[blockIdx.z];
  const int tile = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;  // those with the most keys begin first
  if (s.rows < 2 || tile >= s.rows) return;
  const KvShape& d = c.shape;
  const int64_t head = blockIdx.y, kv_head = head / (d.heads / d.kv_heads);
  const int last_row = min(tile + kRows, s.rows) - 1, last = s.first_position + last_row;
  const int first_position = s.first_position + tile;
  const int seen_from = c.window > 0 ? max(0, first_position - static_cast<int>(c.window) + 1) : 0;
  const int begin = seen_from / kKeys, end = last / kKeys + 1;
  const auto stage = [&](int i) { return base + static_cast<uint32_t>(i % 2) * 2 * kTileBytes; };
  fetch<T, D>(c, s, kv_head, begin * kKeys, last, stage(begin), stage(begin) + kTileBytes);

  // Rows g and g + 8 of this warp's 16; rows behind the last are computed and not written.
  const int rows[2] = {tile + warp * 16 + g, tile + warp * 16 + g + 8};
  uint32_t q[D / 16][4];
#pragma unroll
  for (int i = 0; i < D / 16; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float* x = static_cast<const float*>(c.q.data) +
                       (s.first_row + min(rows[e % 2], last_row)) * c.q.stride + head * D + i * 16 + e / 2 * 8 + t * 2;
      q[i][e] = pack2<T>(x[0], x[1]);
    }
  }
  float out[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {};
  const float slope = c.slopes == nullptr ? 0.0f : c.slopes[head];
  constexpr float kLog2e = 1.4426950408889634f;
  const bool plain = c.softcap <= 0 && c.slopes == nullptr;

  for (int tile_index = begin; tile_index < end; ++tile_index) {
    const uint32_t keys = stage(tile_index), values = keys + kTileBytes;
    await_copies<0>();
    __syncthreads();
    if (tile_index + 1 < end)
      fetch<T, D>(c, s, kv_head, (tile_index + 1) * kKeys, last, stage(tile_index + 1), stage(tile_index + 1) + kTileBytes);
    float scores[kKeys / 8][4] = {};
#pragma unroll
    for (int i = 0; i < D / 16; ++i) {
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, keys + swizzled<kPieces>(n * 16 + lane % 8 + lane / 16 * 8, i * 2 + lane / 8 % 2));
        mma<T>(scores[2 * n], q[i][0], q[i][1], q[i][2], q[i][3], b[0], b[1]);
        mma<T>(scores[2 * n + 1], q[i][0], q[i][1], q[i][2], q[i][3], b[2], b[3]);
      }
    }
    // In units of log2, so that exponentials are one instruction.
    const int key0 = tile_index * kKeys;
    const bool whole = key0 + kKeys - 1 <= first_position + warp * 16 &&
                       (c.window == 0 || key0 > last - static_cast<int>(c.window));
    float new_top[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int position = s.first_position + rows[e / 2], key = key0 + n * 8 + t * 2 + e % 2;
        float score = scores[n][e] * c.scale;
        if (!plain) {
          if (c.softcap > 0) score = c.softcap * tanhf(score / c.softcap);
          score -= slope * static_cast<float>(position - key);
        }
        score *= kLog2e;
        if (!whole) {
          const bool seen = key <= position && (c.window == 0 || key > position - static_cast<int>(c.window));
          score = seen ? score : -INFINITY;
        }
        scores[n][e] = score;
        new_top[e / 2] = fmaxf(new_top[e / 2], score);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      new_top[h] = reduce_quad(new_top[h], Max());
      const float shrink = top[h] == new_top[h] ? 1.0f : exp2f(top[h] - new_top[h]);
      top[h] = new_top[h];
      total[h] *= shrink;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        out[n][h * 2] *= shrink;
        out[n][h * 2 + 1] *= shrink;
      }
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        scores[n][e] = top[e / 2] == -INFINITY ? 0.0f : exp2f(scores[n][e] - top[e / 2]);
        total[e / 2] += scores[n][e];
      }
    }
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
      const uint32_t p0 = pack2<T>(scores[2 * i][0], scores[2 * i][1]), p1 = pack2<T>(scores[2 * i][2], scores[2 * i][3]);
      const uint32_t p2 = pack2<T>(scores[2 * i + 1][0], scores[2 * i + 1][1]),
                     p3 = pack2<T>(scores[2 * i + 1][2], scores[2 * i + 1][3]);
#pragma unroll
      for (int n = 0; n < D / 16; ++n) {
        uint32_t b[4];
        load_matrices_transposed(b, values + swizzled<kPieces>(i * 16 + lane % 16, n * 2 + lane / 16));
        mma<T>(out[2 * n], p0, p1, p2, p3, b[0], b[1]);
        mma<T>(out[2 * n + 1], p0, p1, p2, p3, b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = reduce_quad(total[h], Add());
    if (c.sinks != nullptr) total[h] += exp2f(c.sinks[head] * kLog2e - top[h]);
    if (rows[h] > last_row) continue;
    const int64_t at = (s.first_row + rows[h]) * c.out.stride + head * D + t * 2;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const float a = out[n][h * 2] / total[h], b = out[n][h * 2 + 1] / total[h];
      if (c.out.dtype == DType::f32) {
        float* y = static_cast<float*>(c.out.data) + at + n * 8;
        y[0] = a;
        y[1] = b;
      } else {
        static_cast<uint32_t*>(c.out.data)[(at + n * 8) / 2] =
            c.out.dtype == DType::bf16 ? pack2<__nv_bfloat16>(a, b) : pack2<__half>(a, b);
      }
    }
  }
}

template <typename T, int D>
void run(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows) {
  constexpr size_t kShared = size_t{4} * kKeys * D * sizeof(T);
  allow_shared(prefill_kernel<T, D>, kShared);
  const dim3 grid(blocks_for(most_rows, kRows), static_cast<unsigned>(c.shape.heads), static_cast<unsigned>(sequences));
  launch(prefill_kernel<T, D>, {grid, kThreads, kShared}, queue, c);
}

}  // namespace

void attention_prefill(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows) {
  if (attention_wgmma(queue, c, sequences, most_rows)) return;
  const bool wide = c.shape.d_qk == 128;
  if (c.shape.type == DType::bf16) {
    wide ? run<__nv_bfloat16, 128>(queue, c, sequences, most_rows) : run<__nv_bfloat16, 64>(queue, c, sequences, most_rows);
  } else {
    wide ? run<__half, 128>(queue, c, sequences, most_rows) : run<__half, 64>(queue, c, sequences, most_rows);
  }
}

}  // namespace sluice::cuda
