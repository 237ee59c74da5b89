// sluice optimize: a checkpoint to an engine directory, one weight at a time.
#include <sys/resource.h>

#include <chrono>
#include <set>

#include "artifact/source.h"
#include "artifact/text_assets.h"
#include "artifact/tuning.h"
#include "artifact/writer.h"
#include "base/log.h"
#include "cpu/features.h"
#include "ops/bench.h"
#include "program/pack.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/signals.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

struct OptimizeOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  std::string model_dir;
  std::string output_dir;
  std::string tuning = "measure";
};

// What has been decided before the first weight is read.
struct Plan {
  model::Model model;
  artifact::SourceSnapshot source;
  artifact::TextAssets assets;
  ops::Backend backend;
  artifact::Manifest manifest;
  program::Program program;
  std::vector<std::string> notes;
};

artifact::Hardware hardware_of(const ops::Backend& backend) {
  const device::DeviceInfo& info = backend.device->info();
  return {info.kind, info.name, info.features};
}

// What cannot be used, or does not belong to the model, is better known now than when serving.
Status check_assets(const artifact::TextAssets& assets, const model::Spec& spec,
                    std::vector<std::string>& notes) {
  SLUICE_TRY(assets.generation_defaults().status());
  if (!assets.has_tokenizer()) {
    notes.push_back("the model comes without a tokenizer: the engine takes and gives token ids");
    return {};
  }
  SLUICE_ASSIGN(const text::Tokenizer tokenizer, assets.tokenizer());
  SLUICE_TRY(artifact::check_tokenizer_fits(tokenizer, spec.vocab));
  if (const int64_t known = tokenizer.vocab_size(); known < spec.vocab) {
    notes.push_back(
        fmt::format("the tokenizer knows {} of the {} ids: the others count as padding and are never chosen",
                    known, spec.vocab));
  }
  return assets.check_chat_templates();
}

Result<Plan> plan(const OptimizeOptions& options) {
  if (artifact::is_engine_dir(options.model_dir)) {
    return invalid_argument("{}: this is an engine already; give the checkpoint it was made from",
                            options.model_dir);
  }
  SLUICE_ASSIGN(model::Recipe recipe, options.recipe.recipe());
  SLUICE_ASSIGN(ops::Backend backend, options.backend.make());
  SLUICE_ASSIGN(model::Model model, model::load_model(options.model_dir));
  SLUICE_ASSIGN(auto source, artifact::SourceSnapshot::take(model.checkpoint));
  SLUICE_ASSIGN(auto assets, artifact::TextAssets::open(options.model_dir));
  SLUICE_TRY(model::complete(recipe, model.spec, backend.page_tokens));
  std::vector<std::string> notes;
  SLUICE_ASSIGN(auto types, model::resolve_types(model, recipe, notes));
  SLUICE_TRY(check_assets(assets, model.spec, notes));
  SLUICE_ASSIGN(auto program, program::lower(model.spec, recipe, types, backend, recipe.max_sequences));

  artifact::Manifest manifest;
  manifest.writer = version_line();
  manifest.source = source.source();
  manifest.hardware = hardware_of(backend);
  manifest.spec = model.spec;
  manifest.recipe = std::move(recipe);
  manifest.types = std::move(types);
  for (const program::WeightInfo& w : program.weights) {
    if (w.constant) continue;  // worked out anew at each load
    manifest.tensors.push_back(
        {w.name, w.dtype, std::string(w.layout->name), w.n, w.k, w.copies, w.offset, w.bytes});
  }
  return Plan{std::move(model),    std::move(source),  std::move(assets), std::move(backend),
              std::move(manifest), std::move(program), std::move(notes)};
}

// The kernel of each op: of products as measured here, of all else as cost chose it.
Result<artifact::Tuning> tuning_of(Plan& plan, bool measure) {
  artifact::Tuning tuning{hardware_of(plan.backend), {}};
  measure = measure && plan.backend.device->shares_host_memory();
  std::set<std::string> seen;
  Progress progress("measuring kernels", plan.program.steps.size(), Progress::Unit::rounds);
  for (size_t i = 0; i < plan.program.steps.size(); ++i) {
    SLUICE_TRY(check_interrupted());
    progress.update(i + 1);
    const program::Step& step = plan.program.steps[i];
    std::string key = program::kernel_key(step);
    if (!seen.insert(key).second) continue;
    tuning.kernels.push_back({key, std::string(program::kernel_name(step)), {}});
    const auto* linear = std::get_if<program::LinearStep>(&step.op);
    if (!measure || linear == nullptr) continue;
    const ops::TunedLinear tuned =
        ops::tune_linear(plan.backend, linear->desc, *linear->kernel, plan.manifest.recipe.max_sequences);
    tuning.kernels.back() = {key, std::string(tuned.kernel->name), tuned.seconds * 1e6};
  }
  return tuning;
}

// Weights lie in the arena in the order of the Program. One copy of one weight is in memory at a time.
Status write_weights(const Plan& plan, artifact::EngineWriter& writer) {
  const program::Program& program = plan.program;
  const int threads = plan.backend.device->info().parallelism;
  Progress progress("packing weights", program.weight_bytes);
  std::vector<std::byte> buffer;
  for (const program::WeightInfo& weight : program.weights) {
    if (weight.constant) continue;  // its place stays zero
    SLUICE_TRY(writer.pad_to(weight.offset));
    const uint64_t bytes = weight.bytes / static_cast<uint64_t>(weight.copies);
    for (int64_t copy = 0; copy < weight.copies; ++copy) {
      SLUICE_TRY(check_interrupted());
      buffer.assign(bytes, std::byte{0});
      SLUICE_TRY(program::pack_weight(plan.model, weight, copy, buffer, threads));
      SLUICE_TRY(writer.append(buffer));
      progress.update(weight.offset + static_cast<uint64_t>(copy + 1) * bytes);
    }
  }
  return writer.pad_to(program.weight_bytes);
}

struct Summary {
  std::string output;
  size_t blocks = 0;
  double seconds = 0;
};

Result<Summary> build(Plan& plan, const std::string& output_dir, bool measure_kernels) {
  const auto start = std::chrono::steady_clock::now();
  SLUICE_ASSIGN(auto writer, artifact::EngineWriter::create(output_dir, plan.program.weight_bytes));
  SLUICE_TRY(write_weights(plan, writer));
  SLUICE_TRY(plan.assets.copy_into(writer));
  SLUICE_ASSIGN(const artifact::Tuning tuning, tuning_of(plan, measure_kernels));
  SLUICE_TRY(writer.add_file(artifact::kTuningFile, artifact::write_tuning(tuning)));
  SLUICE_TRY(plan.source.check_unchanged());
  SLUICE_TRY(check_interrupted());
  Summary summary{writer.output(), writer.blocks(), 0};
  SLUICE_TRY(writer.publish(plan.manifest));
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

std::map<std::string, uint64_t> bytes_by_type(const program::Program& program) {
  std::map<std::string, uint64_t> out;
  for (const program::WeightInfo& w : program.weights) out[std::string(name(w.dtype))] += w.bytes;
  return out;
}

uint64_t peak_rss_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

void print_summary(const Plan& plan, const Summary& summary, bool json) {
  const auto types = bytes_by_type(plan.program);
  if (json) {
    Json by_type = Json::object();
    for (const auto& [type, bytes] : types) by_type[type] = bytes;
    print_json({{"output_dir", summary.output},
                {"arch", plan.model.spec.arch},
                {"layers", plan.model.spec.layers.size()},
                {"weight_bytes", plan.program.weight_bytes},
                {"bytes_by_type", std::move(by_type)},
                {"tensors", plan.manifest.tensors.size()},
                {"blocks", summary.blocks},
                {"seconds", summary.seconds},
                {"peak_rss_bytes", peak_rss_bytes()},
                {"notes", plan.notes}});
    return;
  }
  std::string sizes;
  for (const auto& [type, bytes] : types)
    sizes += fmt::format("{}{} {}", sizes.empty() ? "" : ", ", format_bytes(bytes), type);
  print_raw(fmt::format("{}: {}, {} layers, {} of weights ({}) in {} block file(s), {:.1f} s\n",
                        summary.output, plan.model.spec.arch, plan.model.spec.layers.size(),
                        format_bytes(plan.program.weight_bytes), sizes, summary.blocks, summary.seconds));
}

Result<int> optimize(const OptimizeOptions& options) {
  note_interrupts();
  SLUICE_ASSIGN(Plan plan, tools::plan(options));
  SLUICE_ASSIGN(const Summary summary, build(plan, options.output_dir, options.tuning == "measure"));
  for (const std::string& note : plan.notes) log_info("note: {}", note);
  print_summary(plan, summary, options.output.json);
  return kDone;
}

}  // namespace

Run declare_optimize(CLI::App& app) {
  auto options = std::make_shared<OptimizeOptions>();
  app.add_option("--model_dir", options->model_dir,
                 "Hugging Face directory (config.json + safetensors) or GGUF file")
      ->type_name("MODEL")
      ->required();
  app.add_option("--output_dir", options->output_dir,
                 "The engine directory to make; an engine there is replaced")
      ->type_name("ENGINE")
      ->required();
  app.add_option("--tuning", options->tuning,
                 "How products get their kernels: measure times them here, some seconds; cost predicts")
      ->type_name("KIND")
      ->check(CLI::IsMember({"measure", "cost"}));
  options->recipe.declare(app);
  options->backend.declare(app);
  options->output.declare(app);
  return [options] { return optimize(*options); };
}

}  // namespace sluice::tools
