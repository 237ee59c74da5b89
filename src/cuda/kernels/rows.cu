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
  allow_next();
  await_previous();
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
  allow_next();
  await_previous();
  const int64_t t = blockIdx.x;
  const float* frequencies = c.frequencies + (c.variants == nullptr ? 0 : c.variants[t] * c.count);
  float* y = row_of<float>(c.y, t);
  for (int64_t i = threadIdx.x; i < c.count; i += blockDim.x) {
    const float angle = static_cast<float>(c.positions[t]) * frequencies[i];
    y[i] = cosf(angle) * c.factor;
    y[c.count + i] = sinf(angle) * c.factor;
  }
}

/// Neighbours that are read and written together.
template <int kWidth>
struct alignas(kWidth * sizeof(float)) Pack {
  float v[kWidth];
};
template <int kWidth>
__device__ Pack<kWidth> load(const float* from) {
  Pack<kWidth> p;
  if constexpr (kWidth == 4) {
    *reinterpret_cast<float4*>(p.v) = *reinterpret_cast<const float4*>(from);
  } else {
    p.v[0] = *from;
  }
  return p;
}
template <typename Y, int kWidth>
__device__ void store(Y* to, const Pack<kWidth>& p) {
  if constexpr (kWidth == 1) {
    *to = from_float<Y>(p.v[0]);
  } else if constexpr (sizeof(Y) == 4) {
    *reinterpret_cast<float4*>(to) = {p.v[0], p.v[1], p.v[2], p.v[3]};
  } else {
    *reinterpret_cast<uint2*>(to) = {pack2<Y>(p.v[0], p.v[1]), pack2<Y>(p.v[2], p.v[3])};
  }
}
bool can_pack(const Matrix& m, int64_t dim) {
  return dim % 4 == 0 && m.stride % 4 == 0 && reinterpret_cast<uintptr_t>(m.data) % 16 == 0;
}

/// What a thread holds of a row: packs blockDim.x packs apart.
template <int kWidth, int kPacks>
struct Share {
  Pack<kWidth> packs[kPacks];

  /// Of a vector; all `otherwise` where there is none.
  __device__ static Share of(const float* vector, int64_t dim, float otherwise) {
    Share share;
    share.each(dim, [&](int64_t i, Pack<kWidth>& pack) {
      if (vector != nullptr) {
        pack = load<kWidth>(vector + i);
      } else {
#pragma unroll
        for (float& v : pack.v) v = otherwise;
      }
    });
    return share;
  }
  /// f(place in the row, pack) for those that there are.
  template <typename F>
  __device__ void each(int64_t dim, F&& f) {
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int64_t i = (int64_t{p} * blockDim.x + threadIdx.x) * kWidth;
      if (i < dim) f(i, packs[p]);
    }
  }
  template <typename F>
  __device__ float sum(int64_t dim, float* scratch, F&& f) {
    float total = 0;
    each(dim, [&](int64_t, const Pack<kWidth>& pack) {
#pragma unroll
      for (const float v : pack.v) total += f(v);
    });
    return reduce_block(total, Add{}, scratch);
  }
  /// Normalised in place.
  __device__ void norm(ops::NormKind kind, int64_t dim, float eps, const Share& weight, const float* bias,
                       float* scratch) {
    float mean = 0, factor = 1;
    if (kind == ops::NormKind::layer)
      mean = sum(dim, scratch, [](float v) { return v; }) / static_cast<float>(dim);
    if (kind != ops::NormKind::none) {
      const float squares = sum(dim, scratch, [=](float v) { return (v - mean) * (v - mean); });
      factor = 1.0f / sqrtf(squares / static_cast<float>(dim) + eps);
    }
    const Share offset = of(bias, dim, 0);
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
#pragma unroll
      for (int e = 0; e < kWidth; ++e)
        packs[p].v[e] = (packs[p].v[e] - mean) * factor * weight.packs[p].v[e] + offset.packs[p].v[e];
    }
  }
};

/// A block to a row, the row in its registers.
template <typename Y, int kWidth, int kPacks>
__global__ void __launch_bounds__(1024) add_norm_kernel(AddNormCall c) {
  using Row = Share<kWidth, kPacks>;
  __shared__ float scratch[32];
  allow_next();
  const Row weight = Row::of(c.output_weight, c.dim, 1);
  await_previous();
  float* h = row_of<float>(c.h, blockIdx.x);
  Row row;
  row.each(c.dim, [&](int64_t i, auto& pack) { pack = load<kWidth>(h + i); });
  if (c.has_branch) {
    const float* from = row_of<float>(c.branch, blockIdx.x);
    Row branch;
    branch.each(c.dim, [&](int64_t i, auto& pack) { pack = load<kWidth>(from + i); });
    branch.norm(c.branch_norm, c.dim, c.eps, Row::of(c.branch_weight, c.dim, 1), c.branch_bias, scratch);
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
#pragma unroll
      for (int e = 0; e < kWidth; ++e) row.packs[p].v[e] += c.multiplier * branch.packs[p].v[e];
    }
    row.each(c.dim, [&](int64_t i, const auto& pack) { store<float>(h + i, pack); });
  }
  if (!c.has_output) return;
  row.norm(c.output_norm, c.dim, c.eps, weight, c.output_bias, scratch);
  Y* y = row_of<Y>(c.y, blockIdx.x);
  row.each(c.dim, [&](int64_t i, const auto& pack) { store<Y>(y + i, pack); });
}

template <typename Y, int kWidth>
__global__ void activation_kernel(ActivationCall c) {
  allow_next();
  await_previous();
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (i >= c.dim) return;
  for (int64_t t = blockIdx.y; t < c.y.rows; t += gridDim.y) {
    const float* x = row_of<float>(c.x, t) + i;
    auto pack = load<kWidth>(x);
    const auto gate = c.gated ? load<kWidth>(x + c.dim) : Pack<kWidth>{};
#pragma unroll
    for (int e = 0; e < kWidth; ++e) pack.v[e] = activate(c.kind, pack.v[e]) * (c.gated ? gate.v[e] : 1.0f);
    store<Y>(row_of<Y>(c.y, t) + i, pack);
  }
}

__global__ void gather_kernel(Matrix x, const int32_t* rows, Matrix y) {
  allow_next();
  await_previous();
  const float* from = row_of<float>(x, rows[blockIdx.x]);
  float* to = row_of<float>(y, blockIdx.x);
  for (int64_t i = threadIdx.x; i < y.cols; i += kThreads) to[i] = from[i];
}

__global__ void softcap_kernel(Matrix x, float scale, float cap) {
  allow_next();
  await_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) {
    float& v = row_of<float>(x, t)[i];
    v = cap > 0 ? cap * tanhf(v * scale / cap) : v * scale;
  }
}

template <typename T>
__global__ void round_kernel(Matrix x, T* out) {
  allow_next();
  await_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= x.cols) return;
  for (int64_t t = blockIdx.y; t < x.rows; t += gridDim.y) out[t * x.cols + i] = from_float<T>(row_of<float>(x, t)[i]);
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

namespace {

template <typename Y, int kWidth, int kPacks>
void run_add_norm(Queue queue, const AddNormCall& c) {
  const auto threads = static_cast<unsigned>((c.dim + kWidth * kPacks * 32 - 1) / (kWidth * kPacks * 32) * 32);
  launch(add_norm_kernel<Y, kWidth, kPacks>, {static_cast<unsigned>(c.h.rows), threads}, queue, c);
}

}  // namespace

void add_norm(Queue queue, const AddNormCall& c) {
  const bool packed = can_pack(c.h, c.dim) && (!c.has_branch || can_pack(c.branch, c.dim)) &&
                      (!c.has_output || can_pack(c.y, c.dim));
  with_type(c.has_output ? c.y.dtype : DType::f32, [&](auto t) {
    using Y = decltype(t);
    if (packed && c.dim <= 8192) return run_add_norm<Y, 4, 2>(queue, c);
    packed ? run_add_norm<Y, 4, 6>(queue, c) : run_add_norm<Y, 1, 24>(queue, c);
  });
}

void activation(Queue queue, const ActivationCall& c) {
  with_type(c.y.dtype, [&](auto t) {
    using Y = decltype(t);
    can_pack(c.x, c.dim) && can_pack(c.y, c.dim)
        ? launch(activation_kernel<Y, 4>, elements(c.dim / 4, c.y.rows), queue, c)
        : launch(activation_kernel<Y, 1>, elements(c.dim, c.y.rows), queue, c);
  });
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

}  // namespace sluice::cuda
