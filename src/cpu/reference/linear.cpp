#include "cpu/reference/linear.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/reference/reference.h"
#include "cpu/workspace.h"
#include "quant/format.h"
#include "tensor/half.h"

namespace sluice::cpu::reference {
namespace {

using ops::Linear;

constexpr int64_t kActivationBlock = 32;
constexpr int64_t kGroup = 16;  // every format's groups are made of these

const std::byte* plain_row(const Linear::Desc& d, const std::byte* weight, int64_t n) {
  return weight + static_cast<uint64_t>(n) * row_bytes(d.weight, static_cast<uint64_t>(d.k));
}

float representation(ops::Activations activations, float x) {
  if (activations == ops::Activations::f16) return f16_to_f32(f32_to_f16(x));
  return activations == ops::Activations::bf16 ? bf16_to_f32(f32_to_bf16(x)) : x;
}

void run_float(const Linear::Desc& d, const Linear::Args& a, ThreadPool& pool, std::byte* workspace) {
  float* rows = Workspace(workspace).take<float>(d.k * pool.threads());
  pool.parallel_for(d.outputs(), 16, [&](int64_t begin, int64_t end, int worker) {
    float* w = rows + worker * d.k;
    const auto multiply = [&](int64_t n, const auto& use) {
      quant::dequantize_row(d.weight, plain_row(d, a.weight, n), w, d.k);
      for (int64_t m = 0; m < a.x.rows; ++m) {
        const float* x = a.x.f32(m);
        double sum = 0;
        for (int64_t k = 0; k < d.k; ++k) sum += double{representation(d.activations, x[k])} * w[k];
        use(m, static_cast<float>(sum + (d.bias ? a.bias[n] : 0)));
      }
    };
    for (int64_t n = begin; n < end; ++n) {
      multiply(n, [&](int64_t m, float sum) { a.y.f32(m)[n] = d.gate ? activate(*d.gate, sum) : sum; });
      if (d.gate) multiply(n + d.n / 2, [&](int64_t m, float sum) { a.y.f32(m)[n] *= sum; });
    }
  });
}

/// A weight row taken apart: element i is scale[i / kGroup] * code[i] + min[i / kGroup].
struct CodedRow {
  int8_t* code;
  float* scale;
  float* min;
};

void take_apart(const Linear::Desc& d, const std::byte* packed, const CodedRow& row) {
  const quant::BlockFormat& format = *quant::block_format(d.weight);
  const DTypeInfo& type = info(d.weight);
  quant::Block block;
  for (int64_t k = 0; k < d.k; k += type.block_elems, packed += type.block_bytes) {
    quant::unpack_block(d.weight, packed, block);
    std::copy_n(block.code, type.block_elems, row.code + k);
    for (int64_t i = 0; i < type.block_elems; i += kGroup) {
      const int64_t g = i / format.group;
      row.scale[(k + i) / kGroup] = block.d * block.scale[g];
      row.min[(k + i) / kGroup] = block.m * block.min[g];
    }
  }
}

const float* largest(const float* x) {
  return std::max_element(x, x + kActivationBlock,
                          [](float a, float b) { return std::abs(a) < std::abs(b); });
}

/// A row of k activations: codes with the scales of their blocks, and the outliers that those leave out, zero
/// elsewhere.
void quantize_row(const float* x, int64_t k, int8_t* q, float* scale, float* outliers) {
  float sum = 0;
  for (int64_t i = 0; i < k; i += kActivationBlock) sum += std::abs(*largest(x + i));
  const float limit = kOutlier * sum / static_cast<float>(k / kActivationBlock);
  std::fill_n(outliers, k, 0.0f);
  for (int64_t b = 0, i = 0; i < k; ++b, i += kActivationBlock) {
    float rest[kActivationBlock];
    std::copy_n(x + i, kActivationBlock, rest);
    for (int taken = 0; taken < kMostOutliers; ++taken) {
      const int64_t at = largest(rest) - rest;
      if (!(std::abs(rest[at]) > limit)) break;
      outliers[i + at] = std::exchange(rest[at], 0.0f);
    }
    scale[b] = quantize_activations(rest, q + i);
  }
}

void run_int8(const Linear::Desc& d, const Linear::Args& a, ThreadPool& pool, std::byte* workspace) {
  Workspace scratch(workspace);
  const int64_t rows = a.x.rows, blocks = d.k / kActivationBlock, groups = d.k / kGroup;
  auto* x = scratch.take<int8_t>(rows * d.k);
  auto* x_scale = scratch.take<float>(rows * blocks);
  auto* outliers = scratch.take<float>(rows * d.k);
  auto* code = scratch.take<int8_t>(d.k * pool.threads());
  auto* scale = scratch.take<float>(groups * pool.threads());
  auto* min = scratch.take<float>(groups * pool.threads());
  for (int64_t m = 0; m < rows; ++m) {
    quantize_row(a.x.f32(m), d.k, x + m * d.k, x_scale + m * blocks, outliers + m * d.k);
  }
  pool.parallel_for(d.n, 16, [&](int64_t begin, int64_t end, int worker) {
    const CodedRow w{code + worker * d.k, scale + worker * groups, min + worker * groups};
    for (int64_t n = begin; n < end; ++n) {
      take_apart(d, plain_row(d, a.weight, n), w);
      for (int64_t m = 0; m < rows; ++m) {
        double sum = d.bias ? a.bias[n] : 0;
        for (int64_t g = 0; g < groups; ++g) {
          int32_t dot = 0, total = 0;
          for (int64_t i = g * kGroup; i < (g + 1) * kGroup; ++i) {
            dot += w.code[i] * x[m * d.k + i];
            total += x[m * d.k + i];
            sum += (double{w.scale[g]} * w.code[i] + w.min[g]) * outliers[m * d.k + i];
          }
          sum += (double{w.scale[g]} * dot + double{w.min[g]} * total) *
                 x_scale[m * blocks + g * kGroup / kActivationBlock];
        }
        a.y.f32(m)[n] = static_cast<float>(sum);
      }
    }
  });
}

}  // namespace

float quantize_activations(const float* x, int8_t* q) {
  float top = 0;
  bool finite = true;
  for (int64_t i = 0; i < kActivationBlock; ++i) {
    top = std::max(top, std::abs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  const bool zero = !finite || top < kTinyActivation;
  const float inverse = zero ? 0.0f : 127.0f / top;
  for (int64_t i = 0; i < kActivationBlock; ++i)
    q[i] = zero ? 0 : static_cast<int8_t>(std::nearbyint(x[i] * inverse));
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  return zero ? 0.0f : top / 127.0f;
}

std::string linear_refuses(const Linear::Desc& d) {
  if (d.k % info(d.weight).block_elems != 0) return "k is not a multiple of the weight type's block";
  if (d.activations == ops::Activations::int8 && !is_block_type(d.weight))
    return "int8 activations are for quantised weights";
  if (d.activations == ops::Activations::bf16 && d.weight != DType::bf16)
    return "bf16 activations are for bf16 weights";
  if (d.activations == ops::Activations::f16 && d.weight != DType::f16)
    return "f16 activations are for f16 weights";
  if (d.gate && d.activations == ops::Activations::int8) return "a gate is not for int8 activations";
  return {};
}

uint64_t linear_workspace_bytes(const Linear::Desc& d, int64_t max_rows, int threads) {
  if (d.activations != ops::Activations::int8) return scratch_bytes<float>(d.k * threads);
  const int64_t blocks = d.k / kActivationBlock, groups = d.k / kGroup;
  return scratch_bytes<int8_t>(max_rows * d.k) + scratch_bytes<float>(max_rows * blocks) +
         scratch_bytes<float>(max_rows * d.k) + scratch_bytes<int8_t>(d.k * threads) +
         2 * scratch_bytes<float>(groups * threads);
}

void run_linear(const Linear::Desc& d, const Linear::Args& a, ThreadPool& pool, std::byte* workspace) {
  if (d.activations == ops::Activations::int8) return run_int8(d, a, pool, workspace);
  run_float(d, a, pool, workspace);
}

ops::Kernel<Linear> linear() {
  return {.name = "cpu.linear.reference",
          .refuses = linear_refuses,
          .seconds = [](const Linear::Desc& d,
                        int64_t rows) { return roofline_seconds(Linear::cost(d, rows), kReferenceRates); },
          .run = [](const Linear::Desc& d, const Linear::Args& a,
                    const ops::Launch& launch) { run_linear(d, a, pool_of(launch), launch.workspace); },
          .workspace_bytes = linear_workspace_bytes,
          .layout = &ops::plain_layout()};
}

}  // namespace sluice::cpu::reference
