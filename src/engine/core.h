// The engine without its thread: scheduler, executor and the requests between them. One step at a time, by
// one caller.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "engine/executor.h"
#include "engine/null_executor.h"
#include "sched/prefill_pacer.h"
#include "sched/scheduler.h"
#include "sluice/sampling.h"

namespace sluice::engine {

/// A request as the core runs it: tokens only.
struct CoreRequest {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int priority = 0;
  std::string salt;  // requests share prefixes only with equal salts
  /// What the output must match, compiled; Service compiles sampling.structured_output where this is missing.
  std::shared_ptr<const sampling::Constraint> constraint;
  std::shared_ptr<const sampling::BadWords> bad_words;  // as tokens; likewise, of sampling.bad_words
  /// Logits of every prompt position are wanted; given to on_logits, in order of positions.
  bool prompt_logits = false;
  std::function<void(int position, std::span<const float> logits)> on_logits;
};

using RequestId = uint64_t;

/// One thing that happened to a request. The last one, and no other, has `finish`.
struct CoreEvent {
  RequestId id = 0;
  int32_t token = -1;  // -1: none
  std::optional<sampling::TokenLogprobs> logprobs;
  std::optional<sched::FinishReason> finish;
  Status error;
};

struct CoreOptions {
  int max_waiting = 1 << 20;  // requests that wait for their first step; more are resource_exhausted
  double max_tpot = 0;  // seconds between tokens that prefills leave to running sequences; 0: no promise
  /// Not empty: compute nothing, give these tokens in turn (NullExecutor). The model needs no memory then.
  std::vector<int32_t> null_tokens;
  double null_step = 0;  // seconds that a step takes then
};

/// One step, as it went.
struct StepReport {
  uint64_t step = 0;
  int decodes = 0;   // sequences that wrote a token
  int prefills = 0;  // and that read some of their prompt,
  int prefill_tokens = 0;
  double seconds = 0;
};

/// A request's way to its first token.
struct Admission {
  std::chrono::steady_clock::time_point added, scheduled;  // queued; first planned into a step
  int cached_tokens = 0;                                   // of the prompt, found in the prefix cache
};

class Core {
 public:
  using Clock = std::chrono::steady_clock;

  /// `vocab_limit`: ids from there on are padding, never sampled; 0: the whole vocabulary.
  static Result<std::unique_ptr<Core>> create(std::unique_ptr<LoadedModel> model, int32_t vocab_limit = 0,
                                              std::vector<int32_t> eos = {}, CoreOptions options = {});

  LoadedModel& model() { return *model_; }
  /// Not of a core that computes nothing.
  Executor& executor();
  const sched::Scheduler& scheduler() const { return scheduler_; }
  const std::vector<int32_t>& eos() const { return scheduler_.config().eos_tokens; }

  /// Checks and queues; every value that a client controls is range-checked here.
  Result<RequestId> add(CoreRequest request);
  /// Ends a request now; its last event is not delivered. False if it has ended.
  bool finish(RequestId id, sched::FinishReason reason);

  bool busy() const { return !requests_.empty(); }
  /// Plans, runs and commits one step; appends what happened. False if there was nothing to do.
  bool step(std::vector<CoreEvent>& events);
  /// The step that step() ran last.
  const StepReport& last_step() const { return report_; }
  /// Of a request that has not ended, or whose end is among the events of the last step.
  const Admission& admission(RequestId id) const;

 private:
  struct Running {
    CoreRequest request;
    RequestId id = 0;
    size_t num_prompt = 0;
    std::vector<int32_t> tokens;  // prompt and outputs
    std::unique_ptr<sampling::Sampler> sampler;
    SequenceContext context;
  };

  struct Launched {
    StepReport report;
    Clock::time_point start;
  };

  Core(std::unique_ptr<LoadedModel> model, sched::Scheduler scheduler, int32_t vocab_limit,
       const CoreOptions& options);
  Status schedule(Running& running);
  /// Plans and launches a step; false if there is nothing to do.
  bool launch_next();
  size_t in_flight() const;
  /// Waits for the oldest step in flight and commits it.
  void collect(std::vector<CoreEvent>& events);
  void commit(const sched::StepResult& result, std::vector<CoreEvent>& events);
  SequenceContext* context_of(sched::SequenceId id);
  bool outgrew_rope(const Running& running) const;
  Status restart_on_long_rope(sched::SequenceId sequence);

  std::unique_ptr<LoadedModel> model_;
  sched::Scheduler scheduler_;
  std::optional<Executor> executor_;
  std::optional<NullExecutor> null_;
  sched::PrefillPacer pacer_;
  std::deque<Launched> launched_;  // steps in flight
  Clock::time_point collected_;    // when the last step was
  StepReport report_;
  int32_t vocab_limit_;
  int64_t rope_switch_ = 0;  // tokens beyond which long rope frequencies apply; 0: never
  RequestId last_id_ = 0;
  std::map<sched::SequenceId, Running> requests_;
  std::map<RequestId, sched::SequenceId> sequence_of_;
  std::map<RequestId, Admission> admissions_;
  std::vector<RequestId> ended_;  // in the last step
};

}  // namespace sluice::engine
