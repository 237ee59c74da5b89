// Between the QKV projection and attention: norms and rotation in place, keys and values into their pages. A warp
// takes one head of one token.
#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kv_page.cuh"

namespace sluice::cuda {
namespace {

constexpr unsigned kWarps = 8;

/// Mean and reciprocal deviation of n numbers, by one warp or, with a scratch, by the block.
struct Moments {
  float mean = 0, factor = 1;
};
__device__ float sum_over(float v, float* scratch) {
  return scratch == nullptr ? reduce_warp(v, Add{}) : reduce_block(v, Add{}, scratch);
}
__device__ Moments moments(const RopeKvCall& c, const float* x, int64_t n, int first, int step, float* scratch) {
  Moments m;
  const auto count = static_cast<float>(n);
  if (c.norm_kind == ops::NormKind::layer) {
    float sum = 0;
    for (int64_t i = first; i < n; i += step) sum += x[i];
    m.mean = sum_over(sum, scratch) / count;
  }
  float squares = 0;
  for (int64_t i = first; i < n; i += step) squares += (x[i] - m.mean) * (x[i] - m.mean);
  m.factor = 1.0f / sqrtf(sum_over(squares, scratch) / count + c.eps);
  return m;
}

__device__ void apply(const Moments& m, const float* weight, int64_t n, int lane, float* x) {
  for (int64_t i = lane; i < n; i += 32) x[i] = (x[i] - m.mean) * m.factor * (weight == nullptr ? 1.0f : weight[i]);
  __syncwarp();
}

__device__ void rotate(const RopeKvCall& c, const float* table, int lane, float* x) {
  const int64_t n = c.rope_dims / 2;
  for (int64_t i = lane; i < n; i += 32) {
    const float cosine = table[i], sine = table[n + i];
    float& a = c.rope == ops::RopeStyle::half ? x[i] : x[2 * i];
    float& b = c.rope == ops::RopeStyle::half ? x[n + i] : x[2 * i + 1];
    const float turned = a * cosine - b * sine;
    b = b * cosine + a * sine;
    a = turned;
  }
  __syncwarp();
}

template <typename T>
__device__ void store(const RopeKvCall& c, const ops::SequenceRows& s, int64_t position, int64_t kv_head, int64_t dims,
                      std::byte* pages, const float* x, int lane) {
  T* to = reinterpret_cast<T*>(pages) + kv_row(c.shape, c.cache.tables, s.table, position, kv_head, dims);
  for (int64_t i = lane; i < dims; i += 32) to[i] = from_float<T>(x[i]);
}

/// Norm and rotation of one head of q or k. With QkNormScope::full the block has normalised, or will.
__device__ void turn(const RopeKvCall& c, const float* weight, int64_t head, const float* table, int lane, float* x) {
  const bool normed = c.norm == ops::QkNormScope::head || c.norm == ops::QkNormScope::per_head;
  const float* w = weight == nullptr || c.norm == ops::QkNormScope::head ? weight : weight + head * c.shape.d_qk;
  if (normed && !c.norm_after_rope) apply(moments(c, x, c.shape.d_qk, lane, 32, nullptr), w, c.shape.d_qk, lane, x);
  if (c.rope != ops::RopeStyle::none) rotate(c, table, lane, x);
  if (normed && c.norm_after_rope) apply(moments(c, x, c.shape.d_qk, lane, 32, nullptr), w, c.shape.d_qk, lane, x);
}

/// The whole of q or k by the block.
__device__ void norm_full(const RopeKvCall& c, const float* weight, int64_t n, float* x, float* scratch) {
  const Moments m = moments(c, x, n, threadIdx.x, blockDim.x, scratch);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
    x[i] = (x[i] - m.mean) * m.factor * (weight == nullptr ? 1.0f : weight[i]);
  __syncthreads();
}

template <typename T>
__global__ void __launch_bounds__(kWarps * 32) rope_kv_kernel(RopeKvCall c) {
  __shared__ float scratch[32];
  allow_next();
  const int64_t row = blockIdx.x;
  const int32_t sequence = c.sequences.sequence_of[row];
  const ops::SequenceRows s = sequence < 0 ? ops::SequenceRows{} : c.sequences.sequences[sequence];
  await_previous();
  if (sequence < 0) return;
  const KvShape& d = c.shape;
  const int64_t position = s.first_position + (row - s.first_row);
  float* q = static_cast<float*>(c.qkv.data) + row * c.qkv.stride;
  float* k = q + d.heads * d.d_qk;
  float* v = k + d.kv_heads * d.d_qk;
  const float* table = static_cast<const float*>(c.table.data) + row * c.table.stride;
  const bool full = c.norm == ops::QkNormScope::full;
  if (full && !c.norm_after_rope) {
    norm_full(c, c.q_norm, d.heads * d.d_qk, q, scratch);
    norm_full(c, c.k_norm, d.kv_heads * d.d_qk, k, scratch);
  }
  const int lane = threadIdx.x % 32;
  const auto first = static_cast<int64_t>(blockIdx.y * kWarps + threadIdx.x / 32);
  for (int64_t unit = first; unit < d.heads + 2 * d.kv_heads; unit += gridDim.y * kWarps) {
    const int64_t kv_head = unit - d.heads;
    if (kv_head < 0) {
      turn(c, c.q_norm, unit, table, lane, q + unit * d.d_qk);
    } else if (kv_head < d.kv_heads) {
      float* x = k + kv_head * d.d_qk;
      turn(c, c.k_norm, kv_head, table, lane, x);
      if (!full || !c.norm_after_rope) store<T>(c, s, position, kv_head, d.d_qk, c.cache.keys, x, lane);
    } else {
      const int64_t head = kv_head - d.kv_heads;
      store<T>(c, s, position, head, d.d_v, c.cache.values, v + head * d.d_v, lane);
    }
  }
  if (!full || !c.norm_after_rope) return;
  __syncthreads();
  norm_full(c, c.q_norm, d.heads * d.d_qk, q, scratch);
  norm_full(c, c.k_norm, d.kv_heads * d.d_qk, k, scratch);
  for (int64_t head = threadIdx.x / 32; head < d.kv_heads; head += kWarps)
    store<T>(c, s, position, head, d.d_qk, c.cache.keys, k + head * d.d_qk, lane);
}

}  // namespace

void rope_kv(Queue queue, const RopeKvCall& c) {
  const int64_t units = c.shape.heads + 2 * c.shape.kv_heads;
  const unsigned parts = c.norm == ops::QkNormScope::full ? 1 : blocks_for(units, kWarps);
  with_type(c.shape.type, [&](auto t) {
    launch(rope_kv_kernel<decltype(t)>, {{static_cast<unsigned>(c.qkv.rows), parts}, kWarps * 32}, queue, c);
  });
}

}  // namespace sluice::cuda
