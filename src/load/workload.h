// What is asked of the server, and when.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "base/json.h"

namespace sluice::load {

/// One request to come.
struct Job {
  Json prompt;  // a string, or a list of messages
  int output_tokens = 128;
};

/// Gives the i-th request whenever it is asked for it: nothing is kept, and no order matters.
class Workload {
 public:
  virtual ~Workload() = default;
  virtual Job job(size_t i) const = 0;
};

struct RandomOptions {
  int input_len = 1024, output_len = 128;
  double range_ratio = 0;  // lengths lie within this share of the ones above, evenly
  int prefix_len = 0;      // words that every prompt begins with, in addition
  uint64_t seed = 0;
};

/// Prompts of random words, each of which is one token in the vocabularies of common models. How many tokens
/// they are to the server is in its usage.
std::unique_ptr<Workload> random_workload(const RandomOptions& options);

/// The lines of a JSONL file, again from its beginning when there are too few: {"prompt": "..."} or
/// {"messages": [...]}, each with "output_tokens" where it shall not be `output_len`. Messages are refused
/// unless `takes_messages`.
Result<std::unique_ptr<Workload>> dataset_workload(const std::string& path, int output_len,
                                                   bool takes_messages);

/// When requests are due: gaps of a gamma distribution. Burstiness 1 is a Poisson process, less comes in
/// bursts, more is evener; an infinite rate has all of them due at once.
class Arrivals {
 public:
  Arrivals(double requests_per_second, double burstiness, uint64_t seed);
  /// Seconds from the beginning; rises from call to call.
  double next();

 private:
  std::mt19937_64 random_;
  std::gamma_distribution<double> gap_;
  bool at_once_;
  double time_ = 0;
};

}  // namespace sluice::load
