// sluice profile: where the time of prefill and decode goes, op by op and layer by layer.
#include <algorithm>
#include <map>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "tools/measure.h"
#include "tools/op_recorder.h"
#include "tools/options.h"
#include "tools/roof.h"
#include "tools/signals.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

struct ProfileOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  std::string model;
  PrefillLoad prefill{512};
  DecodeLoad decode{.sequences = 1, .context = 0, .steps = 32};
  int repetitions = 3;
  std::string trace;
};

/// Time and work of one op, or of all ops of one layer.
struct ProfileRow {
  std::string name;    // "mlp.down"; of a layer, "layer 3"
  std::string kernel;  // empty for layers
  int64_t calls = 0;
  double seconds = 0;
  double share = 0;  // of the phase's time
  double bytes = 0;  // moved and computed, as the ops' costs count them
  double flops = 0;
  double share_of_roof = 0;  // time that the roof allows / time taken; above 1 when data came from the caches
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("name", s.name), v("kernel", s.kernel), v("calls", s.calls), v("seconds", s.seconds);
    v("share", s.share), v("bytes", s.bytes), v("flops", s.flops), v("share_of_roof", s.share_of_roof);
  }
};

/// All repetitions of one phase.
struct Profile {
  PhaseKind kind = PhaseKind::prefill;
  int64_t tokens = 0;
  double seconds = 0;
  double program_seconds = 0;
  double outside_seconds = 0;  // scheduling, sampling, filling the batch
  std::vector<ProfileRow> ops, layers;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("tokens", s.tokens), v("seconds", s.seconds), v("program_seconds", s.program_seconds);
    v("outside_seconds", s.outside_seconds), v("ops", s.ops), v("layers", s.layers);
  }
};

/// A device's decode steps as they run when nobody watches.
struct SteadyDecode {
  int64_t steps = 0;
  double seconds = 0;       // from the first one's beginning to the last one's end
  double idle_seconds = 0;  // between one's end and the next one's beginning
  double longest_gap_seconds = 0;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("steps", s.steps), v("seconds", s.seconds), v("idle_seconds", s.idle_seconds);
    v("longest_gap_seconds", s.longest_gap_seconds);
  }
};

SteadyDecode steady_decode(std::span<const engine::Executor::StepTime> times) {
  SteadyDecode steady{.steps = static_cast<int64_t>(times.size())};
  steady.seconds = times.back().end;
  for (size_t i = 1; i < times.size(); ++i) {
    const double gap = std::max(0.0, times[i].begin - times[i - 1].end);
    steady.idle_seconds += gap;
    steady.longest_gap_seconds = std::max(steady.longest_gap_seconds, gap);
  }
  return steady;
}

std::string text_of(const SteadyDecode& s) {
  return fmt::format(
      "decode as it runs when nobody watches: {} steps of {:.3f} ms; the device idles {:.2f} % of the time, "
      "{:.1f} us between steps, {:.1f} at most\n",
      s.steps, 1e3 * s.seconds / static_cast<double>(s.steps), 100 * s.idle_seconds / s.seconds,
      1e6 * s.idle_seconds / static_cast<double>(std::max<int64_t>(s.steps - 1, 1)),
      1e6 * s.longest_gap_seconds);
}

/// Adds up rows by name; hotspots come first.
class Rows {
 public:
  void add(const ProfileRow& row, double roof_seconds) {
    auto& [sum, roof] = rows_[{row.name, row.kernel}];
    sum.name = row.name;
    sum.kernel = row.kernel;
    sum.calls += row.calls;
    sum.seconds += row.seconds;
    sum.bytes += row.bytes;
    sum.flops += row.flops;
    roof += roof_seconds;
  }
  std::vector<ProfileRow> finish(double phase_seconds) const {
    std::vector<ProfileRow> out;
    for (const auto& [key, entry] : rows_) {
      ProfileRow row = entry.first;
      if (row.calls == 0) continue;
      row.share = row.seconds / phase_seconds;
      row.share_of_roof = entry.second / row.seconds;
      out.push_back(std::move(row));
    }
    std::sort(out.begin(), out.end(),
              [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
    return out;
  }

 private:
  std::map<std::pair<std::string, std::string>, std::pair<ProfileRow, double>> rows_;
};

Profile make_profile(PhaseKind kind, const program::Program& program, const OpRecorder& recorder,
                     std::span<const Phase> phases, const ops::Roof& roof) {
  Profile profile{.kind = kind};
  for (const Phase& phase : phases) {
    profile.seconds += phase.seconds;
    profile.tokens += phase.tokens;
  }
  Rows by_op, by_layer;
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const program::Step& step = program.steps[i];
    const OpRecorder::OpTime& time = recorder.times(kind)[i];
    ops::Cost cost;
    double roof_seconds = 0;
    for (const Phase& phase : phases) {
      for (const Pass& pass : phase.passes) {
        const ops::Cost once = cost_of(step, pass);
        const double count = static_cast<double>(pass.count);
        cost += {once.bytes * count, once.flops * count};
        roof_seconds += tools::roof_seconds(roof, step, once).least() * count;
      }
    }
    ProfileRow row{.name = step.label,
                   .kernel = std::string(program::kernel_name(step)),
                   .calls = time.calls,
                   .seconds = static_cast<double>(time.nanoseconds) / 1e9,
                   .bytes = cost.bytes,
                   .flops = cost.flops};
    profile.program_seconds += row.seconds;
    by_op.add(row, roof_seconds);
    row.name = step.layer < 0 ? "outside layers" : fmt::format("layer {}", step.layer);
    row.kernel.clear();
    by_layer.add(row, roof_seconds);
  }
  profile.outside_seconds = profile.seconds - profile.program_seconds;
  profile.ops = by_op.finish(profile.seconds);
  profile.layers = by_layer.finish(profile.seconds);
  return profile;
}

std::string table_of(const std::vector<ProfileRow>& rows, bool with_kernels, double seconds) {
  std::vector<std::string> header{"layer"};
  if (with_kernels) header = {"op", "kernel"};
  for (const char* column :
       {"calls", "ms", "share", "us a call", "MB", "GFLOP", "GB/s", "GFLOP/s", "of roof"})
    header.emplace_back(column);
  Table table(with_kernels ? 2 : 1, std::move(header));
  for (const ProfileRow& r : rows) {
    std::vector<std::string> line{r.name};
    if (with_kernels) line.push_back(r.kernel);
    const auto number = [&](double value, int digits) {
      line.push_back(fmt::format("{:.{}f}", value, digits));
    };
    line.push_back(std::to_string(r.calls));
    number(1e3 * r.seconds, 2);
    line.push_back(percent(r.seconds / seconds));
    number(1e6 * r.seconds / static_cast<double>(r.calls), 1);
    number(r.bytes / 1e6, 1);
    number(r.flops / 1e9, 2);
    number(r.bytes / r.seconds / 1e9, 2);
    number(r.flops / r.seconds / 1e9, 1);
    line.push_back(percent(r.share_of_roof));
    table.add(std::move(line));
  }
  return table.text();
}

std::string text_of(const Profile& p) {
  return fmt::format(
      "{}: {} tokens in {:.1f} ms, {:.1f} tok/s; {} in the Program, {} outside (scheduling, "
      "sampling)\n\n{}\n{}\n",
      enum_name(p.kind), p.tokens, 1e3 * p.seconds, static_cast<double>(p.tokens) / p.seconds,
      percent(p.program_seconds / p.seconds), percent(p.outside_seconds / p.seconds),
      table_of(p.ops, true, p.seconds), table_of(p.layers, false, p.seconds));
}

Result<std::unique_ptr<engine::Core>> load(const ProfileOptions& o) {
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  SLUICE_ASSIGN(ops::Backend planning, o.backend.make());
  SLUICE_ASSIGN(const auto plan, engine::LoadedModel::plan_only(o.model, recipe, std::move(planning), {}));
  SLUICE_TRY(fit_recipe(recipe, *plan, {{o.prefill}}, {{o.decode}}));
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
  const int threads = backend.device->info().parallelism;
  SLUICE_ASSIGN(auto model, engine::LoadedModel::load(o.model, std::move(recipe), std::move(backend),
                                                      {.threads = threads}));
  return engine::Core::create(std::move(model));
}

Result<int> profile(ProfileOptions& o) {
  note_interrupts();
  if (o.decode.context == 0) o.decode.context = o.prefill.tokens;
  SLUICE_ASSIGN(const auto core, load(o));
  Workload workload(*core);
  SLUICE_TRY(workload.run(o.prefill).status());  // a warm-up
  SLUICE_TRY(workload.run(o.decode).status());
  engine::Executor& executor = core->executor();
  executor.note_steps(true);
  SLUICE_TRY(workload.run(o.decode).status());
  executor.note_steps(false);
  const std::vector<engine::Executor::StepTime> device_steps = executor.noted_steps();
  OpRecorder recorder(*core, !o.trace.empty());
  std::vector<Phase> prefills, decodes;
  for (int i = 0; i < o.repetitions; ++i) {
    SLUICE_ASSIGN(Phase prefill, workload.run(o.prefill, &recorder));
    SLUICE_ASSIGN(Phase decode, workload.run(o.decode, &recorder));
    prefills.push_back(std::move(prefill));
    decodes.push_back(std::move(decode));
  }
  const program::Program& program = core->model().program();
  if (!o.trace.empty()) {
    SLUICE_TRY(write_file_atomically(o.trace, trace_json(program, recorder.spans(), device_steps)));
    log_info("{}: open it in https://ui.perfetto.dev", o.trace);
  }
  SLUICE_ASSIGN(const cpu::MachineLimit limit, measure_limit(*core->model().backend().device));
  const ops::Roof roof = cpu::roof_of(limit);
  const Profile prefill = make_profile(PhaseKind::prefill, program, recorder, prefills, roof);
  const Profile decode = make_profile(PhaseKind::decode, program, recorder, decodes, roof);
  std::optional<SteadyDecode> steady;
  if (!device_steps.empty()) steady = steady_decode(device_steps);
  if (o.output.json) {
    print_json({{"limit", to_json(limit)},
                {"prefill", to_json(prefill)},
                {"decode", to_json(decode)},
                {"steady_decode", steady ? to_json(*steady) : Json(nullptr)}});
  } else {
    print_raw(text_of(prefill) + text_of(decode) + (steady ? text_of(*steady) : ""));
  }
  return kDone;
}

}  // namespace

Run declare_profile(CLI::App& app) {
  auto o = std::make_shared<ProfileOptions>();
  const auto count = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->check(CLI::Range(1, 1 << 20))->type_name("N");
  };
  app.add_option("MODEL", o->model, "Engine directory, Hugging Face directory or GGUF file")->required();
  count("-p", o->prefill.tokens, "Length of the prompt to read")->capture_default_str();
  count("-n", o->decode.steps, "Tokens to write for each sequence")->capture_default_str();
  count("-b", o->decode.sequences, "Sequences to write together")->capture_default_str();
  count("--context", o->decode.context, "Tokens that each sequence has before it is written on [as -p]");
  count("--reps", o->repetitions, "Repetitions; they are added up")->capture_default_str();
  app.add_option("--trace", o->trace, "Write a trace for Perfetto or chrome://tracing")->type_name("F.json");
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  return [o] { return profile(*o); };
}

}  // namespace sluice::tools
