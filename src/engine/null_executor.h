// An executor that computes nothing: tokens at no cost, to see what everything around the model can carry.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "engine/executor.h"

namespace sluice::engine {

class NullExecutor {
 public:
  /// Gives the tokens of `cycle`, which must not be empty, by their position in the sequence. A step takes
  /// `step_seconds`, which are slept.
  NullExecutor(std::vector<int32_t> cycle, int64_t vocab, double step_seconds = 0)
      : cycle_(std::move(cycle)),
        logits_(static_cast<size_t>(vocab)),
        step_time_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(step_seconds))) {
  }

  /// As of Executor. Logits, where they are asked for, are 0 but for
  /// the token that follows.
  void launch(const sched::StepPlan& plan, const Executor::ContextOf& context_of, int32_t vocab_limit);
  sched::StepResult collect();
  size_t in_flight() const { return result_ ? 1 : 0; }

 private:
  using Clock = std::chrono::steady_clock;
  sched::StepResult run(const sched::StepPlan& plan, const Executor::ContextOf& context_of,
                        int32_t vocab_limit);

  std::vector<int32_t> cycle_;
  std::vector<float> logits_;  // (vocab)
  Clock::duration step_time_;
  Clock::time_point launched_;
  std::optional<sched::StepResult> result_;
};

}  // namespace sluice::engine
