// sluice inspect: the values that a model becomes, printed.
#include <algorithm>
#include <set>

#include "artifact/manifest.h"
#include "engine/codec.h"
#include "engine/loaded_model.h"
#include "tools/measure.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

struct InspectOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  std::string model;
  bool spec = false, recipe_shown = false, program = false, memory = false, tensors = false;
};

/// A section in both of its forms.
struct Section {
  const char* name;
  Json json;
  std::string text;
};

// --- memory
// ------------------------------------------------------------------------------------------------------

Section memory_section(const engine::MemoryPlan& plan) {
  Json kv = Json::array();
  Table table(2, {"memory", "", "bytes"});
  const auto row = [&](const char* what, std::string detail, uint64_t bytes) {
    table.add({what, std::move(detail), std::to_string(bytes)});
  };
  row("weights", "", plan.weights);
  if (plan.streamed > 0) row("streamed", "weights in pinned memory of the host", plan.streamed);
  for (const engine::MemoryPlan::Group& g : plan.kv) {
    const uint64_t bytes = static_cast<uint64_t>(g.pages) * g.page_bytes;
    kv.push_back({{"window", g.window}, {"pages", g.pages}, {"page_bytes", g.page_bytes}, {"bytes", bytes}});
    row("KV cache",
        fmt::format("{}: {} pages of {} bytes",
                    g.window == 0 ? "full attention" : fmt::format("window of {}", g.window), g.pages,
                    g.page_bytes),
        bytes);
  }
  row("activations", "", plan.activations);
  row("workspace", "", plan.workspace);
  row("batch", "page tables and inputs of a step", plan.batch);
  if (plan.pinned > 0) {
    row("sampling", "sampled tokens, counts of tokens by sequence", plan.sampling);
    row("stream", "counters of the queue of steps", plan.stream);
    row("pinned", "of the host: inputs, ids and logits of a step", plan.pinned);
  }
  row("tokenizer", "", plan.tokenizer);
  row("total", format_bytes(plan.total()), plan.total());
  return {"memory",
          {{"weights", plan.weights},
           {"streamed", plan.streamed},
           {"activations", plan.activations},
           {"workspace", plan.workspace},
           {"kv", std::move(kv)},
           {"batch", plan.batch},
           {"sampling", plan.sampling},
           {"stream", plan.stream},
           {"pinned", plan.pinned},
           {"tokenizer", plan.tokenizer},
           {"total", plan.total()}},
          table.text()};
}

// --- program
// -----------------------------------------------------------------------------------------------------

Json operands_json(const program::Step& step, const program::Program& program) {
  Json reads = Json::array(), writes = Json::array();
  std::visit(
      [&](const auto& s) {
        s.visit([&](const program::Operand& o, bool written) {
          if (o.buffer < 0) return;
          (written ? writes : reads)
              .push_back({{"buffer", program.buffers[static_cast<size_t>(o.buffer)].name},
                          {"column", o.column},
                          {"cols", o.cols}});
        });
      },
      step.op);
  return {{"reads", std::move(reads)}, {"writes", std::move(writes)}};
}

Section program_section(const program::Program& program) {
  Json buffers = Json::array(), steps = Json::array(), groups = Json::array();
  for (const program::BufferInfo& b : program.buffers) {
    buffers.push_back({{"name", b.name},
                       {"rows", enum_name(b.rows)},
                       {"cols", b.cols},
                       {"type", name(b.dtype)},
                       {"offset", b.offset},
                       {"bytes", b.bytes}});
  }
  for (size_t g = 0; g < program.groups.size(); ++g) {
    groups.push_back(
        {{"window", program.groups[g].window}, {"page_bytes", program.page_bytes(static_cast<int32_t>(g))}});
  }
  for (const program::Step& s : program.steps) {
    Json step{{"layer", s.layer},
              {"label", s.label},
              {"op", program::op_name(s)},
              {"desc", std::visit([](const auto& op) { return to_json(op.desc); }, s.op)},
              {"kernel", program::kernel_name(s)}};
    step.update(operands_json(s, program));
    steps.push_back(std::move(step));
  }
  return {"program",
          {{"limits", {{"tokens", program.limits.tokens}, {"logits", program.limits.logits}}},
           {"kv_groups", std::move(groups)},
           {"buffers", std::move(buffers)},
           {"steps", std::move(steps)}},
          program::to_text(program)};
}

// --- tensors
// -----------------------------------------------------------------------------------------------------

std::string shape_of(const program::WeightInfo& w) {
  return w.copies > 1 ? fmt::format("[{}, {}, {}]", w.copies, w.n, w.k) : fmt::format("[{}, {}]", w.n, w.k);
}

/// Tensors of the checkpoint that make up a weight.
std::vector<std::string> source_tensors(const model::Model& model, const program::WeightInfo& weight) {
  std::vector<std::string> out;
  for (const std::string& role : weight.roles) {
    const model::Weight* found = model.find(role);
    if (found == nullptr) continue;
    for (const model::WeightPart& part : found->parts) {
      if (std::find(out.begin(), out.end(), part.tensor->name) == out.end()) out.push_back(part.tensor->name);
    }
  }
  return out;
}

/// The weights as kernels read them; of a checkpoint also the tensors that they come from.
Result<Section> tensors_section(const std::string& path, const program::Program& program) {
  std::optional<model::Model> source;
  if (!artifact::is_engine_dir(path)) {
    SLUICE_ASSIGN(source, model::load_model(path));
  }
  Json weights = Json::array();
  Table table(4, {"weight", "type", "layout", "shape", "bytes"});
  for (const program::WeightInfo& w : program.weights) {
    Json& entry = weights.emplace_back(Json{{"name", w.name},
                                            {"type", name(w.dtype)},
                                            {"layout", w.layout->name},
                                            {"shape", {w.copies, w.n, w.k}},
                                            {"bytes", w.bytes},
                                            {"offset", w.offset}});
    if (source) entry["from"] = source_tensors(*source, w);
    table.add({w.name, std::string(name(w.dtype)), std::string(w.layout->name), shape_of(w),
               std::to_string(w.bytes)});
  }
  Section section{"tensors", {{"weights", std::move(weights)}}, table.text()};
  if (!source) return section;
  Json tensors = Json::array();
  Table sources(3, {"tensor of the checkpoint", "type", "shape", "bytes"});
  for (const model::TensorInfo& t : source->checkpoint.tensors()) {
    const std::string& file = source->checkpoint.files()[t.file].path();
    tensors.push_back(
        {{"name", t.name}, {"type", t.dtype_name}, {"shape", t.shape}, {"bytes", t.bytes}, {"file", file}});
    sources.add(
        {t.name, t.dtype_name, fmt::format("[{}]", fmt::join(t.shape, ", ")), std::to_string(t.bytes)});
  }
  section.json["checkpoint"] = std::move(tensors);
  section.text += "\n" + sources.text();
  return section;
}

// --- summary
// -----------------------------------------------------------------------------------------------------

/// Names of the kernels that run matrix products and attention, the ones that matter.
std::set<std::string> main_kernels(const program::Program& program) {
  std::set<std::string> out;
  for (const program::Step& s : program.steps) {
    const std::string_view op = program::op_name(s);
    if (op == ops::Linear::kName || op == ops::Attention::kName || op == ops::MoeMlp::kName)
      out.emplace(program::kernel_name(s));
  }
  return out;
}

Section summary_section(const engine::LoadedModel& model, const engine::MemoryPlan& plan, bool is_engine) {
  const model::Spec& spec = model.spec();
  const model::Recipe& recipe = model.recipe();
  double parameters = 0;
  std::map<std::string, uint64_t> bytes_by_type;
  for (const program::WeightInfo& w : model.program().weights) {
    if (!w.constant) parameters += static_cast<double>(w.copies * w.n * w.k);
    bytes_by_type[std::string(name(w.dtype))] += w.bytes;
  }
  std::string types;
  for (const auto& [type, bytes] : bytes_by_type)
    types += fmt::format("{}{} {}", types.empty() ? "" : ", ", format_bytes(bytes), type);
  const std::set<std::string> kernels = main_kernels(model.program());
  std::string text = fmt::format(
      "{}: {:.1f} M parameters, {} layers, hidden {}, vocabulary {}, context {} tokens{}\n"
      "weights      {}\n"
      "runs         {} sequences of up to {} tokens, {} tokens a step, KV cache of {} tokens in {}\n"
      "kernels      {}\n"
      "memory       {}: weights {}, KV cache {}, activations and workspace {}, tokenizer {}\n",
      spec.arch, parameters / 1e6, spec.layers.size(), spec.hidden, spec.vocab, spec.max_positions,
      is_engine ? "; an engine directory" : "", types, recipe.max_sequences, recipe.max_seq_len,
      recipe.max_batch_tokens, recipe.kv_tokens, name(recipe.kv), fmt::join(kernels, ", "),
      format_bytes(plan.total()), format_bytes(plan.weights), format_bytes(plan.kv_bytes()),
      format_bytes(plan.activations + plan.workspace), format_bytes(plan.tokenizer));
  for (const std::string& note : model.notes()) text += "note: " + note + "\n";
  return {"summary",
          {{"arch", spec.arch},
           {"engine", is_engine},
           {"parameters", parameters},
           {"layers", spec.layers.size()},
           {"hidden", spec.hidden},
           {"vocab", spec.vocab},
           {"max_positions", spec.max_positions},
           {"bytes_by_type", to_json(bytes_by_type)},
           {"kernels", kernels},
           {"memory_bytes", plan.total()},
           {"notes", model.notes()}},
          std::move(text)};
}

// --- the verb
// ----------------------------------------------------------------------------------------------------

Result<std::vector<Section>> sections(const InspectOptions& o) {
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
  SLUICE_ASSIGN(const auto model,
                engine::LoadedModel::plan_only(o.model, std::move(recipe), std::move(backend), {}));
  const bool summary = !(o.spec || o.recipe_shown || o.program || o.memory || o.tensors);
  engine::MemoryPlan plan = model->plan();
  if (o.memory || summary) {
    SLUICE_ASSIGN(const engine::Codec codec, engine::Codec::open(o.model));
    plan.tokenizer = codec.memory_bytes();
  }
  std::vector<Section> out;
  const auto value = [&](const char* name, Json json) {
    std::string text = dump_json(json, 2) + "\n";
    out.push_back({name, std::move(json), std::move(text)});
  };
  if (summary) out.push_back(summary_section(*model, plan, artifact::is_engine_dir(o.model)));
  if (o.spec) value("spec", to_json(model->spec()));
  if (o.recipe_shown) value("recipe", to_json(model->recipe()));
  if (o.program) out.push_back(program_section(model->program()));
  if (o.memory) out.push_back(memory_section(plan));
  if (o.tensors) {
    SLUICE_ASSIGN(Section tensors, tensors_section(o.model, model->program()));
    out.push_back(std::move(tensors));
  }
  return out;
}

Result<int> inspect(const InspectOptions& o) {
  SLUICE_ASSIGN(std::vector<Section> shown, sections(o));
  Json json = Json::object();
  std::string text;
  for (Section& section : shown) {
    text += (text.empty() ? "" : "\n") + section.text;
    json[section.name] = std::move(section.json);
  }
  o.output.json ? print_json(json) : print_raw(text);
  return kDone;
}

}  // namespace

Run declare_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectOptions>();
  app.add_option("MODEL", o->model, "Engine directory, Hugging Face directory or GGUF file")->required();
  app.add_flag("--spec", o->spec, "What the model is, layer by layer");
  app.add_flag("--recipe", o->recipe_shown, "How it shall run");
  app.add_flag("--program", o->program, "The list of ops that a step runs, with their buffers and kernels");
  app.add_flag("--memory", o->memory, "Every byte that `run` with the same options takes");
  app.add_flag("--tensors", o->tensors, "The weights as they lie in memory, and where they come from");
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  return [o] { return inspect(*o); };
}

}  // namespace sluice::tools
