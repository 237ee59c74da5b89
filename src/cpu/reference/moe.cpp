#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/reference/linear.h"
#include "cpu/reference/reference.h"
#include "cpu/workspace.h"

namespace sluice::cpu::reference {
namespace {

using ops::MoeMlp;
using ops::Route;

/// The k largest of value(0..experts) in falling order, the lower expert first among equals.
template <typename Value>
void pick_top(int64_t experts, int64_t k, const Value& value, int32_t* picked) {
  for (int64_t j = 0; j < k; ++j) {
    picked[j] = -1;
    for (int32_t e = 0; e < experts; ++e) {
      if (std::find(picked, picked + j, e) != picked + j) continue;
      if (picked[j] < 0 || value(e) > value(picked[j])) picked[j] = e;
    }
  }
}

void route_token(const Route::Desc& d, const float* logits, const float* bias, int32_t* experts,
                 float* weights) {
  const auto bias_of = [&](int32_t e) { return d.selection_bias ? bias[e] : 0.0f; };
  const auto sigmoid = [](float x) { return 1.0f / (1.0f + std::exp(-x)); };
  const bool softmax = d.score == ops::RouterScore::softmax;

  float top = -INFINITY, total = 0;
  for (int64_t e = 0; e < d.experts; ++e) top = std::max(top, logits[e]);
  for (int64_t e = 0; e < d.experts; ++e) total += std::exp(logits[e] - top);
  const auto score = [&](int32_t e) {
    return softmax ? std::exp(logits[e] - top) / total : sigmoid(logits[e]);
  };

  if (d.score_first) {
    pick_top(
        d.experts, d.k, [&](int32_t e) { return score(e) + bias_of(e); }, experts);
  } else {
    pick_top(
        d.experts, d.k, [&](int32_t e) { return logits[e] + bias_of(e); }, experts);
    total = 0;  // the softmax is over the picked ones
    for (int64_t j = 0; j < d.k; ++j) total += std::exp(logits[experts[j]] - top);
  }
  float sum = 0;
  for (int64_t j = 0; j < d.k; ++j) sum += weights[j] = score(experts[j]);
  for (int64_t j = 0; j < d.k; ++j) weights[j] = (d.renormalise ? weights[j] / sum : weights[j]) * d.scale;
}

void run_route(const Route::Desc& d, const Route::Args& a, const ops::Launch& launch) {
  pool_of(launch).parallel_for(a.logits.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      route_token(d, a.logits.f32(t), a.selection_bias, a.experts.i32(t), a.weights.f32(t));
  });
}

Matrix one_row(float* data, int64_t cols) { return {data, DType::f32, 1, cols, cols}; }

void run_moe(const MoeMlp::Desc& d, const MoeMlp::Args& a, const ops::Launch& launch) {
  ThreadPool& pool = pool_of(launch);
  const ops::Linear::Desc up = d.gate_up_linear(), down = d.down_linear();
  const uint64_t up_bytes = ops::plain_layout().packed_bytes(up.weight, up.n, up.k);
  const uint64_t down_bytes = ops::plain_layout().packed_bytes(down.weight, down.n, down.k);
  Workspace scratch(launch.workspace);
  const Matrix inner = one_row(scratch.take<float>(up.n), up.n);
  const Matrix middle = one_row(scratch.take<float>(d.width), d.width);
  const Matrix outer = one_row(scratch.take<float>(d.hidden), d.hidden);
  auto* linear_scratch = scratch.take<std::byte>(0);

  for (int64_t t = 0; t < a.x.rows; ++t) {
    float* y = a.y.f32(t);
    std::fill(y, y + d.hidden, 0.0f);
    for (int64_t j = 0; j < d.k; ++j) {
      const int32_t e = a.experts.i32(t)[j];
      SLUICE_CHECK(e >= 0 && e < d.experts, "expert {} of {}", e, d.experts);
      const auto expert = static_cast<uint64_t>(e);
      run_linear(up,
                 {.x = one_row(a.x.f32(t), d.hidden), .weight = a.gate_up + expert * up_bytes, .y = inner},
                 pool, linear_scratch);
      for (int64_t i = 0; i < d.width; ++i)
        middle.f32()[i] =
            activate(d.activation, inner.f32()[i]) * (d.gated ? inner.f32()[d.width + i] : 1.0f);
      run_linear(down, {.x = middle, .weight = a.down + expert * down_bytes, .y = outer}, pool,
                 linear_scratch);
      for (int64_t i = 0; i < d.hidden; ++i) y[i] += a.weights.f32(t)[j] * outer.f32()[i];
    }
  }
}

uint64_t moe_workspace_bytes(const MoeMlp::Desc& d, int64_t, int threads) {
  return scratch_bytes<float>(d.gate_up_linear().n) + scratch_bytes<float>(d.width) +
         scratch_bytes<float>(d.hidden) +
         std::max(linear_workspace_bytes(d.gate_up_linear(), 1, threads),
                  linear_workspace_bytes(d.down_linear(), 1, threads));
}

}  // namespace

ops::Kernel<Route> route() {
  return {.name = "cpu.route.reference",
          .refuses = [](const Route::Desc& d) -> std::string {
            return d.k >= 1 && d.k <= d.experts ? "" : "k is not in [1, experts]";
          },
          .seconds = [](const Route::Desc& d,
                        int64_t rows) { return roofline_seconds(Route::cost(d, rows), kReferenceRates); },
          .run = run_route};
}

ops::Kernel<MoeMlp> moe_mlp() {
  return {.name = "cpu.moe_mlp.reference",
          .refuses =
              [](const MoeMlp::Desc& d) {
                const std::string up = linear_refuses(d.gate_up_linear());
                return up.empty() ? linear_refuses(d.down_linear()) : up;
              },
          .seconds = [](const MoeMlp::Desc& d,
                        int64_t rows) { return roofline_seconds(MoeMlp::cost(d, rows), kReferenceRates); },
          .run = run_moe,
          .workspace_bytes = moe_workspace_bytes,
          .layout = &ops::plain_layout()};
}

}  // namespace sluice::cpu::reference
