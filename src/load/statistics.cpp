#include "load/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace sluice::load {
namespace {

constexpr size_t kPieces = 120;  // of a timeline

Distribution distribution_of(std::span<const float> sorted, std::span<const double> percentiles) {
  Distribution out;
  for (const double p : percentiles)
    out.percentiles.emplace_back(p, sorted.empty() ? 0 : percentile(sorted, p));
  if (sorted.empty()) return out;
  const auto n = static_cast<double>(sorted.size());
  out.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / n;
  out.median = percentile(sorted, 50);
  double squares = 0;
  for (const float v : sorted) squares += (v - out.mean) * (v - out.mean);
  out.stddev = std::sqrt(squares / n);
  return out;
}

// A request's own value; of its gaps, the mean.
std::optional<double> value_of(const Outcome& o, Measure measure) {
  switch (measure) {
    case Measure::ttft:
      return o.first;
    case Measure::tpot:
      return o.per_token();
    case Measure::itl:
      if (o.gaps.empty()) return std::nullopt;
      return std::accumulate(o.gaps.begin(), o.gaps.end(), 0.0) / static_cast<double>(o.gaps.size());
    case Measure::e2el:
      return o.latency;
  }
  return std::nullopt;
}

bool keeps(const Outcome& o, const Objectives& objectives) {
  return std::all_of(objectives.begin(), objectives.end(), [&](const auto& objective) {
    const auto value = value_of(o, objective.first);
    return !value || 1e3 * *value <= objective.second;
  });
}

int most_at_once(std::span<const Outcome> outcomes) {
  std::vector<std::pair<double, int>> changes;
  for (const Outcome& o : outcomes) {
    changes.emplace_back(o.sent, 1);
    changes.emplace_back(o.sent + o.latency, -1);
  }
  std::sort(changes.begin(), changes.end());
  int now = 0, most = 0;
  for (const auto& change : changes) most = std::max(most, now += change.second);
  return most;
}

Timeline timeline_of(std::span<const Outcome> outcomes, double duration) {
  Timeline out;
  if (duration <= 0) return out;
  out.bucket = duration / kPieces;
  out.tokens_per_second.resize(kPieces);
  out.concurrent_requests.resize(kPieces);
  const auto piece = [&](double time) {
    return std::min(static_cast<size_t>(std::max(time, 0.0) / out.bucket), kPieces - 1);
  };
  for (const Outcome& o : outcomes) {
    const size_t begin = piece(o.sent), end = piece(o.sent + o.latency);
    for (size_t i = begin; i <= end; ++i) out.concurrent_requests[i] += 1;
    // A chunk may hold several tokens: they are spread over the request's chunks.
    const double weight = o.output_tokens / static_cast<double>(o.gaps.size() + 1) / out.bucket;
    double time = o.sent + o.first;
    out.tokens_per_second[piece(time)] += weight;
    for (const float gap : o.gaps) out.tokens_per_second[piece(time += gap)] += weight;
  }
  return out;
}

}  // namespace

std::optional<double> Outcome::per_token() const {
  if (output_tokens < 2) return std::nullopt;
  return (latency - first) / (output_tokens - 1);
}

std::string_view title(Measure measure) {
  static constexpr std::array<std::string_view, kMeasures.size()> kTitles = {
      "Time to first token", "Time per output token", "Between two chunks", "End to end"};
  return kTitles[static_cast<size_t>(measure)];
}

double percentile(std::span<const float> sorted, double percent) {
  SLUICE_CHECK(!sorted.empty(), "no values");
  const double at = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

std::vector<float> values_of(std::span<const Outcome> outcomes, Measure measure) {
  std::vector<float> out;
  for (const Outcome& o : outcomes) {
    if (!o.ok()) continue;
    if (measure == Measure::itl) {
      for (const float gap : o.gaps) out.push_back(1e3f * gap);
    } else if (const auto value = value_of(o, measure)) {
      out.push_back(static_cast<float>(1e3 * *value));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

Summary summarize(std::span<const Outcome> outcomes, double duration, std::span<const double> percentiles,
                  const Objectives& objectives) {
  Summary out;
  out.duration = duration;
  out.max_concurrent = most_at_once(outcomes);
  out.timeline = timeline_of(outcomes, duration);
  if (!objectives.empty()) out.good = 0;
  for (const Outcome& o : outcomes) {
    if (!o.ok()) {
      ++out.failed;
      Failure& failure = out.failures[o.failure];
      if (failure.count++ == 0) failure.example = o.detail;
      continue;
    }
    ++out.completed;
    out.input_tokens += o.prompt_tokens;
    out.cached_tokens += o.cached_tokens;
    out.output_tokens += o.output_tokens;
    if (out.good && keeps(o, objectives)) ++*out.good;
  }
  for (const Measure m : kMeasures) {
    out.latencies[static_cast<size_t>(m)] = distribution_of(values_of(outcomes, m), percentiles);
  }
  return out;
}

}  // namespace sluice::load
