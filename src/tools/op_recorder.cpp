#include "tools/op_recorder.h"

namespace sluice::tools {

OpRecorder::OpRecorder(engine::Core& core, bool keep_spans) : core_(core), keep_spans_(keep_spans) {
  for (auto& times : times_) times.resize(core.model().program().steps.size());
  core.executor().observe([this](size_t op) { op_begins(op); });
}

OpRecorder::~OpRecorder() { core_.executor().observe({}); }

int64_t OpRecorder::now() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
}

void OpRecorder::step_begins(PhaseKind kind) {
  in_step_ = true;
  phase_ = kind;
  step_begin_ = now();
}

// An op ends where the next one begins, at the logits, or at the end of the Program.
void OpRecorder::op_begins(size_t op) {
  if (!in_step_) return;
  const int64_t at = now();
  op_ends(at);
  if (op == core_.model().program().steps.size()) return;
  op_ = static_cast<int32_t>(op);
  op_begin_ = at;
}

void OpRecorder::op_ends(int64_t at) {
  if (op_ < 0) return;
  OpTime& time = times_[static_cast<size_t>(phase_)][static_cast<size_t>(op_)];
  ++time.calls;
  time.nanoseconds += at - op_begin_;
  if (keep_spans_) spans_.push_back({op_, phase_, op_begin_, at - op_begin_});
  op_ = -1;
}

void OpRecorder::logits_ready() {
  if (in_step_) op_ends(now());
}

void OpRecorder::step_ends() {
  in_step_ = false;
  if (keep_spans_) spans_.push_back({-1, phase_, step_begin_, now() - step_begin_});
}

namespace {

/// Writes trace events of one process, each with a comma behind it.
class TraceProcess {
 public:
  TraceProcess(std::string& out, int id, std::string_view name) : out_(out), id_(id) {
    out_ += fmt::format(R"({{"ph":"M","pid":{},"name":"process_name","args":{{"name":"{}"}}}},)"
                        "\n",
                        id_, name);
  }
  void track(int track, std::string_view name) {
    out_ += fmt::format(R"({{"ph":"M","pid":{},"tid":{},"name":"thread_name","args":{{"name":"{}"}}}},)"
                        "\n",
                        id_, track, name);
  }
  /// Times in microseconds; `rest` is more fields, each behind a comma.
  void event(int track, std::string_view name, std::string_view category, double begin, double duration,
             std::string_view rest = "") {
    out_ += fmt::format(R"({{"ph":"X","pid":{},"tid":{},"name":"{}","cat":"{}","ts":{:.3f},"dur":{:.3f}{}}},)"
                        "\n",
                        id_, track, name, category, begin, duration, rest);
  }

 private:
  std::string& out_;
  int id_;
};

}  // namespace

std::string trace_json(const program::Program& program, std::span<const TraceSpan> spans,
                       std::span<const engine::Executor::StepTime> device_steps) {
  constexpr int kSteps = 1, kOps = 2, kGaps = 2;
  std::string out = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  TraceProcess watched(out, 1, "sluice profile");
  watched.track(kSteps, "steps");
  watched.track(kOps, "ops");
  for (const TraceSpan& span : spans) {
    const double begin = static_cast<double>(span.begin_ns) / 1e3;
    const double duration = static_cast<double>(span.duration_ns) / 1e3;
    if (span.op < 0) {
      watched.event(kSteps, enum_name(span.phase), "step", begin, duration);
    } else {
      const program::Step& step = program.steps[static_cast<size_t>(span.op)];
      watched.event(
          kOps, step.label, program::op_name(step), begin, duration,
          fmt::format(R"(,"args":{{"layer":{},"kernel":"{}"}})", step.layer, program::kernel_name(step)));
    }
  }
  if (!device_steps.empty()) {
    TraceProcess device(out, 2, "steady decode, not watched");
    device.track(kSteps, "steps on the device");
    device.track(kGaps, "gaps");
    for (size_t i = 0; i < device_steps.size(); ++i) {
      const auto& [begin, end] = device_steps[i];
      device.event(kSteps, "step", "step", 1e6 * begin, 1e6 * (end - begin));
      if (i + 1 < device_steps.size())
        device.event(kGaps, "idle", "gap", 1e6 * end, 1e6 * (device_steps[i + 1].begin - end));
    }
  }
  // No comma ends the list.
  out.erase(out.size() - 2);
  return out + "\n]}\n";
}

}  // namespace sluice::tools
