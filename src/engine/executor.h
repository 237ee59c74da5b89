// Runs StepPlans: fills the batch, runs the Program, samples. Holds all that it needs from the start.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "engine/batch_stage.h"
#include "engine/loaded_model.h"
#include "engine/sample_stage.h"
#include "sampling/sampler.h"
#include "sched/step.h"

namespace sluice::engine {

/// What the executor must know of a sequence that the scheduler does not.
struct SequenceContext {
  sampling::Sampler* sampler = nullptr;  // chooses its tokens; owned by the engine
  bool long_rope = false;                // it runs on the rope's long frequencies
  /// Called with the logits of each position for which they were computed, before sampling; may be empty.
  std::function<void(int position, std::span<const float> logits)> on_logits;
  std::deque<sampling::TokenLogprobs> logprobs;  // of tokens that were sampled and not yet taken in, by age
};

class Executor {
 public:
  static Result<Executor> create(LoadedModel& model);

  /// Finds the context of an entry's sequence; null once that has ended.
  using ContextOf = std::function<SequenceContext*(sched::SequenceId)>;
  /// Begins a step. Where the device has memory of its own and leaves the host nothing to choose, the step
  /// runs on when this returns; else it is done. `vocab_limit`: ids from there on are padding and never
  /// sampled.
  void launch(sched::StepPlan plan, const ContextOf& context_of, int32_t vocab_limit);
  /// The result of the oldest step that was launched and not collected; waits for it.
  sched::StepResult collect(const ContextOf& context_of);
  size_t in_flight() const { return results_.size() + running_.size(); }
  /// Whether one step runs on and nothing else waits: another may be launched behind it, on ids that the host
  /// does not know yet.
  bool runs_on() const { return results_.empty() && running_.size() == 1; }

  /// Watches every step of the Program from now on; an empty function stops it.
  void observe(program::Observer observer) { observer_ = std::move(observer); }

  /// From now on notes when the device begins and ends each recorded step, or no longer does. Devices whose
  /// streams have no clock note nothing.
  void note_steps(bool on) { notes_steps_ = on; }
  /// When the device ran a step: seconds since the first one began.
  struct StepTime {
    double begin = 0, end = 0;
  };
  /// Of the steps that were noted, in order, when they are done; forgets them.
  std::vector<StepTime> noted_steps();

  /// The numbers of a matrix in the device's memory, row after row, when everything queued is done.
  std::vector<float> read(const Matrix& m);

 private:
  explicit Executor(LoadedModel& model) : model_(&model) {}

  /// The step under way.
  struct Step {
    const sched::StepPlan& plan;
    const ContextOf& context_of;
    int32_t vocab_limit;
    sched::StepResult& result;
    SequenceContext& context(const sched::StepEntry& entry) const;
  };
  struct LogitRow {
    size_t entry;
    int position;
    bool sample;
  };

  /// A step that runs on: the device chooses each entry's token.
  struct Running {
    sched::StepPlan plan;
    size_t turn;  // of stage_, samples_ and fetched_
  };

  sched::StepResult run(const sched::StepPlan& plan, const ContextOf& context_of, int32_t vocab_limit);
  /// What the device is to make of an entry's logits, behind the steps that run on; none where the host
  /// chooses, or nobody.
  std::optional<ops::Choice> choice_on_device(const sched::StepEntry& entry,
                                              const SequenceContext& context) const;
  /// Whether a plan can run on; behind a step that does, its ids are that one's samples.
  bool can_run_on(const sched::StepPlan& plan, const ContextOf& context_of) const;
  bool continues(const sched::StepPlan& plan) const;
  void run_on(const Step& step);
  sched::StepResult finish_oldest(const ContextOf& context_of);
  void drain();

  void fill(const Step& step);
  void compute(const Step& step);
  /// Rows of a recorded decode step that these plans fit in; 0: this plan runs piece by piece.
  int32_t recorded_rows(const sched::StepPlan& plan) const;
  void decode_recorded(const Step& step, int32_t rows);
  /// Queues a decode step of `rows` rows, entries and padding, and the choice of its tokens.
  void queue_recorded(const program::Batch& batch, int32_t rows, int32_t vocab_limit);
  void replay(const device::Recording& work);
  /// What was filled, with rows that only fill it, or as it is.
  program::Batch padded_batch(int32_t rows);
  program::Batch batch();
  /// Samples from logits of rows [first, first + logits.rows) of logit_uses_. `queued`: what the device
  /// chooses is chosen by work already queued.
  void sample(const Step& step, size_t first, const Matrix& logits, bool queued);
  /// Queues the device's choices for entries [begin, end) from logits of rows from `first` on.
  void queue_sample(const Matrix& logits, size_t first, size_t begin, size_t end, int32_t vocab_limit);
  void sample_row(const Step& step, const LogitRow& use, std::span<float> logits);
  /// Whether the choices of the step that was filled last report log-probabilities.
  bool reports(const sched::StepPlan& plan);
  /// Keeps what came of an entry's choice.
  void settle(const sched::StepEntry& entry, SequenceContext& context, Result<sampling::Sample> sample,
              sched::EntryResult& out);

  LoadedModel* model_;
  std::unique_ptr<device::Stream> stream_;
  std::unique_ptr<device::Stream> inputs_;  // brings the batch while stream_ is at the step before
  program::Observer observer_;
  std::optional<BatchStage> stage_;
  std::vector<LogitRow> logit_uses_;

  // Devices with memory of their own choose tokens where the logits and the past are all that it takes; the
  // other rows come to the host.
  const ops::Kernel<ops::Sample>* sample_ = nullptr;
  std::optional<SampleStage> samples_;
  std::array<std::unique_ptr<device::Stream>, 2> fetched_;  // bring ids of steps that run on, in turn
  std::deque<Running> running_;
  std::deque<sched::StepResult> results_;  // of steps before those
  std::vector<int32_t> last_samples_;      // by slot
  struct Recorded {
    int64_t uses = 0;
    int32_t vocab_limit = 0;
    // By turn, from the second use on: the first lets kernels load what they need.
    std::array<std::unique_ptr<device::Recording>, 2> work;
  };
  std::map<int32_t, Recorded> recorded_;  // by rows
  struct Noted {
    std::unique_ptr<device::Mark> begin, end;
    double late = 0;  // seconds that the device waited for the step behind its beginning
  };
  bool notes_steps_ = false;
  std::vector<Noted> noted_;
};

}  // namespace sluice::engine
