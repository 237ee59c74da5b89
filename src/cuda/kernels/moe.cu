// Mixture of experts: routing, and products gathered by expert. A warp takes one column of one (token, expert).
#include "cuda/kernels/activate.cuh"
#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"

namespace sluice::cuda {
namespace {

constexpr unsigned kWarps = 8;

// ---- route: a warp to a token, its scores in shared memory

/// The largest number not yet taken and its place, the lower place among equals.
__device__ int32_t take_largest(float* values, int64_t n, int lane) {
  float best = -INFINITY;
  int32_t place = INT32_MAX;
  for (int64_t e = lane; e < n; e += 32) {
    if (values[e] > best || (place == INT32_MAX && !isinf(values[e]))) {
      best = values[e];
      place = static_cast<int32_t>(e);
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, best, offset);
    const int32_t other_place = __shfl_xor_sync(0xffffffffu, place, offset);
    if (other > best || (other_place < place && !(best > other))) {
      best = other;
      place = other_place;
    }
  }
  place = place == INT32_MAX ? 0 : place;
  __syncwarp();
  if (lane == 0) values[place] = -INFINITY;
  __syncwarp();
  return place;
}

__global__ void route_kernel(RouteCall c) {
  extern __shared__ float values[];
  allow_next();
  await_previous();
  const int lane = static_cast<int>(threadIdx.x);
  const float* logits = static_cast<const float*>(c.logits.data) + blockIdx.x * c.logits.stride;
  auto* chosen = static_cast<int32_t*>(c.chosen.data) + blockIdx.x * c.chosen.stride;
  auto* weights = static_cast<float*>(c.weights.data) + blockIdx.x * c.weights.stride;
  float top = -INFINITY, total = 0;
  for (int64_t e = lane; e < c.experts; e += 32) top = fmaxf(top, logits[e]);
  top = reduce_warp(top, Max{});
  for (int64_t e = lane; e < c.experts; e += 32) total += expf(logits[e] - top);
  total = reduce_warp(total, Add{});
  const auto score = [&](int64_t e, float sum) {
    return c.softmax ? expf(logits[e] - top) / sum : 1.0f / (1.0f + expf(-logits[e]));
  };
  for (int64_t e = lane; e < c.experts; e += 32)
    values[e] = (c.score_first ? score(e, total) : logits[e]) + (c.selection_bias == nullptr ? 0.0f : c.selection_bias[e]);
  __syncwarp();
  for (int64_t j = 0; j < c.k; ++j) {
    const int32_t e = take_largest(values, c.experts, lane);
    if (lane == 0) chosen[j] = e;
  }
  if (lane != 0) return;
  if (!c.score_first) {  // the softmax is over the picked ones
    total = 0;
    for (int64_t j = 0; j < c.k; ++j) total += expf(logits[chosen[j]] - top);
  }
  float sum = 0;
  for (int64_t j = 0; j < c.k; ++j) sum += weights[j] = score(chosen[j], total);
  for (int64_t j = 0; j < c.k; ++j) weights[j] = (c.renormalise ? weights[j] / sum : weights[j]) * c.scale;
}

// ---- experts

template <typename W>
__device__ float dot(const W* w, const float* x, int64_t k, bool rounded, int lane) {
  float sum = 0;
  for (int64_t i = lane; i < k; i += 32) sum += to_float(w[i]) * (rounded ? to_float(from_float<W>(x[i])) : x[i]);
  return reduce_warp(sum, Add{});
}

__device__ const std::byte* expert(const void* weights, int64_t expert, int64_t elements, int64_t size) {
  return static_cast<const std::byte*>(weights) + expert * elements * size;
}

/// middle[p, i] = act(gate . x) * (up . x) of pair p = (token, choice)
template <typename W>
__global__ void __launch_bounds__(kWarps * 32) up_kernel(MoeCall c, float* middle) {
  allow_next();
  await_previous();
  const int lane = threadIdx.x % 32;
  const int64_t i = int64_t{blockIdx.y} * kWarps + threadIdx.x / 32, pair = blockIdx.x;
  if (i >= c.width) return;
  const int64_t t = pair / c.k;
  const int32_t e = (static_cast<const int32_t*>(c.chosen.data) + t * c.chosen.stride)[pair % c.k];
  const int64_t inner = c.gated ? 2 * c.width : c.width;
  const W* w = reinterpret_cast<const W*>(expert(c.up, e, inner * c.hidden, sizeof(W)));
  const float* x = static_cast<const float*>(c.x.data) + t * c.x.stride;
  float v = activate(c.activation, dot(w + i * c.hidden, x, c.hidden, c.rounded, lane));
  if (c.gated) v *= dot(w + (c.width + i) * c.hidden, x, c.hidden, c.rounded, lane);
  if (lane == 0) middle[pair * c.width + i] = v;
}

template <typename W>
__global__ void __launch_bounds__(kWarps * 32) down_kernel(MoeCall c, const float* middle) {
  allow_next();
  await_previous();
  const int lane = threadIdx.x % 32;
  const int64_t i = int64_t{blockIdx.y} * kWarps + threadIdx.x / 32, t = blockIdx.x;
  if (i >= c.hidden) return;
  const int32_t* chosen = static_cast<const int32_t*>(c.chosen.data) + t * c.chosen.stride;
  const float* weights = static_cast<const float*>(c.weights.data) + t * c.weights.stride;
  float sum = 0;
  for (int64_t j = 0; j < c.k; ++j) {
    const W* w = reinterpret_cast<const W*>(expert(c.down, chosen[j], c.hidden * c.width, sizeof(W)));
    sum += weights[j] * dot(w + i * c.width, middle + (t * c.k + j) * c.width, c.width, c.rounded, lane);
  }
  if (lane == 0) static_cast<float*>(c.y.data)[t * c.y.stride + i] = sum;
}

}  // namespace

void route(Queue queue, const RouteCall& c) {
  launch(route_kernel,
         {static_cast<unsigned>(c.logits.rows), 32, static_cast<size_t>(c.experts) * sizeof(float)}, queue, c);
}

uint64_t moe_workspace(const MoeCall& c, int64_t max_rows) {
  return static_cast<uint64_t>(max_rows * c.k * c.width) * sizeof(float);
}

void moe_mlp(Queue queue, const MoeCall& c, std::byte* workspace) {
  auto* middle = reinterpret_cast<float*>(workspace);
  with_type(c.up_type, [&](auto t) {
    launch(up_kernel<decltype(t)>,
           {{static_cast<unsigned>(c.x.rows * c.k), blocks_for(c.width, kWarps)}, kWarps * 32}, queue, c, middle);
  });
  with_type(c.down_type, [&](auto t) {
    launch(down_kernel<decltype(t)>, {{static_cast<unsigned>(c.x.rows), blocks_for(c.hidden, kWarps)}, kWarps * 32},
           queue, c, middle);
  });
}

}  // namespace sluice::cuda
