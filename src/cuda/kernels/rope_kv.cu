// Between the QKV projection and attention: norms and rotation in place, keys and values into their pages. A warp
// takes one head of one token; where heads are the 128 dimensions that most models have, a few of them at once.
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

// ---- heads of 128, rotated as a whole by halves: a lane has four neighbours of a head

constexpr int kDims = 128, kHeads = 3;  // of a warp at once: so many loads are under way

bool are_common(const RopeKvCall& c) {
  const bool normed_alone = c.norm != ops::QkNormScope::full && !c.norm_after_rope;
  return c.shape.d_qk == kDims && c.shape.d_v == kDims && c.rope == ops::RopeStyle::half && c.rope_dims == kDims &&
         (c.norm == ops::QkNormScope::none || normed_alone) && c.qkv.stride % 4 == 0 && c.table.stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(c.qkv.data) % 16 == 0 && reinterpret_cast<uintptr_t>(c.table.data) % 16 == 0;
}

/// Rounds as spelt out: results are the same bits in whatever launch.
struct Four {
  float v[4];
  __device__ static Four load(const float* from) {
    const float4 f = *reinterpret_cast<const float4*>(from);
    return {{f.x, f.y, f.z, f.w}};
  }
  template <typename T>
  __device__ void store(T* to) const {
    if constexpr (sizeof(T) == 4) {
      *reinterpret_cast<float4*>(to) = {v[0], v[1], v[2], v[3]};
    } else {
      *reinterpret_cast<uint2*>(to) = {pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3])};
    }
  }
  __device__ void norm(ops::NormKind kind, float eps, const float* weight) {
    float mean = 0, squares = 0;
    if (kind == ops::NormKind::layer)
      mean = reduce_warp(__fadd_rn(__fadd_rn(v[0], v[1]), __fadd_rn(v[2], v[3])), Add{}) / kDims;
#pragma unroll
    for (float& x : v) {
      x = __fsub_rn(x, mean);
      squares = __fmaf_rn(x, x, squares);
    }
    const float factor = 1.0f / sqrtf(reduce_warp(squares, Add{}) / kDims + eps);
    const Four w = weight == nullptr ? Four{{1, 1, 1, 1}} : load(weight);
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = __fmul_rn(__fmul_rn(v[e], factor), w.v[e]);
  }
  /// Lanes l and l + 16 have what belongs together.
  __device__ void rotate(const Four& cosine, const Four& sine) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float other = __shfl_xor_sync(0xffffffffu, v[e], 16);
      const float turned = __fmul_rn(other, sine.v[e]);
      v[e] = __fmaf_rn(v[e], cosine.v[e], threadIdx.x % 32 < 16 ? -turned : turned);
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(kWarps * 32) common_kernel(RopeKvCall c) {
  allow_next();
  const KvShape& d = c.shape;
  const int64_t row = blockIdx.x;
  const int32_t sequence = c.sequences.sequence_of[row];
  if (sequence < 0) return await_previous();
  const ops::SequenceRows s = c.sequences.sequences[sequence];
  // Of the token in the first head's page.
  const int64_t first_place = kv_row(d, c.cache.tables, s.table, s.first_position + (row - s.first_row), 0, kDims);
  const int heads = static_cast<int>(d.heads), kv_heads = static_cast<int>(d.kv_heads), all = heads + 2 * kv_heads;
  const int lane = static_cast<int>(threadIdx.x % 32), first = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / 32);
  await_previous();
  float* x = static_cast<float*>(c.qkv.data) + row * c.qkv.stride + lane * 4;
  const float* table = static_cast<const float*>(c.table.data) + row * c.table.stride + lane % 16 * 4;
  const Four cosine = Four::load(table), sine = Four::load(table + kDims / 2);
  Four mine[kHeads];
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    if (first * kHeads + i < all) mine[i] = Four::load(x + (first * kHeads + i) * kDims);
  }
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    const int head = first * kHeads + i, kv_head = head - heads;  // of q, k, v in turn
    if (head >= all) return;
    if (kv_head < kv_heads) {
      const float* weight = kv_head < 0 ? c.q_norm : c.k_norm;
      if (c.norm == ops::QkNormScope::per_head && weight != nullptr) weight += (kv_head < 0 ? head : kv_head) * kDims;
      if (c.norm != ops::QkNormScope::none)
        mine[i].norm(c.norm_kind, c.eps, weight == nullptr ? nullptr : weight + lane * 4);
      mine[i].rotate(cosine, sine);
      mine[i].store(x + head * kDims);
    }
    if (kv_head < 0) continue;
    const int64_t place = first_place + kv_head % kv_heads * d.page_tokens * kDims + lane * 4;
    mine[i].store(reinterpret_cast<T*>(kv_head < kv_heads ? c.cache.keys : c.cache.values) + place);
  }
}

}  // namespace

void rope_kv(Queue queue, const RopeKvCall& c) {
  const int64_t units = c.shape.heads + 2 * c.shape.kv_heads;
  if (are_common(c)) {
    return with_type(c.shape.type, [&](auto t) {
      const dim3 grid(static_cast<unsigned>(c.qkv.rows), blocks_for(units, kWarps * kHeads));
      launch(common_kernel<decltype(t)>, {grid, kWarps * 32}, queue, c);
    });
  }
  const unsigned parts = c.norm == ops::QkNormScope::full ? 1 : blocks_for(units, kWarps);
  with_type(c.shape.type, [&](auto t) {
    launch(rope_kv_kernel<decltype(t)>, {{static_cast<unsigned>(c.qkv.rows), parts}, kWarps * 32}, queue, c);
  });
}

}  // namespace sluice::cuda
