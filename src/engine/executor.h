// Runs StepPlans: fills the batch, runs the Program, samples. Holds all that it needs from the start.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/loaded_model.h"
#include "sampling/sampler.h"
#include "sched/step.h"

namespace sluice::engine {

/// What the executor must know of a sequence that the scheduler does not.
struct SequenceContext {
  sampling::Sampler* sampler = nullptr;  // chooses its tokens; owned by the engine
  bool long_rope = false;                // it runs on the rope's long frequencies
  /// Called with the logits of each position for which they were computed, before sampling; may be empty.
  std::function<void(int position, std::span<const float> logits)> on_logits;
  std::optional<sampling::TokenLogprobs> logprobs;  // of the token sampled last
};

class Executor {
 public:
  explicit Executor(LoadedModel& model);

  /// `context_of` finds the context of each entry's sequence. `vocab_limit`: ids from there on are padding
  /// and never sampled.
  using ContextOf = std::function<SequenceContext&(sched::SequenceId)>;
  sched::StepResult run(const sched::StepPlan& plan, const ContextOf& context_of, int32_t vocab_limit);

  /// Watches every step of the Program from now on; an empty function stops it.
  void observe(program::Observer observer) { observer_ = std::move(observer); }

 private:
  void fill(const sched::StepPlan& plan, const ContextOf& context_of);

  LoadedModel& model_;
  std::unique_ptr<device::Stream> stream_;
  program::Observer observer_;
  std::vector<int32_t> ids_, positions_, rope_variants_, logit_rows_;
  struct LogitRow {
    size_t entry;
    int position;
    bool sample;
  };
  std::vector<LogitRow> logit_uses_;  // (logit_rows_)
  std::vector<ops::SequenceRows> sequences_;
  std::vector<std::vector<int32_t>> pages_;  // (groups): (sequences, table stride)
  std::vector<ops::PageTables> tables_;
  int64_t table_stride_;
};

}  // namespace sluice::engine
