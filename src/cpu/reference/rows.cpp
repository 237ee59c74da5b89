// Ops that treat each element or each row by itself: embed, activation, gather_rows, scale_softcap,
// sample.
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/reference/reference.h"

namespace sluice::cpu::reference {
namespace {

template <typename Desc>
std::string accepts_any(const Desc&) {
  return {};
}

/// seconds() of an op whose cost depends on the desc and the number of rows.
template <typename Op>
double seconds(const typename Op::Desc& d, int64_t rows) {
  return roofline_seconds(Op::cost(d, rows), kReferenceRates);
}

void run_embed(const ops::Embed::Desc& d, const ops::Embed::Args& a, const ops::Launch&) {
  for (int64_t t = 0; t < a.y.rows; ++t) {
    SLUICE_CHECK(a.ids[t] >= 0 && a.ids[t] < d.vocab, "token {} of a vocabulary of {}", a.ids[t], d.vocab);
    float* y = a.y.f32(t);
    ops::plain_layout().unpack_row(d.weight, d.vocab, d.hidden, a.weight, a.ids[t], y);
    for (int64_t i = 0; i < d.hidden; ++i) y[i] *= d.scale;
    if (d.positions == 0) continue;
    const int64_t position = a.positions[t] + d.position_offset;
    SLUICE_CHECK(position >= 0 && position < d.positions, "position {} of {}", position, d.positions);
    for (int64_t i = 0; i < d.hidden; ++i) y[i] += a.position_table[position * d.hidden + i];
  }
}

void run_activation(const ops::Activation::Desc& d, const ops::Activation::Args& a,
                    const ops::Launch& launch) {
  pool_of(launch).parallel_for(a.y.rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* x = a.x.f32(t);
      float* y = a.y.f32(t);
      for (int64_t i = 0; i < d.dim; ++i) y[i] = activate(d.kind, x[i]) * (d.gated ? x[d.dim + i] : 1.0f);
    }
  });
}

void run_gather_rows(const ops::GatherRows::Desc& d, const ops::GatherRows::Args& a, const ops::Launch&) {
  for (int64_t i = 0; i < a.y.rows; ++i) {
    SLUICE_CHECK(a.rows[i] >= 0 && a.rows[i] < a.x.rows, "row {} of {}", a.rows[i], a.x.rows);
    std::memcpy(a.y.f32(i), a.x.f32(a.rows[i]), static_cast<size_t>(d.dim) * sizeof(float));
  }
}

void run_scale_softcap(const ops::ScaleSoftcap::Desc& d, const ops::ScaleSoftcap::Args& a,
                       const ops::Launch&) {
  for (int64_t t = 0; t < a.x.rows; ++t) {
    float* x = a.x.f32(t);
    for (int64_t i = 0; i < d.dim; ++i) {
      x[i] *= d.scale;
      if (d.softcap > 0) x[i] = d.softcap * std::tanh(x[i] / d.softcap);
    }
  }
}

/// What the past of a sequence makes of its logits.
std::span<const float> reshaped(const ops::Sample::Desc& d, const ops::Sample::Args& a,
                                const ops::Choice& choice, std::span<const float> logits,
                                std::vector<float>& out) {
  if (choice.slot < 0) return logits;
  out.assign(logits.begin(), logits.end());
  const ops::Seen* seen = a.seen + choice.slot * d.dim;
  for (size_t id = 0; id < out.size(); ++id) out[id] = ops::penalised(out[id], seen[id], choice);
  const ops::Bias* biases = a.biases + choice.slot * ops::kMostBiases;
  for (const ops::Bias& bias : std::span(biases, static_cast<size_t>(choice.biases))) {
    if (bias.id < a.limit) out[static_cast<size_t>(bias.id)] += bias.value;
  }
  return out;
}

void run_sample(const ops::Sample::Desc& d, const ops::Sample::Args& a, const ops::Launch&) {
  ops::Candidates kept;
  std::vector<float> changed;
  for (int64_t i = 0; i < a.count; ++i) {
    const ops::Choice& choice = a.choices[i];
    const int64_t row = choice.row - a.first_row;
    a.out[i] = -1;
    if (row < 0 || row >= a.x.rows) continue;
    const std::span<const float> own(a.x.f32(row), static_cast<size_t>(a.limit));
    ops::Largest largest = ops::largest_logit(own);
    if (largest.place < 0) continue;
    const std::span<const float> logits = reshaped(d, a, choice, own, changed);
    largest = ops::largest_logit(logits);
    int32_t token = largest.place;
    if (token < 0) continue;
    if (choice.temperature > 0) {
      const double sum = ops::candidates(logits, largest.value, choice, kept);
      token = ops::token_at(kept, sum, choice.place);
    }
    a.out[i] = token;
    if (choice.slot >= 0) ++a.seen[choice.slot * d.dim + token];
    if (choice.logprobs >= 0) a.logprobs[i] = ops::logprobs_of(own, token, choice.logprobs);
  }
}

}  // namespace

float activate(ops::ActivationKind kind, float x) {
  switch (kind) {
    case ops::ActivationKind::silu:
      return x / (1.0f + std::exp(-x));
    case ops::ActivationKind::gelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f));
    case ops::ActivationKind::gelu_tanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case ops::ActivationKind::relu:
      return x > 0 || std::isnan(x) ? x : 0.0f;
    case ops::ActivationKind::relu2:
      return x > 0 || std::isnan(x) ? x * x : 0.0f;
  }
  SLUICE_CHECK(false, "activation {}", static_cast<int>(kind));
}

ops::Kernel<ops::Embed> embed() {
  return {.name = "cpu.embed.reference",
          .refuses = accepts_any<ops::Embed::Desc>,
          .seconds = seconds<ops::Embed>,
          .run = run_embed,
          .layout = &ops::plain_layout()};
}
ops::Kernel<ops::Activation> activation() {
  return {.name = "cpu.activation.reference",
          .refuses = accepts_any<ops::Activation::Desc>,
          .seconds = seconds<ops::Activation>,
          .run = run_activation};
}
ops::Kernel<ops::GatherRows> gather_rows() {
  return {.name = "cpu.gather_rows.reference",
          .refuses = accepts_any<ops::GatherRows::Desc>,
          .seconds = seconds<ops::GatherRows>,
          .run = run_gather_rows};
}
ops::Kernel<ops::ScaleSoftcap> scale_softcap() {
  return {.name = "cpu.scale_softcap.reference",
          .refuses = accepts_any<ops::ScaleSoftcap::Desc>,
          .seconds = seconds<ops::ScaleSoftcap>,
          .run = run_scale_softcap};
}

ops::Kernel<ops::Sample> sample() {
  return {.name = "cpu.sample.reference",
          .refuses = accepts_any<ops::Sample::Desc>,
          .seconds = seconds<ops::Sample>,
          .run = run_sample};
}

}  // namespace sluice::cpu::reference
