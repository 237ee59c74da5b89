// sluice eval: how well the model predicts a text.
#include <chrono>
#include <cmath>

#include "base/fields.h"
#include "base/file.h"
#include "engine/open.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;

struct EvalOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  std::string model, text_file, ids_file;
};

using Passage = std::vector<int32_t>;

// [[ids], ...] or {"passages": [{"ids": [ids], ...}, ...]}
Result<std::vector<Passage>> read_ids(const std::string& path) {
  SLUICE_ASSIGN(const Json json, read_json_file(path, kMaxTextBytes));
  std::vector<Passage> out;
  const Json* list = &json;
  if (json.is_object()) {
    if (!json.contains("passages") || !json["passages"].is_array()) {
      return invalid_argument("{}: expected an array of id arrays, or an object with \"passages\"", path);
    }
    list = &json["passages"];
  }
  if (!list->is_array()) return invalid_argument("{}: expected an array of id arrays", path);
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& entry = (*list)[i];
    const bool object = entry.is_object();
    if (object && !entry.contains("ids")) return invalid_argument("{}: passages[{}] has no \"ids\"", path, i);
    SLUICE_TRY(from_json(object ? entry["ids"] : entry, fmt::format("{}[{}]", path, i), out.emplace_back()));
    if (out.back().empty()) return invalid_argument("{}: passage {} is empty; remove it", path, i);
  }
  if (out.empty()) return invalid_argument("{}: there are no passages; give at least one array of ids", path);
  return out;
}

struct Score {
  int64_t tokens = 0;
  int64_t predicted = 0;
  double nll = 0;  // nats, over the predicted tokens
};

// Passages longer than the context are cut into stretches of it; the first token of each is given, not
// predicted.
Result<Score> score(engine::Core& core, const Passage& passage) {
  Score out;
  out.tokens = static_cast<int64_t>(passage.size());
  const auto limit = static_cast<size_t>(core.model().recipe().max_seq_len);
  for (size_t begin = 0; begin + 1 < passage.size(); begin += limit) {
    const auto part = std::span(passage).subspan(begin, std::min(limit, passage.size() - begin));
    engine::CoreRequest request;
    request.prompt.assign(part.begin(), part.end());
    request.sampling.max_tokens = 0;
    request.prompt_logits = true;
    request.on_logits = [&](int position, std::span<const float> logits) {
      const auto next = static_cast<size_t>(position) + 1;
      if (next >= part.size()) return;
      out.nll += ops::log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(part[next])]);
      ++out.predicted;
    };
    SLUICE_TRY(core.add(std::move(request)).status());
    std::vector<engine::CoreEvent> events;
    while (core.busy()) core.step(events);
    for (const engine::CoreEvent& e : events) SLUICE_TRY(e.error);
  }
  return out;
}

double perplexity(double nll, int64_t predicted) {
  return predicted == 0 ? 1 : std::exp(nll / static_cast<double>(predicted));
}

Result<int> eval(const EvalOptions& o) {
  if (o.text_file.empty() == o.ids_file.empty())
    return invalid_argument("give either --text_file or --ids_file");
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make());
  std::vector<Passage> passages;
  std::string text;
  if (o.text_file.empty()) {
    SLUICE_ASSIGN(passages, read_ids(o.ids_file));
  } else {
    SLUICE_ASSIGN(text, read_text_file(o.text_file, kMaxTextBytes));
    SLUICE_ASSIGN(text, valid_utf8(std::move(text), o.text_file));
  }
  SLUICE_ASSIGN(engine::Opened opened,
                engine::open(o.model, std::move(recipe), std::move(backend), {.logit_rows = 32}));
  if (!o.text_file.empty()) {
    SLUICE_ASSIGN(Passage ids, opened.codec.encode_prompt(text));
    if (ids.empty()) return invalid_argument("{}: the text is empty", o.text_file);
    passages.push_back(std::move(ids));
  }
  uint64_t all_tokens = 0;
  for (const Passage& p : passages) all_tokens += p.size();

  const auto start = std::chrono::steady_clock::now();
  Progress progress("evaluating", all_tokens, Progress::Unit::tokens);
  Json rows = Json::array();
  Score total;
  for (size_t i = 0; i < passages.size(); ++i) {
    auto scored = score(*opened.core, passages[i]);
    if (!scored.ok())
      return scored.status().with_context(
          fmt::format("{}: passage {}", o.text_file.empty() ? o.ids_file : o.text_file, i));
    const Score s = *scored;
    rows.push_back({{"tokens", s.tokens}, {"nll", s.nll}, {"perplexity", perplexity(s.nll, s.predicted)}});
    total.tokens += s.tokens;
    total.predicted += s.predicted;
    total.nll += s.nll;
    progress.update(static_cast<uint64_t>(total.tokens));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double tok_s = static_cast<double>(total.tokens) / seconds;
  if (o.output.json) {
    print_json({{"passages", std::move(rows)},
                {"perplexity", perplexity(total.nll, total.predicted)},
                {"tok_s", tok_s}});
  } else {
    std::string out = fmt::format("{:>8} {:>12} {:>12}\n", "tokens", "nll", "perplexity");
    for (const Json& row : rows) {
      out += fmt::format("{:>8} {:>12.4f} {:>12.4f}\n", row["tokens"].get<int64_t>(),
                         row["nll"].get<double>(), row["perplexity"].get<double>());
    }
    print_raw(out + fmt::format("{:>8} {:>12.4f} {:>12.4f}  ({:.0f} tok/s)\n", total.tokens, total.nll,
                                perplexity(total.nll, total.predicted), tok_s));
  }
  return kDone;
}

}  // namespace

Run declare_eval(CLI::App& app) {
  auto o = std::make_shared<EvalOptions>();
  app.add_option("MODEL", o->model, "An engine directory, a Hugging Face directory or a GGUF file")
      ->required();
  app.add_option("--text_file", o->text_file, "A text")->type_name("F");
  app.add_option("--ids_file", o->ids_file,
                 "An array of arrays of token ids, or an object with passages of ids")
      ->type_name("F.json");
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  return [o] { return eval(*o); };
}

}  // namespace sluice::tools
