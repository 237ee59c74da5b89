// sluice bench: how fast a model reads and writes, each against what the machine allows.
#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

#include "base/log.h"
#include "tools/bench_grammar.h"
#include "tools/measure.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/roof.h"
#include "tools/signals.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  std::string model;
  std::vector<std::string> prompts = {"512"};
  std::vector<int64_t> sequences = {1, 4, 16};
  int64_t steps = 128, context = 16;
  int repetitions = 5;
  bool end_to_end = false, machine = false, ops = false, grammar = false;
  ops::BenchOptions op;
};

/// "2048", or "16x1024": so many prompts together.
std::optional<PrefillLoad> parse_prefill(std::string_view text) {
  const auto number = [](std::string_view digits, int64_t& out) {
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return ec == std::errc() && end == digits.data() + digits.size() && out >= 0 && out <= 1 << 20;
  };
  PrefillLoad load;
  const size_t x = text.find('x');
  if (x != text.npos && (!number(text.substr(0, x), load.sequences) || load.sequences == 0)) return {};
  if (!number(text.substr(x == text.npos ? 0 : x + 1), load.tokens)) return {};
  return load;
}

std::vector<PrefillLoad> prefills(const BenchOptions& o) {
  std::vector<PrefillLoad> out;
  for (const std::string& prompt : o.prompts) {
    const PrefillLoad load = parse_prefill(prompt).value();
    if (load.tokens > 0) out.push_back(load);
  }
  return out;
}

std::vector<DecodeLoad> decodes(const BenchOptions& o) {
  std::vector<DecodeLoad> out;
  for (int64_t b : o.sequences) {
    if (b > 0 && o.steps > 0) out.push_back({b, o.context, o.steps, o.end_to_end});
  }
  return out;
}

/// One load, run again and again.
template <typename Load>
struct Series {
  Load load;
  std::vector<double> tokens_per_second;
  std::vector<Pass> passes;  // of one run

  Spread spread() const { return spread_of(tokens_per_second); }
};

/// A model loaded, and everything that is run on it.
class Bench {
 public:
  static Result<Bench> load(const BenchOptions& o, model::Recipe recipe) {
    SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
    const auto start = Clock::now();
    const int threads = backend.device->info().parallelism;
    SLUICE_ASSIGN(auto model, engine::LoadedModel::load(o.model, std::move(recipe), std::move(backend),
                                                        {.threads = threads}));
    const double weights_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double weights = static_cast<double>(model->plan().weights + model->plan().streamed);
    SLUICE_ASSIGN(auto core, engine::Core::create(std::move(model)));
    Bench bench(std::move(core), o);
    bench.loaded_bytes_per_second_ = weights / weights_seconds;
    bench.load_seconds_ = std::chrono::duration<double>(Clock::now() - start).count();
    return bench;
  }

  /// Each load once; what a warm-up measures is forgotten.
  Status round(bool warm_up) {
    for (auto& series : prefill_) SLUICE_TRY(run(series, warm_up));
    for (auto& series : decode_) SLUICE_TRY(run(series, warm_up));
    return {};
  }

  engine::LoadedModel& model() { return core_->model(); }
  double load_seconds() const { return load_seconds_; }
  double loaded_bytes_per_second() const { return loaded_bytes_per_second_; }
  const std::vector<Series<PrefillLoad>>& prefill() const { return prefill_; }
  const std::vector<Series<DecodeLoad>>& decode() const { return decode_; }

 private:
  Bench(std::unique_ptr<engine::Core> core, const BenchOptions& o)
      : core_(std::move(core)), workload_(std::make_unique<Workload>(*core_)) {
    for (const PrefillLoad& p : prefills(o)) prefill_.push_back({p, {}, {}});
    for (const DecodeLoad& d : decodes(o)) decode_.push_back({d, {}, {}});
  }

  template <typename Load>
  Status run(Series<Load>& series, bool warm_up) {
    SLUICE_ASSIGN(Phase phase, workload_->run(series.load));
    if (warm_up) return {};
    series.tokens_per_second.push_back(static_cast<double>(phase.tokens) / phase.seconds);
    series.passes = std::move(phase.passes);
    return {};
  }

  std::unique_ptr<engine::Core> core_;
  std::unique_ptr<Workload> workload_;
  double load_seconds_ = 0, loaded_bytes_per_second_ = 0;
  std::vector<Series<PrefillLoad>> prefill_;
  std::vector<Series<DecodeLoad>> decode_;
};

bool same_kernels(const program::Program& a, const program::Program& b) {
  return std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(),
                    [](const program::Step& x, const program::Step& y) {
                      return program::kernel_name(x) == program::kernel_name(y);
                    });
}

std::string machine_line(const device::DeviceInfo& info, const cpu::MachineLimit& limit) {
  std::string line = fmt::format("{}, {}, {} threads: reads {:.1f} GB/s", info.name, info.features,
                                 limit.threads, limit.read_bytes_per_second / 1e9);
  for (const auto& [rate, what] : {std::pair{limit.f32_per_second, "GFLOP/s in fp32"},
                                   {limit.int8_per_second, "GOP/s in int8"},
                                   {limit.bf16_per_second, "GFLOP/s in bf16"},
                                   {limit.tile_int8_per_second, "GOP/s in int8 on tiles"}}) {
    if (rate > 0) line += fmt::format(", {:.0f} {}", rate / 1e9, what);
  }
  if (limit.copy_bytes_per_second > 0)
    line += fmt::format(", takes {:.1f} GB/s from the host", limit.copy_bytes_per_second / 1e9);
  return line + "\n";
}

/// One line of the result.
struct Row {
  std::string test;
  Json key;  // what names it in JSON: {"p"} or {"b", "n"}
  Spread tokens_per_second;
  std::string_view roof;  // "flops", "bandwidth", or "host_copies" where weights come from the host
  double share = 0;       // of that roof, at the median
  double invariance_cost = 0;
};

struct Report {
  std::string machine;
  double load_ms = 0;
  // Weights by the time that loading took, where they are brought to a device's own memory.
  std::optional<double> loaded_bytes_per_second;
  std::optional<double> first_token_ms, per_token_ms;  // of the first of each kind of test
  uint64_t peak_rss = 0;
  bool same_kernels = true;  // with and without batch invariance
  std::vector<Row> prefill, decode;
};

/// The share of throughput that batch invariance costs; `other` is the same with it the other way round.
template <typename Load>
double invariance_cost(const Series<Load>& s, bool invariant, const Series<Load>* other) {
  if (other == nullptr) return 0;
  const double ours = s.spread().median, theirs = other->spread().median;
  return invariant ? 1 - ours / theirs : 1 - theirs / ours;
}

Report make_report(Bench& bench, Bench* other, uint64_t peak_rss, const cpu::MachineLimit& limit) {
  const program::Program& program = bench.model().program();
  const bool invariant = bench.model().recipe().batch_invariant;
  Report report{.machine = machine_line(bench.model().backend().device->info(), limit),
                .load_ms = 1e3 * bench.load_seconds(),
                .peak_rss = peak_rss,
                .same_kernels = other == nullptr};
  if (limit.copy_bytes_per_second > 0) report.loaded_bytes_per_second = bench.loaded_bytes_per_second();
  for (size_t i = 0; i < bench.prefill().size(); ++i) {
    const auto& s = bench.prefill()[i];
    const double seconds = static_cast<double>(s.load.sequences * s.load.tokens) / s.spread().median;
    if (i == 0) report.first_token_ms = 1e3 * seconds;
    report.prefill.push_back(
        {fmt::format("prefill b={} p={}", s.load.sequences, s.load.tokens),
         {{"b", s.load.sequences}, {"p", s.load.tokens}},
         s.spread(),
         "flops",
         compute_seconds(cpu::roof_of(limit), program, s.passes) / seconds,
         invariance_cost(s, invariant, other == nullptr ? nullptr : &other->prefill()[i])});
  }
  for (size_t i = 0; i < bench.decode().size(); ++i) {
    const auto& s = bench.decode()[i];
    const double step_seconds = static_cast<double>(s.load.sequences) / s.spread().median;
    if (i == 0) report.per_token_ms = 1e3 * step_seconds;
    // Weights that are streamed cross the bus once a step.
    const double read_seconds =
        streamed_bytes(program, s.passes) / static_cast<double>(s.load.steps) / limit.read_bytes_per_second;
    const uint64_t copied = bench.model().plan().streamed;
    const double copy_seconds = copied > 0 ? static_cast<double>(copied) / limit.copy_bytes_per_second : 0;
    report.decode.push_back(
        {fmt::format("{} b={} n={} context={}", s.load.end_to_end ? "whole" : "decode", s.load.sequences,
                     s.load.steps, s.load.context),
         {{"b", s.load.sequences}, {"n", s.load.steps}},
         s.spread(),
         copy_seconds > read_seconds ? "host_copies" : "bandwidth",
         std::max(copy_seconds, read_seconds) / step_seconds,
         invariance_cost(s, invariant, other == nullptr ? nullptr : &other->decode()[i])});
  }
  return report;
}

void print_json_report(const Report& r) {
  const auto rows = [](const std::vector<Row>& in) {
    Json out = Json::array();
    for (const Row& row : in) {
      Json& entry = out.emplace_back(row.key);
      entry["tok_s"] = to_json(row.tokens_per_second);
      entry["share_of_" + std::string(row.roof)] = row.share;
      entry["batch_invariant_cost"] = row.invariance_cost;
    }
    return out;
  };
  const auto or_null = [](const std::optional<double>& v) { return v ? Json(*v) : Json(nullptr); };
  print_json({{"prefill", rows(r.prefill)},
              {"decode", rows(r.decode)},
              {"load_ms", r.load_ms},
              {"load_bytes_per_second", or_null(r.loaded_bytes_per_second)},
              {"ttft_ms", or_null(r.first_token_ms)},
              {"tpot_ms", or_null(r.per_token_ms)},
              {"peak_rss_mb", static_cast<double>(r.peak_rss) / 1e6}});
}

void print_text_report(const Report& r) {
  std::string head =
      r.machine + fmt::format("loaded in {:.0f} ms, peak memory {}", r.load_ms, format_bytes(r.peak_rss));
  if (r.loaded_bytes_per_second)
    head += fmt::format(", weights at {:.1f} GB/s", *r.loaded_bytes_per_second / 1e9);
  if (r.first_token_ms) head += fmt::format(", first token after {:.1f} ms", *r.first_token_ms);
  if (r.per_token_ms) head += fmt::format(", {:.2f} ms a token", *r.per_token_ms);
  Table table(1, {"test", "tok/s min", "median", "max", "share of roof", "batch invariance costs"});
  for (const auto* rows : {&r.prefill, &r.decode}) {
    for (const Row& row : *rows) {
      const Spread& s = row.tokens_per_second;
      table.add({row.test, fmt::format("{:.1f}", s.min), fmt::format("{:.1f}", s.median),
                 fmt::format("{:.1f}", s.max), fmt::format("{} of {}", percent(row.share), row.roof),
                 percent(row.invariance_cost)});
    }
  }
  print_raw(head + "\n\n" + table.text());
  if (r.same_kernels) print_raw("batch invariance costs nothing: it chooses the same kernels\n");
}

/// The model planned with batch invariance the other way round.
Result<std::unique_ptr<engine::LoadedModel>> plan_other(const BenchOptions& o, model::Recipe recipe) {
  recipe.batch_invariant = !recipe.batch_invariant;
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
  return engine::LoadedModel::plan_only(o.model, std::move(recipe), std::move(backend), {});
}

Result<int> bench_model(const BenchOptions& o) {
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  SLUICE_ASSIGN(const auto other_plan, plan_other(o, recipe));
  SLUICE_TRY(fit_recipe(recipe, *other_plan, prefills(o), decodes(o)));
  model::Recipe other_recipe = recipe;
  other_recipe.batch_invariant = !recipe.batch_invariant;

  SLUICE_ASSIGN(Bench bench, Bench::load(o, recipe));
  SLUICE_TRY(bench.round(true));
  const uint64_t peak_rss = peak_rss_bytes();  // all that is ever needed has been touched
  std::optional<Bench> other;
  if (!same_kernels(bench.model().program(), other_plan->program())) {
    SLUICE_ASSIGN(other, Bench::load(o, other_recipe));
    SLUICE_TRY(other->round(true));
  }
  Progress progress("measuring", static_cast<uint64_t>(o.repetitions), Progress::Unit::rounds);
  for (int round = 1; round <= o.repetitions; ++round) {
    SLUICE_TRY(bench.round(false));
    if (other) SLUICE_TRY(other->round(false));
    progress.update(static_cast<uint64_t>(round));
  }
  SLUICE_ASSIGN(const cpu::MachineLimit limit, measure_limit(*bench.model().backend().device));
  const Report report = make_report(bench, other ? &*other : nullptr, peak_rss, limit);
  o.output.json ? print_json_report(report) : print_text_report(report);
  return kDone;
}

Result<int> show_machine(const BenchOptions& o) {
  SLUICE_ASSIGN(const ops::Backend backend, o.backend.make());
  const device::DeviceInfo& info = backend.device->info();
  SLUICE_ASSIGN(const cpu::MachineLimit limit, measure_limit(*backend.device));
  if (o.output.json) {
    print_json({{"name", info.name}, {"features", info.features}, {"limit", to_json(limit)}});
  } else {
    print_raw(machine_line(info, limit));
  }
  return kDone;
}

// Rows are printed as they are measured: the whole table takes minutes.
void print_op_row(const ops::BenchRow& row) {
  print_raw(fmt::format("{:<13} {:<38} {:>5} {:>10.1f} {:>10.1f} {:>8.2f} {:>9.2f} {:>7} {:<7}  {}\n", row.op,
                        row.kernel, row.rows, 1e6 * row.min_seconds, 1e6 * row.median_seconds,
                        row.bytes_per_second / 1e9, row.flops_per_second / 1e9, percent(row.share_of_roof),
                        row.bound, row.desc));
  std::fflush(stdout);
}

Result<int> bench_ops(const BenchOptions& o) {
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
  SLUICE_ASSIGN(const cpu::MachineLimit limit, measure_limit(*backend.device));
  Json rows = Json::array();
  if (!o.output.json) {
    print_raw(machine_line(backend.device->info(), limit));
    print_raw(fmt::format("\n{:<13} {:<38} {:>5} {:>10} {:>10} {:>8} {:>9} {:>7} {:<7}  case\n", "op",
                          "kernel", "rows", "us min", "median", "GB/s", "GFLOP/s", "of roof", "bound"));
  }
  ops::bench_ops(backend, cpu::roof_of(limit), o.op, [&](const ops::BenchRow& row) {
    o.output.json ? rows.push_back(to_json(row)) : print_op_row(row);
  });
  if (o.output.json) print_json({{"limit", to_json(limit)}, {"ops", std::move(rows)}});
  return kDone;
}

Result<int> bench_constraints(const BenchOptions& o) {
  if (o.model.empty()) return invalid_argument("--grammar: give a MODEL, whose tokenizer is used");
  SLUICE_ASSIGN(const GrammarReport report, bench_grammar(o.model));
  if (o.output.json) {
    print_json(report_json(report));
    return kDone;
  }
  print_raw(fmt::format("{} tokens, sorted in {:.0f} ms\n\n", report.vocab, report.vocabulary_ms));
  Table table(1, {"constraint", "states", "tokens", "compile ms", "first masks us", "max", "masks us mean",
                  "p50", "p99", "max"});
  for (const GrammarRow& r : report.rows) {
    table.add({r.name, fmt::format("{}", r.states), fmt::format("{}", r.tokens),
               fmt::format("{:.2f}", r.compile_ms), fmt::format("{:.1f}", r.first_mean_us),
               fmt::format("{:.0f}", r.first_max_us), fmt::format("{:.1f}", r.mean_us),
               fmt::format("{:.1f}", r.p50_us), fmt::format("{:.1f}", r.p99_us),
               fmt::format("{:.1f}", r.max_us)});
  }
  print_raw(table.text());
  return kDone;
}

Result<int> bench(const BenchOptions& o) {
  note_interrupts();
  if (o.machine) return show_machine(o);
  if (o.ops) return bench_ops(o);
  if (o.grammar) return bench_constraints(o);
  if (o.model.empty()) return invalid_argument("MODEL is required, except with --ops and --machine");
  return bench_model(o);
}

}  // namespace

Run declare_bench(CLI::App& app) {
  auto o = std::make_shared<BenchOptions>();
  const auto counts = [&](const char* name, std::vector<int64_t>& value, const char* help) {
    app.add_option(name, value, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(CLI::Range(0, 1 << 20))
        ->type_name("N,N,...")
        ->capture_default_str();
  };
  const auto count = [&](const char* name, auto& value, int least, const char* help) {
    app.add_option(name, value, help)
        ->check(CLI::Range(least, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
  };
  app.add_option("MODEL", o->model, "Engine directory, Hugging Face directory or GGUF file");
  app.add_option("-p", o->prompts, "Prompts to read: their length, or NxLENGTH for several together; 0: none")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return parse_prefill(text) ? std::string() : text + ": give a length, as 2048, or 16x1024";
      })
      ->type_name("N,NxN,...")
      ->capture_default_str();
  count("-n", o->steps, 0, "Tokens to write for each sequence; 0: none");
  counts("-b", o->sequences, "How many sequences to write together");
  count("--context", o->context, 1, "Tokens that each sequence has before it is written on");
  app.add_flag("--end_to_end", o->end_to_end, "Time the reading of those tokens together with the writing");
  count("--reps", o->repetitions, 1, "Repetitions, of which min, median and max are printed");
  app.add_flag("--machine", o->machine, "Print what the machine can do at best, and no more");
  app.add_flag("--ops", o->ops, "Time every kernel on the shapes of real models instead");
  app.add_flag("--grammar", o->grammar,
               "Time compiling constraints and computing token masks with MODEL's tokenizer instead");
  app.add_option("--op", o->op.op, "With --ops: only this op")->type_name("NAME");
  app.add_option("--kernel", o->op.kernel, "With --ops: only kernels whose name contains this")
      ->type_name("TEXT");
  app.add_flag("--references", o->op.references, "With --ops: plain reference kernels too");
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  return [o] { return bench(*o); };
}

}  // namespace sluice::tools
