#include <cmath>

#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/reference/norm.h"
#include "cpu/reference/reference.h"
#include "cpu/workspace.h"

namespace sluice::cpu::reference {

void normalise(ops::NormKind kind, int64_t n, float eps, const float* x, const float* weight,
               const float* bias, float* y) {
  double mean = 0;
  if (kind == ops::NormKind::layer) {
    for (int64_t i = 0; i < n; ++i) mean += x[i];
    mean /= static_cast<double>(n);
  }
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double factor =
      kind == ops::NormKind::none ? 1 : 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) {
    const float unit = static_cast<float>((x[i] - mean) * factor);
    y[i] = unit * (weight != nullptr ? weight[i] : 1.0f) + (bias != nullptr ? bias[i] : 0.0f);
  }
}

namespace {

void run_add_norm(const ops::AddNorm::Desc& d, const ops::AddNorm::Args& a, const ops::Launch& launch) {
  float* scratch = Workspace(launch.workspace).take<float>(d.dim * pool_of(launch).threads());
  pool_of(launch).parallel_for(a.h.rows, 1, [&](int64_t begin, int64_t end, int worker) {
    float* addend = scratch + worker * d.dim;
    for (int64_t t = begin; t < end; ++t) {
      float* h = a.h.f32(t);
      if (d.branch) {
        normalise(d.branch_norm, d.dim, d.eps, a.branch.f32(t), a.branch_weight, a.branch_bias, addend);
        for (int64_t i = 0; i < d.dim; ++i) h[i] += d.multiplier * addend[i];
      }
      if (d.output) normalise(d.output_norm, d.dim, d.eps, h, a.output_weight, a.output_bias, a.y.f32(t));
    }
  });
}

}  // namespace

ops::Kernel<ops::AddNorm> add_norm() {
  return {
      .name = "cpu.add_norm.reference",
      .refuses = [](const ops::AddNorm::Desc&) { return std::string(); },
      .seconds = [](const ops::AddNorm::Desc& d,
                    int64_t rows) { return roofline_seconds(ops::AddNorm::cost(d, rows), kReferenceRates); },
      .run = run_add_norm,
      .workspace_bytes = [](const ops::AddNorm::Desc& d, int64_t,
                            int threads) { return scratch_bytes<float>(d.dim * threads); }};
}

}  // namespace sluice::cpu::reference
