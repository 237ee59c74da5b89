// Who runs next, with how many tokens, on which pages.
//
//   phase    from → to                              rule
//   add      Request → waiting Sequence             refused at once if it can never fit, or if the queue is
//   full plan     Sequences → StepPlan                   decodes first, then prefill chunks under the token
//   budget (run     StepPlan → StepResult                  by an executor; see the contract in step.h) commit
//   StepResult → Sequences, Updates        tokens appended, full pages published, ends found finish Sequence
//   → gone                        at any moment; its share of steps in flight is ignored
//
// plan() decides from lengths alone, so up to `max_in_flight_steps` steps may be planned before the first of
// them is committed: with 1 host and device alternate (CPU), with 2 the host prepares step n+1 while the
// device runs step n. A stop token is then seen one step late, and the extra step's share for that sequence
// is thrown away.
//
// Order (rank): protected sequences, then higher priority, then earlier arrival. When pages run out, the
// lowest in rank gives its pages up and is recomputed later, mostly from the prefix cache. The highest in
// rank can take everything, and everything admitted fits alone, so some sequence always moves; one that was
// preempted or passed over too often becomes protected, so each one gets there.
//
// Scheduler and books hold no device, no lock and no clock; one thread owns them.
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <memory>

#include "sched/step.h"

namespace sluice::sched {

struct SchedulerConfig {
  int max_num_seqs = 64;           // running at once; slots
  int max_batched_tokens = 2048;   // token budget of a step, at least max_num_seqs
  int mixed_prefill_tokens = 512;  // of these, at most so many for prefill while others decode
  int max_model_len = 4096;        // prompt and outputs of one sequence, tokens
  int max_waiting = 1024;          // queue bound; preempted sequences return to it regardless
  int max_in_flight_steps = 1;
  bool preemption = true;  // false: admit only what fits to its very end beside all that run
  int protect_after_preemptions = 3;
  int protect_after_waiting_steps = 5000;
  std::vector<int32_t> eos_tokens;  // the model's own

  /// invalid_argument naming the field and its bound.
  Status check() const;
};

/// Running totals since the start, and the state now.
struct Counts {
  int waiting = 0, running = 0, in_flight_steps = 0;
  uint64_t added = 0, stopped = 0, reached_length = 0, cancelled = 0, failed = 0;
  uint64_t preemptions = 0;
  uint64_t steps = 0;
  uint64_t prefix_hit_tokens = 0;   // at each admission: found in the cache,
  uint64_t prefix_miss_tokens = 0;  // or to be computed
};

class Scheduler {
 public:
  static Result<Scheduler> create(SchedulerConfig config, kv::Layout layout);

  /// Queues a request. invalid_argument: empty, or longer than can ever fit (with the numbers);
  /// resource_exhausted: the queue is full.
  Result<SequenceId> add(Request request);

  /// The next step; empty if nothing can run now. Fewer than max_in_flight_steps may be in flight.
  /// `prefill_token_limit` bounds this step's prefill tokens if it also decodes: how the engine keeps a
  /// promised inter-token time.
  StepPlan plan(int prefill_token_limit = std::numeric_limits<int>::max());

  /// Takes in the result of the oldest step in flight; CheckFailure, with nothing changed, if it is not that
  /// step's.
  std::vector<Update> commit(const StepResult& result);

  /// Ends a sequence now and frees its pages. False if it has ended before.
  bool finish(SequenceId id, FinishReason reason);
  bool cancel(SequenceId id) { return finish(id, FinishReason::cancelled); }

  /// The sequence, or nullptr once it has ended. Valid until the next call that changes the scheduler.
  const Sequence* find(SequenceId id) const;

  bool has_sequences() const { return !sequences_.empty(); }
  int num_in_flight() const { return static_cast<int>(flights_.size()); }
  /// The largest prompt + max_tokens that add() accepts.
  int max_total_tokens() const;
  Counts counts() const;

  const SchedulerConfig& config() const { return config_; }
  const kv::Books& books() const { return books_; }
  /// Forgets cached prefixes that no sequence uses.
  void drop_prefix_cache() { books_.drop_cache(); }

  /// Every broken invariant of scheduler and books, one sentence each; empty when all is well (invariants.h).
  std::vector<std::string> validate() const;

 private:
  struct Draft;  // the step that plan() is making
  struct Flight {
    uint64_t step;
    std::vector<StepEntry> entries;
  };

  Scheduler(SchedulerConfig config, kv::Layout layout);

  void protect_longest_waiting();
  void plan_decodes(Draft& draft);
  void plan_prefills(Draft& draft);
  void admit_waiting(Draft& draft);
  bool admit(Sequence& sequence, Draft& draft);
  bool fits_to_the_end(const Sequence& sequence) const;
  int make_room(Sequence& sequence, int count, Draft& draft);
  bool preempt_for(const Sequence& sequence, Draft& draft);
  StepPlan seal(Draft draft);

  Update settle(Sequence& sequence, const StepEntry& entry, const EntryResult& result);
  std::optional<FinishReason> reason_to_end(const Sequence& sequence) const;
  void end(Sequence& sequence, FinishReason reason);
  void leave_slot(Sequence& sequence);
  int adoptable(const Sequence& sequence) const;

  SchedulerConfig config_;
  kv::Books books_;
  std::map<SequenceId, Sequence> sequences_;  // every one that has not ended, by arrival
  std::vector<Sequence*> running_;            // by rank
  std::vector<Sequence*> waiting_;            // by rank
  std::vector<Sequence*> slots_;              // (slot); nullptr: free
  std::deque<Flight> flights_;                // planned and not committed, oldest first
  SequenceId last_id_ = 0;
  Counts totals_;
};

}  // namespace sluice::sched
