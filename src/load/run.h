// Sends a workload to a server and watches the replies: one thread, a coroutine for each request under way.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "load/protocol.h"
#include "load/statistics.h"
#include "load/target.h"

namespace sluice::load {

struct RunOptions {
  Target target;
  std::string endpoint;  // path, below the target's prefix
  Headers headers;       // in addition
  RequestOptions request;
  size_t num_prompts = 1000;
  size_t first_prompt = 0;  // of the workload
  double request_rate = std::numeric_limits<double>::infinity();
  double burstiness = 1;
  size_t max_concurrency = 0;  // 0: as many as there are prompts
  double timeout = 600;        // seconds for a request
  uint64_t seed = 0;
  std::function<bool()> stop;                  // asked ten times a second
  std::function<void(size_t ended)> progress;  // as often
};

struct RunResult {
  std::vector<Outcome> outcomes;  // of the requests that ended
  size_t unfinished = 0;          // and those that stop() cut off
  double seconds = 0;             // from the first request to the last end
};

/// Fails when the server cannot be reached; what befalls single requests is in their outcomes.
Result<RunResult> run(const RunOptions& options, const Workload& workload);

/// The id of the first model that the server lists; empty where it lists none.
Result<std::string> first_model(const RunOptions& options);

}  // namespace sluice::load
