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

std::string trace_json(const program::Program& program, std::span<const TraceSpan> spans) {
  constexpr int kSteps = 1, kOps = 2;
  std::string out = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  const auto track = [&](int id, std::string_view name) {
    out += fmt::format(R"({{"ph":"M","pid":1,"tid":{},"name":"thread_name","args":{{"name":"{}"}}}},)"
                       "\n",
                       id, name);
  };
  track(kSteps, "steps");
  track(kOps, "ops");
  for (const TraceSpan& span : spans) {
    const double begin = static_cast<double>(span.begin_ns) / 1e3;
    const double duration = static_cast<double>(span.duration_ns) / 1e3;
    const auto event = [&](int id, std::string_view name, std::string_view category) {
      out += fmt::format(R"({{"ph":"X","pid":1,"tid":{},"name":"{}","cat":"{}","ts":{:.3f},"dur":{:.3f})", id,
                         name, category, begin, duration);
    };
    if (span.op < 0) {
      event(kSteps, enum_name(span.phase), "step");
      out += "},\n";
    } else {
      const program::Step& step = program.steps[static_cast<size_t>(span.op)];
      event(kOps, step.label, program::op_name(step));
      out += fmt::format(R"(,"args":{{"layer":{},"kernel":"{}"}}}},)"
                         "\n",
                         step.layer, program::kernel_name(step));
    }
  }
  // The last event is the whole: a comma never ends the list.
  out += R"({"ph":"M","pid":1,"name":"process_name","args":{"name":"sluice profile"}}]})"
         "\n";
  return out;
}

}  // namespace sluice::tools
