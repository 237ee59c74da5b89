// What the requests of a run add up to: latencies, throughput, goodput. No socket and no clock.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sluice::load {

/// What became of one request. Times in seconds.
struct Outcome {
  double sent = 0;          // since the run's beginning
  double first = 0;         // from sending to the first token
  double latency = 0;       // from sending to the end of the reply
  std::vector<float> gaps;  // between chunks that brought something
  int prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::string failure;  // its kind, such as "HTTP 429"; empty: the request was answered
  std::string detail;   // what the server said

  bool ok() const { return failure.empty(); }
  /// Per output token after the first; nothing for one that has no second.
  std::optional<double> per_token() const;
};

enum class Measure { ttft, tpot, itl, e2el };
constexpr auto enum_names(Measure) { return std::array<std::string_view, 4>{"ttft", "tpot", "itl", "e2el"}; }
constexpr std::array kMeasures = {Measure::ttft, Measure::tpot, Measure::itl, Measure::e2el};
/// "Time to first token"
std::string_view title(Measure measure);

/// In milliseconds.
struct Distribution {
  double mean = 0, median = 0, stddev = 0;
  std::vector<std::pair<double, double>> percentiles;  // (which, value)
};

/// The `percent`-th percentile, interpolated between the two nearest values. `sorted` must not be empty.
double percentile(std::span<const float> sorted, double percent);

/// What a request has to keep to count as good. Milliseconds.
using Objectives = std::map<Measure, double>;

struct Failure {
  int count = 0;
  std::string example;
};

/// The run in equal pieces of time.
struct Timeline {
  double bucket = 0;                        // seconds of a piece
  std::vector<double> tokens_per_second;    // (piece)
  std::vector<double> concurrent_requests;  // (piece), under way at some time of it
};

struct Summary {
  double duration = 0;  // seconds
  int completed = 0, failed = 0;
  int max_concurrent = 0;
  int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0;
  std::optional<int> good;  // requests that kept the objectives, where there are any
  std::array<Distribution, kMeasures.size()> latencies;
  std::map<std::string, Failure> failures;  // by kind
  Timeline timeline;

  double per_second(double count) const { return duration > 0 ? count / duration : 0; }
  const Distribution& of(Measure m) const { return latencies[static_cast<size_t>(m)]; }
};

/// All values of one measure, rising, in milliseconds.
std::vector<float> values_of(std::span<const Outcome> outcomes, Measure measure);

Summary summarize(std::span<const Outcome> outcomes, double duration, std::span<const double> percentiles,
                  const Objectives& objectives);

}  // namespace sluice::load
