// Times every op of the Program while a workload runs.
#pragma once

#include "tools/workload.h"

namespace sluice::tools {

/// One stretch of time: an op of the Program, or a whole step of the engine.
struct TraceSpan {
  int32_t op = -1;  // index into Program::steps; -1: a whole step
  PhaseKind phase = PhaseKind::prefill;
  int64_t begin_ns = 0;  // since the recorder was made
  int64_t duration_ns = 0;
};

class OpRecorder final : public StepWatcher {
 public:
  struct OpTime {
    int64_t calls = 0;
    int64_t nanoseconds = 0;
  };

  /// Observes the executor of `core` from now on, for as long as it lives. `keep_spans`: for a trace.
  OpRecorder(engine::Core& core, bool keep_spans);
  ~OpRecorder() override;
  OpRecorder(const OpRecorder&) = delete;

  void step_begins(PhaseKind kind) override;
  void logits_ready() override;
  void step_ends() override;

  /// (Program::steps)
  const std::vector<OpTime>& times(PhaseKind kind) const { return times_[static_cast<size_t>(kind)]; }
  const std::vector<TraceSpan>& spans() const { return spans_; }

 private:
  using Clock = std::chrono::steady_clock;
  int64_t now() const;
  void op_begins(size_t op);
  void op_ends(int64_t at);

  engine::Core& core_;
  bool keep_spans_;
  Clock::time_point start_ = Clock::now();
  bool in_step_ = false;
  PhaseKind phase_ = PhaseKind::prefill;
  int64_t step_begin_ = 0;
  int32_t op_ = -1;  // that runs; -1: none
  int64_t op_begin_ = 0;
  std::array<std::vector<OpTime>, 2> times_;
  std::vector<TraceSpan> spans_;
};

/// Trace events as Perfetto and chrome://tracing read them: one track for steps, one for ops. Of a device
/// with a clock a second process: its `device_steps` when nobody watches, and the gaps between them.
std::string trace_json(const program::Program& program, std::span<const TraceSpan> spans,
                       std::span<const engine::Executor::StepTime> device_steps);

}  // namespace sluice::tools
