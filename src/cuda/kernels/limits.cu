// What this GPU does at best: the roofs that whole steps are measured against.
#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 512, kRounds = 5;

__global__ void read_kernel(const uint4* from, size_t count, uint32_t* sink) {
  uint32_t sum = 0;
  const size_t step = size_t{gridDim.x} * kThreads;
  size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = __ldcs(from + i), b = __ldcs(from + i + step), c = __ldcs(from + i + 2 * step),
                d = __ldcs(from + i + 3 * step);
    sum += a.x ^ b.y ^ c.z ^ d.w;
  }
  if (sum == 0x9e3779b9u) *sink = sum;
}

__global__ void fma_kernel(int rounds, float* sink) {
  float v[8] = {1, 2, 3, 4, 5, 6, 7, static_cast<float>(threadIdx.x)};
  for (int i = 0; i < rounds; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = fmaf(v[j], 1.0001f, 0.5f);
  }
  float sum = 0;
  for (float x : v) sum += x;
  if (sum == 0.25f) *sink = sum;
}

__global__ void noise_kernel(uint32_t* to, size_t count) {
  for (size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += size_t{gridDim.x} * kThreads) {
    const auto h = static_cast<uint32_t>(i) * 2654435761u;
    to[i] = 0x3f003f00u ^ (h & 0x80ff80ffu);  // bf16 pairs of about +-0.5 to 1
  }
}

/// Seconds of the quickest of a few runs.
template <typename Work>
double best_seconds(Queue queue, Work&& work) {
  cudaEvent_t events[2];
  for (cudaEvent_t& e : events) check(cudaEventCreate(&e), "making an event");
  float best = 1e30f;
  for (int round = 0; round <= kRounds; ++round) {
    check(cudaEventRecord(events[0], queue), "an event");
    work();
    check(cudaEventRecord(events[1], queue), "an event");
    check(cudaEventSynchronize(events[1]), "waiting for an event");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, events[0], events[1]), "an event's time");
    if (round > 0) best = std::min(best, ms);  // the first loads what it needs
  }
  for (cudaEvent_t e : events) static_cast<void>(cudaEventDestroy(e));
  return 1e-3 * static_cast<double>(best);
}

}  // namespace

Limits measure_limits(Queue queue, std::byte* memory, size_t bytes, int multiprocessors, uint32_t* counters) {
  const auto blocks = static_cast<unsigned>(4 * multiprocessors);
  auto* words = reinterpret_cast<uint32_t*>(memory);
  noise_kernel<<<blocks, kThreads, 0, queue>>>(words, bytes / sizeof(uint32_t));
  check(cudaGetLastError(), "a kernel's launch");
  Limits limits;
  const size_t read = bytes / sizeof(uint4);
  limits.read_bytes_per_second = static_cast<double>(bytes) / best_seconds(queue, [&] {
    read_kernel<<<blocks, kThreads, 0, queue>>>(reinterpret_cast<const uint4*>(memory), read, words);
  });
  constexpr int kFmaRounds = 1 << 14;
  limits.f32_per_second = 16.0 * kFmaRounds * blocks * kThreads / best_seconds(queue, [&] {
    fma_kernel<<<blocks, kThreads, 0, queue>>>(kFmaRounds, reinterpret_cast<float*>(memory));
  });
  constexpr int64_t kSize = 8192;  // x | W | y | workspace
  constexpr size_t kOperand = size_t{kSize} * kSize * 2;
  const LinearCall product{kSize,
                           kSize,
                           DType::bf16,
                           {memory, DType::bf16, kSize, kSize, kSize},
                           memory + kOperand,
                           nullptr,
                           {memory + 2 * kOperand, DType::f32, kSize, kSize, kSize}};
  limits.bf16_per_second = 2.0 * kSize * kSize * kSize / best_seconds(queue, [&] {
    std::byte* workspace = memory + 4 * kOperand;
    if (!linear_blas(queue, product, workspace)) linear_wgmma(queue, product, true, workspace, counters);
  });
  return limits;
}

}  // namespace sluice::cuda
