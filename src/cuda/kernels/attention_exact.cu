// Attention in fp32, a block to a query: every variant of the contract, batch invariant, not fast.
#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kv_page.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 128;  // also the keys of one round

template <typename T, typename Y>
__global__ void __launch_bounds__(kThreads) exact_kernel(AttentionCall c) {
  extern __shared__ float shared[];  // q (d_qk) | weights (kThreads) | out (d_v) | rows of values (kThreads)
  __shared__ float scratch[32];
  await_previous();
  allow_next();
  const int64_t row = blockIdx.x, head = blockIdx.y;
  const int32_t sequence = c.sequences.sequence_of[row];
  if (sequence < 0) return;
  const KvShape& d = c.shape;
  const ops::SequenceRows s = c.sequences.sequences[sequence];
  const int64_t position = s.first_position + (row - s.first_row), kv_head = head / (d.heads / d.kv_heads);
  float* q = shared;
  float* weights = q + d.d_qk;
  float* out = weights + kThreads;
  auto* value_rows = reinterpret_cast<int64_t*>(shared + (d.d_qk + kThreads + d.d_v + 1) / 2 * 2);
  const int tid = static_cast<int>(threadIdx.x);
  for (int64_t i = tid; i < d.d_qk; i += kThreads) {
    const float x = static_cast<const float*>(c.q.data)[row * c.q.stride + head * d.d_qk + i];
    q[i] = c.rounded ? to_float(from_float<T>(x)) : x;
  }
  for (int64_t i = tid; i < d.d_v; i += kThreads) out[i] = 0;
  __syncthreads();

  float top = c.sinks != nullptr ? c.sinks[head] : -INFINITY, total = c.sinks != nullptr ? 1.0f : 0.0f;
  const int64_t begin = c.window > 0 ? max(int64_t{0}, position - c.window + 1) : 0;
  for (int64_t first = begin; first <= position; first += kThreads) {
    const int64_t j = first + tid;
    float score = -INFINITY;
    if (j <= position) {
      const T* key = reinterpret_cast<const T*>(c.cache.keys) +
                     kv_row(d, c.cache.tables, s.table, j, kv_head, d.d_qk);
      value_rows[tid] = kv_row(d, c.cache.tables, s.table, j, kv_head, d.d_v);
      float dot = 0;
      for (int64_t i = 0; i < d.d_qk; ++i) dot += q[i] * to_float(key[i]);
      score = c.scale * dot;
      if (c.softcap > 0) score = c.softcap * tanhf(score / c.softcap);
      if (c.slopes != nullptr) score -= c.slopes[head] * static_cast<float>(position - j);
    }
    const float new_top = fmaxf(top, reduce_block(score, Max{}, scratch));
    const float shrink = top == new_top ? 1.0f : expf(top - new_top);
    const float weight = j <= position ? expf(score - new_top) : 0.0f;
    weights[tid] = weight;
    total = total * shrink + reduce_block(weight, Add{}, scratch);  // its barriers publish the weights too
    top = new_top;
    const int64_t count = min(int64_t{kThreads}, position - first + 1);
    for (int64_t i = tid; i < d.d_v; i += kThreads) {
      float sum = out[i] * shrink;
      for (int64_t w = 0; w < count; ++w)
        sum += weights[w] * to_float(reinterpret_cast<const T*>(c.cache.values)[value_rows[w] + i]);
      out[i] = sum;
    }
    __syncthreads();
  }
  for (int64_t i = tid; i < d.d_v; i += kThreads)
    static_cast<Y*>(c.out.data)[row * c.out.stride + head * d.d_v + i] = from_float<Y>(out[i] / total);
}

}  // namespace

void attention_exact(Queue queue, const AttentionCall& c) {
  const auto shared = static_cast<size_t>(c.shape.d_qk + c.shape.d_v + kThreads + 2) * sizeof(float) +
                      kThreads * sizeof(int64_t);
  const dim3 grid(static_cast<unsigned>(c.q.rows), static_cast<unsigned>(c.shape.heads));
  with_type(c.shape.type, [&](auto t) {
    with_type(c.out.dtype,
              [&](auto y) { launch(exact_kernel<decltype(t), decltype(y)>, {grid, kThreads, shared}, queue, c); });
  });
}

}  // namespace sluice::cuda
