// sluice verify: does this model compute what the reference implementation computed?
#include "engine/open.h"
#include "engine/verify.h"
#include "model/checkpoint/checkpoint.h"
#include "tools/options.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

struct VerifyVerbOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  std::string model, reference, prefix;
  engine::VerifyOptions verify;
};

// References of quantised checkpoints hold the results of several types under prefixes
// ("Q4_0.prompt_0.logits"): the one that most of this file's matrices have is meant.
Result<std::string> find_prefix(const VerifyVerbOptions& o) {
  if (!o.prefix.empty()) return o.prefix;
  SLUICE_ASSIGN(const model::Checkpoint reference, model::Checkpoint::open(o.reference));
  if (reference.find("prompt_0.logits") != nullptr) return std::string();
  const auto opened = model::Checkpoint::open(o.model);
  if (!opened.ok()) return std::string();
  std::map<std::string, int> votes;
  for (const model::TensorInfo& t : opened->tensors()) {
    if (t.shape.size() > 1) ++votes[t.dtype_name];
  }
  std::string best;
  for (const auto& [type, count] : votes) {
    if (best.empty() || count > votes[best]) best = type;
  }
  return reference.find(best + ".prompt_0.logits") != nullptr ? best + "." : std::string();
}

Json to_json(const engine::VerifyReport& report) {
  Json prompts = Json::array();
  for (const engine::PromptReport& p : report.prompts) {
    prompts.push_back({{"name", p.name},
                       {"tokens", p.tokens},
                       {"max_logit_difference", p.max_logit_difference},
                       {"kl", p.kl},
                       {"top1", p.top1},
                       {"greedy_compared", p.greedy_compared},
                       {"greedy_equal", p.greedy_equal},
                       {"passed", p.passed}});
  }
  Json layer;
  if (report.first_departing_layer >= 0) layer = report.first_departing_layer;
  return {{"passed", report.passed},
          {"prompts", std::move(prompts)},
          {"first_departing_layer", std::move(layer)}};
}

Result<int> verify(const VerifyVerbOptions& options) {
  VerifyVerbOptions o = options;
  // In fp32 unless asked otherwise, whatever the checkpoint's type.
  o.verify.by_distribution = o.recipe.activations == "auto";
  if (o.recipe.activations.empty()) o.recipe.activations = "float";
  SLUICE_ASSIGN(const std::string prefix, find_prefix(o));
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
  SLUICE_ASSIGN(engine::Opened opened, engine::open(o.model, std::move(recipe), std::move(backend)));
  SLUICE_ASSIGN(const engine::VerifyReport report,
                engine::verify(*opened.core, o.reference, prefix, o.verify));
  if (o.output.json) {
    print_json(to_json(report));
  } else {
    std::string text = fmt::format("{:<10} {:>6} {:>12} {:>10} {:>7} {:>9}\n", "prompt", "tokens",
                                   "max |dlogit|", "KL", "top-1", "greedy");
    for (const engine::PromptReport& p : report.prompts) {
      text +=
          fmt::format("{:<10} {:>6} {:>12.3g} {:>10.3g} {:>6.1f}% {:>9} {}\n", p.name, p.tokens,
                      p.max_logit_difference, p.kl, 100 * p.top1,
                      fmt::format("{}/{}", p.greedy_equal, p.greedy_compared), p.passed ? "ok" : "FAILED");
    }
    if (report.first_departing_layer >= 0) {
      const int64_t layer = report.first_departing_layer;
      text += layer == 0
                  ? std::string("the embedding is the first to depart from the reference\n")
                  : fmt::format("layer {} is the first whose output departs from the reference\n", layer - 1);
    }
    text += report.passed ? "passed\n" : "FAILED\n";
    print_raw(text);
  }
  return report.passed ? kDone : kCheckFailed;
}

}  // namespace

Run declare_verify(CLI::App& app) {
  auto o = std::make_shared<VerifyVerbOptions>();
  o->recipe.activations.clear();
  app.add_option("MODEL", o->model, "An engine directory, a Hugging Face directory or a GGUF file")
      ->required();
  app.add_option("--reference", o->reference,
                 "prompt_i.{input_ids,logits,greedy,greedy_margin}, prompt_i.hidden_k")
      ->type_name("F.safetensors")
      ->required();
  app.add_option("--prefix", o->prefix, "Of the reference's tensors, e.g. \"Q4_0.\" [by the model's types]")
      ->type_name("TEXT");
  app.add_option("--tolerance", o->verify.tolerance, "Largest difference of a logit")
      ->capture_default_str()
      ->type_name("X");
  app.add_option("--max_kl", o->verify.max_kl, "With --activations auto: mean KL divergence, nats")
      ->capture_default_str()
      ->type_name("X");
  app.add_option("--min_top1", o->verify.min_top1,
                 "With --activations auto: share of equal most likely tokens")
      ->capture_default_str()
      ->type_name("X");
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  return [o] { return verify(*o); };
}

}  // namespace sluice::tools
