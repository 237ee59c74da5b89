// An executor that computes nothing: tokens at no cost, to see what everything around the model can carry.
#pragma once

#include <optional>
#include <vector>

#include "engine/executor.h"

namespace sluice::engine {

class NullExecutor {
 public:
  /// Gives the tokens of `cycle`, which must not be empty, by their position in the sequence.
  NullExecutor(std::vector<int32_t> cycle, int64_t vocab)
      : cycle_(std::move(cycle)), logits_(static_cast<size_t>(vocab)) {}

  /// As of Executor; a step is done when launch() returns. Logits, where they are asked for, are 0 but for
  /// the token that follows.
  void launch(const sched::StepPlan& plan, const Executor::ContextOf& context_of, int32_t vocab_limit);
  sched::StepResult collect();
  size_t in_flight() const { return result_ ? 1 : 0; }

 private:
  sched::StepResult run(const sched::StepPlan& plan, const Executor::ContextOf& context_of,
                        int32_t vocab_limit);

  std::vector<int32_t> cycle_;
  std::vector<float> logits_;  // (vocab)
  std::optional<sched::StepResult> result_;
};

}  // namespace sluice::engine
