// Ops that treat each row or element by itself.
#include "cuda/kernels/activate.cuh"
#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"

namespace sluice::cuda {
namespace {

constexpr unsigned kThreads = 256;

template <typename T>
__device__ T* row_of(const Matrix& m, int64_t row) {
  return static_cast<T*>(m.data) + row * m.stride;
}

template <typename W>
__global__ void embed_kernel(EmbedCall c) {
  await_previous();
  allow_next();
  const int64_t t = blockIdx.x;
  const W* w = static_cast<const W*>(c.weight) + max(c.ids[t], 0) * c.y.cols;  // -1: a sample that failed
  const float* p =
      c.position_table == nullptr ? nullptr : c.position_table + (c.positions[t] + c.position_offset) * c.y.cols;
  float* y = row_of<float>(c.y, t);
  for (int64_t i = threadIdx.x; i < c.y.cols; i += kThreads) {
    const float scaled = __fmul_rn(to_float(w[i]), c.scale);
    y[i] = p == nullptr ? scaled : __fadd_rn(scaled, p[i]);
  }
}

__global__ void rope_table_kernel(RopeTableCall c) {
  await_previous();
  allow_next();
  const int64_t t = blockIdx.x;
  const float* frequencies = c.frequencies + (c.variants == nullptr ? 0 : c.variants[t] * c.count);
  float* y = row_of<float>(c.y, t);
  for (int64_t i = threadIdx.x; i < c.count; i += blockDim.x) {
    const float angle = static_cast<float>(c.positions[t]) * frequencies[i];
    y[i] = cosf(angle) * c.factor;
    y[c.count + i] = sinf(angle) * c.factor;
  }
}

/// Mean and reciprocal deviation of a row held in shared memory, by every thread.
struct Moments {
  float mean = 0, factor = 1;
};
__device__ Moments moments(ops::NormKind kind, const float* x, int64_t n, float eps, float* scratch) {
  Moments out;
  if (kind == ops::NormKind::none) return out;
  if (kind == ops::NormKind::layer) {
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    out.mean = reduce_block(sum, Add{}, scratch) / static_cast<float>(n);
  }
  float squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) squares += (x[i] - out.mean) * (x[i] - out.mean);
  out.factor = 1.0f / sqrtf(reduce_block(squares, Add{}, scratch) / static_cast<float>(n) + eps);
  return out;
}

__device__ float normal(const Moments& m, float x, const float* weight, const float* bias, int64_t i) {
  return (x - m.mean) * m.factor * (weight == nullptr ? 1.0f : weight[i]) + (bias == nullptr ? 0.0f : bias[i]);
}

/// A block to a row, the row in shared memory between its two norms. Each thread reads the same elements in all
/// loops, so that only reductions need barriers.
template <typename Y>
__global__ void add_norm_kernel(AddNormCall c) {
  extern __shared__ float row[];
  __shared__ float scratch[32];
  await_previous();
  allow_next();
  float* h = row_of<float>(c.h, blockIdx.x);
  if (c.has_branch) {
    const float* branch = row_of<float>(c.branch, blockIdx.x);
    float* old = row + c.dim;  // read together with the branch: one wait for memory instead of two
    for (int64_t i = threadIdx.x; i < c.dim; i += blockDim.x) {
      row[i] = branch[i];
      old[i] = h[i];
    }
    const Moments m = moments(c.branch_norm, row, c.dim, c.eps, scratch);
    for (int64_t i = threadIdx.x; i < c.dim; i += blockDim.x)
      h[i] = row[i] = old[i] + c.multiplier * normal(m, row[i], c.branch_weight, c.branch_bias, i);
  } else {
    for (int64_t i = threadIdx.x; i < c.dim; i += blockDim.x) row[i] = h[i];
  }
  if (!c.has_output) return;
  const Moments m = moments(c.output_norm, row, c.dim, c.eps, scratch);
  Y* y = row_of<Y>(c.y, blockIdx.x);
  for (int64_t i = threadIdx.x; i < c.dim; i += blockDim.x)
    y[i] = from_float<Y>(normal(m, row[i], c.output_weight, c.output_bias, i));
}

template <typename Y>
__global__ void activation_kernel(ActivationCall c) {
  await_previous();
  allow_next();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= c.dim) return;
  for (int64_t t = blockIdx.y; t < c.y.rows; t += gridDim.y) {
    const float* x = row_of<float>(c.x, t);
    row_of<Y>(c.y, t)[i] = from_float<Y>(activate(c.kind, x[i]) * (c.gated ? x[c.dim + i] : 1.0f));
  }
}

__global__ void gather_kernel(Matrix x, const int32_t* rows, Matrix y) {
  await_previous();
  allow_next();
  const float* from = row_of<float>(x, rows[blockIdx.x]);
  float* to = row_of<float>(y, blockIdx.x);
  for (int64_t i = threadIdx.x; i < y.cols; i += kThreads) to[i] = from[i];
}

__global__ void softcap_kernel(Matrix x, float scale, float cap) {
  await_previous();
  allow_next();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) {
    float& v = row_of<float>(x, t)[i];
    v = cap > 0 ? cap * tanhf(v * scale / cap) : v * scale;
  }
}

template <typename T>
__global__ void round_kernel(Matrix x, T* out) {
  await_previous();
  allow_next();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) out[t * x.cols + i] = from_float<T>(row_of<float>(x, t)[i]);
}

constexpr unsigned kArgmaxThreads = 1024;

struct Best {
  float value;
  int32_t place;  // -1: a NaN was met
};
__device__ Best better(Best a, Best b) {
  if (a.place < 0 || b.place < 0) return {0, -1};
  return b.value > a.value || (b.value == a.value && b.place < a.place) ? b : a;
}

__global__ void argmax_kernel(Matrix x, int64_t limit, int32_t* out) {
  __shared__ Best shared[32];
  await_previous();
  allow_next();
  const float* row = row_of<float>(x, blockIdx.x);
  Best best{-INFINITY, INT32_MAX};
  for (int64_t i = threadIdx.x; i < limit; i += kArgmaxThreads)
    best = better(best, {row[i], isnan(row[i]) ? -1 : static_cast<int32_t>(i)});
  for (int offset = 16; offset > 0; offset /= 2)
    best = better(best, {__shfl_xor_sync(0xffffffffu, best.value, offset),
                         __shfl_xor_sync(0xffffffffu, best.place, offset)});
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned w = 1; w < kArgmaxThreads / 32; ++w) best = better(best, shared[w]);
  out[blockIdx.x] = best.place >= 0 && isfinite(best.value) ? best.place : -1;
}

/// Elements of rows along x, as many rows along y as a grid may have.
LaunchShape elements(int64_t cols, int64_t rows) {
  return {{blocks_for(cols, kThreads), static_cast<unsigned>(std::min<int64_t>(rows, 65535))}, kThreads};
}

}  // namespace

void embed(Queue queue, const EmbedCall& c) {
  with_type(c.type, [&](auto t) {
    launch(embed_kernel<decltype(t)>, {static_cast<unsigned>(c.y.rows), kThreads}, queue, c);
  });
}

void rope_table(Queue queue, const RopeTableCall& c) {
  launch(rope_table_kernel, {static_cast<unsigned>(c.y.rows), 64}, queue, c);
}

void add_norm(Queue queue, const AddNormCall& c) {
  const auto threads = static_cast<unsigned>(std::clamp<int64_t>((c.dim + 127) / 128 * 32, 32, 1024));
  with_type(c.has_output ? c.y.dtype : DType::f32, [&](auto t) {
    const auto kernel = add_norm_kernel<decltype(t)>;
    const size_t shared = static_cast<size_t>(c.dim) * (c.has_branch ? 2 : 1) * sizeof(float);
    allow_shared(kernel, shared);
    launch(kernel, {static_cast<unsigned>(c.h.rows), threads, shared}, queue, c);
  });
}

void activation(Queue queue, const ActivationCall& c) {
  with_type(c.y.dtype,
            [&](auto t) { launch(activation_kernel<decltype(t)>, elements(c.dim, c.y.rows), queue, c); });
}

void gather_rows(Queue queue, const Matrix& x, const int32_t* rows, const Matrix& y) {
  launch(gather_kernel, {static_cast<unsigned>(y.rows), kThreads}, queue, x, rows, y);
}

void scale_softcap(Queue queue, const Matrix& x, float scale, float cap) {
  launch(softcap_kernel, elements(x.cols, x.rows), queue, x, scale, cap);
}

void round_rows(Queue queue, const Matrix& x, DType type, void* out) {
  with_type(type, [&](auto t) {
    launch(round_kernel<decltype(t)>, elements(x.cols, x.rows), queue, x, static_cast<decltype(t)*>(out));
  });
}

void argmax(Queue queue, const Matrix& x, int64_t limit, int32_t* out) {
  launch(argmax_kernel, {static_cast<unsigned>(x.rows), kArgmaxThreads}, queue, x, limit, out);
}

}  // namespace sluice::cuda
