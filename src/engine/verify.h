// Does this engine compute what the reference implementation computed? The proof of a conversion, for every
// user.
#pragma once

#include <string>
#include <vector>

#include "engine/core.h"

namespace sluice::engine {

struct VerifyOptions {
  double tolerance = 1e-3;  // largest |difference| of a logit
  bool by_distribution =
      false;              // judge by KL divergence and top-1 agreement instead: for quantised arithmetic
  double max_kl = 0.05;   // nats, mean over positions
  double min_top1 = 0.9;  // share of positions
  double margin = 1e-3;   // greedy tokens are compared up to the first step that was closer than this
};

struct PromptReport {
  std::string name;  // "prompt_1"
  int64_t tokens = 0;
  double max_logit_difference = 0;
  double kl = 0;    // mean over positions, KL(reference || ours), nats
  double top1 = 0;  // share of positions with the same most likely token
  int64_t greedy_compared = 0;
  int64_t greedy_equal = 0;  // leading tokens that agree
  bool passed = false;
};

struct VerifyReport {
  std::vector<PromptReport> prompts;
  bool passed = false;
  int64_t first_departing_layer =
      -1;  // whose output is the first to depart; 0 stands for the embedding; -1: none found
};

/// Runs the prompts of a reference file: `prompt_i.input_ids`, `.logits`, `.greedy`, `.greedy_margin`, and
/// where there are any `.hidden_k` and `.last_layer_output`; all but the ids may carry `prefix` ("Q4_0.") in
/// front. Refuses a file without prompts, or one that another model made, naming the tensor.
Result<VerifyReport> verify(Core& core, const std::string& reference_path, const std::string& prefix,
                            const VerifyOptions& options);

}  // namespace sluice::engine
