#include "engine/null_executor.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"

namespace sluice::engine {

void NullExecutor::launch(const sched::StepPlan& plan, const Executor::ContextOf& context_of,
                          int32_t vocab_limit) {
  SLUICE_CHECK(!result_, "step {} is in flight", result_->step);
  launched_ = Clock::now();
  try {
    result_ = run(plan, context_of, vocab_limit);
  } catch (const std::exception& e) {
    result_ = {plan.step, internal_error("step {} failed: {}", plan.step, e.what()), {}};
  }
}

sched::StepResult NullExecutor::collect() {
  SLUICE_CHECK(result_, "no step was launched");
  if (step_time_ > Clock::duration::zero()) std::this_thread::sleep_until(launched_ + step_time_);
  return *std::exchange(result_, std::nullopt);
}

sched::StepResult NullExecutor::run(const sched::StepPlan& plan, const Executor::ContextOf& context_of,
                                    int32_t vocab_limit) {
  sched::StepResult result;
  result.step = plan.step;
  result.entries.resize(plan.entries.size());
  for (size_t e = 0; e < plan.entries.size(); ++e) {
    const sched::StepEntry& entry = plan.entries[e];
    SequenceContext& context = *context_of(entry.id);
    const auto next_of = [&](int position) { return cycle_[static_cast<size_t>(position) % cycle_.size()]; };
    const auto fill_logits = [&](int position) {
      std::fill(logits_.begin(), logits_.end(), 0.0f);
      logits_[static_cast<size_t>(next_of(position))] = 10;
    };
    if (context.on_logits) {
      for (int position = entry.end() - entry.num_logits; position < entry.end(); ++position) {
        fill_logits(position);
        context.on_logits(position, logits_);
      }
    }
    if (!entry.sample) continue;
    result.entries[e].token = next_of(entry.end() - 1);
    if (!context.sampler->needs_logits()) continue;
    fill_logits(entry.end() - 1);
    auto sample = context.sampler->choose(logits_, vocab_limit);
    result.entries[e].status = sample.status();
    if (!sample.ok()) continue;
    result.entries[e].token = sample->token;
    if (sample->logprobs) context.logprobs.push_back(*std::move(sample->logprobs));
  }
  return result;
}

}  // namespace sluice::engine
