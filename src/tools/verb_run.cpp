// sluice run: one answer, a conversation, or a file of requests.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <csignal>
#include <iostream>

#include "base/file.h"
#include "base/log.h"
#include "engine/open.h"
#include "tools/answer.h"
#include "tools/options.h"
#include "tools/request_json.h"
#include "tools/verbs.h"

namespace sluice::tools {
namespace {

constexpr size_t kMaxPromptBytes = size_t{64} << 20;
constexpr size_t kMaxConstraintBytes = size_t{1} << 20;
constexpr size_t kMaxBatchBytes = size_t{1} << 30;

struct RunOptions {
  OutputOptions output;
  BackendOptions backend;
  RecipeOptions recipe;
  GenerationConfigOption generation_config;
  std::string model;
  std::string prompt, prompt_file, input_ids, batch_file;
  bool chat = false, raw = false;
  CLI::App* app = nullptr;
  SamplingParams sampling;
  uint64_t seed = 0;
  std::string json_schema, regex, grammar;  // files but the regex
  std::vector<std::string> choices;
  bool json_object = false;

  bool given(const char* option) const { return app->get_option(option)->count() > 0; }
};

// What the model's authors recommend, under what the user asked for.
SamplingParams with_defaults(const RunOptions& o, const artifact::GenerationDefaults& d) {
  SamplingParams s = o.sampling;
  if (o.given("--seed")) s.seed = o.seed;
  if (!d.do_sample.value_or(false)) return s;
  const auto take = [&](const char* option, auto& field, const auto& value) {
    if (value && !o.given(option)) field = static_cast<std::remove_reference_t<decltype(field)>>(*value);
  };
  take("--temperature", s.temperature, d.temperature);
  take("--top_k", s.top_k, d.top_k);
  take("--top_p", s.top_p, d.top_p);
  take("--min_p", s.min_p, d.min_p);
  take("--repetition_penalty", s.repetition_penalty, d.repetition_penalty);
  return s;
}

// What the output must match, where an option says so.
Result<std::optional<StructuredOutput>> structured_output(const RunOptions& o) {
  using Kind = StructuredOutput::Kind;
  const auto from_file = [](Kind kind, const std::string& path) -> Result<std::optional<StructuredOutput>> {
    SLUICE_ASSIGN(std::string text, read_text_file(path, kMaxConstraintBytes));
    return std::optional(StructuredOutput{kind, std::move(text), {}});
  };
  if (!o.json_schema.empty()) return from_file(Kind::json_schema, o.json_schema);
  if (!o.grammar.empty()) return from_file(Kind::grammar, o.grammar);
  if (o.given("--regex")) return std::optional(StructuredOutput{Kind::regex, o.regex, {}});
  if (!o.choices.empty()) return std::optional(StructuredOutput{Kind::choice, "", o.choices});
  if (o.json_object) return std::optional(StructuredOutput{});
  return std::optional<StructuredOutput>();
}

// CLI11 takes -1 and 2^64 for the largest number there is.
std::string whole_number(const std::string& text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  return read.ec == std::errc() && read.ptr == end ? ""
                                                   : "\"" + text + "\" is not a number from 0 to 2^64 - 1";
}

void show_text(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// Ctrl-C while an answer is written ends the answer, not the program.
std::atomic<bool> g_interrupted{false};

class Conversation {
 public:
  Conversation(engine::Service& service, const SamplingParams& sampling)
      : service_(service), sampling_(sampling) {}

  Result<int> run() {
    log_info("Type a message; an empty line or Ctrl-D ends the conversation.");
    struct sigaction action {};
    action.sa_handler = [](int) { g_interrupted = true; };
    ::sigaction(SIGINT, &action, &previous_);
    Status status;
    std::string line;
    while (status.ok() && prompt(line)) status = turn(line);
    ::sigaction(SIGINT, &previous_, nullptr);
    SLUICE_TRY(status);
    return kDone;
  }

 private:
  bool prompt(std::string& line) {
    show_text("> ");
    g_interrupted = false;
    return std::getline(std::cin, line) && !line.empty() && !g_interrupted;
  }

  Status turn(const std::string& line) {
    messages_.push_back({{"role", "user"}, {"content", line}});
    SLUICE_ASSIGN(auto ids, service_.codec().encode_chat(messages_));
    SLUICE_ASSIGN(Pending pending, Pending::submit(service_, std::move(ids), sampling_));
    const Answer answer = pending.collect([&](std::string_view text) {
      show_text(text);
      if (g_interrupted) pending.cancel();
    });
    show_text("\n");
    SLUICE_TRY(answer.error);
    messages_.push_back({{"role", "assistant"}, {"content", answer.text}});
    return {};
  }

  engine::Service& service_;
  SamplingParams sampling_;
  Json messages_ = Json::array();
  struct sigaction previous_ {};
};

Result<int> run_batch(const RunOptions& o, engine::Service& service, const SamplingParams& defaults) {
  std::string text;
  if (o.batch_file == "-") {
    SLUICE_ASSIGN(text, read_stdin(kMaxBatchBytes));
  } else {
    SLUICE_ASSIGN(text, read_text_file(o.batch_file, kMaxBatchBytes));
  }
  struct Line {
    Json id;
    std::optional<Pending> pending;
    Status refused;
  };
  std::vector<Line> lines;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Line& entry = lines.emplace_back();
    const std::string where = fmt::format("{}: line {}", o.batch_file, number + 1);
    const auto submit = [&]() -> Status {
      SLUICE_ASSIGN(const Json json, parse_json(line, where));
      if (json.is_object() && json.contains("id")) entry.id = json["id"];
      SLUICE_ASSIGN(ParsedRequest request, parse_request(json, defaults, service.codec(), where));
      auto pending =
          Pending::submit(service, std::move(request.prompt_ids), request.sampling, request.priority);
      if (!pending.ok()) return pending.status().with_context(where);
      entry.pending.emplace(*std::move(pending));
      return {};
    };
    entry.refused = submit();
  }
  bool all_well = true;
  for (Line& line : lines) {
    Json out = Json::object();
    if (!line.id.is_null()) out["id"] = line.id;
    if (line.pending) {
      const Answer answer = line.pending->collect();
      all_well &= answer.error.ok();
      out.update(answer_json(answer));
    } else {
      all_well = false;
      out["error"] = line.refused.message();
    }
    print_json(out);
  }
  return all_well ? kDone : kBadInput;
}

Result<std::vector<int32_t>> prompt_ids(const RunOptions& o, const engine::Codec& codec) {
  if (!o.input_ids.empty()) return parse_ids(o.input_ids, "--input_ids");
  std::string prompt = o.prompt, origin = "--prompt";
  if (!o.prompt_file.empty()) {
    SLUICE_ASSIGN(prompt, read_text_file(o.prompt_file, kMaxPromptBytes));
    origin = o.prompt_file;
  } else if (!o.given("--prompt")) {
    SLUICE_ASSIGN(prompt, read_stdin(kMaxPromptBytes));
    origin = "stdin";
  }
  SLUICE_ASSIGN(prompt, valid_utf8(std::move(prompt), origin));
  if (prompt.empty())
    return invalid_argument("the prompt is empty; give a text with --prompt or --prompt_file");
  SLUICE_ASSIGN(const bool has_template, codec.has_chat_template());
  if (o.chat || (!o.raw && has_template)) {
    return codec.encode_chat(Json::array({{{"role", "user"}, {"content", prompt}}}));
  }
  return codec.encode_prompt(prompt, true);
}

Result<int> run(const RunOptions& o) {
  const int sources = int{o.given("--prompt")} + int{!o.prompt_file.empty()} + int{o.given("--input_ids")} +
                      int{!o.batch_file.empty()};
  if (sources > 1)
    return invalid_argument("give one of --prompt, --prompt_file, --input_ids and --batch_file");
  SLUICE_TRY(validate(o.sampling));
  SLUICE_ASSIGN(const auto structured, structured_output(o));
  SLUICE_ASSIGN(model::Recipe recipe, o.recipe.recipe());
  SLUICE_ASSIGN(ops::Backend backend, o.backend.make(/*populate=*/false));
  SLUICE_ASSIGN(engine::Opened opened, engine::open(o.model, std::move(recipe), std::move(backend),
                                                    {.generation_config = o.generation_config.read()}));
  for (const std::string& note : opened.core->model().notes()) log_info("{}", note);
  engine::Service service(std::move(opened.core), std::move(opened.codec));
  SamplingParams sampling = with_defaults(o, service.codec().defaults());
  sampling.structured_output = structured;
  if (!o.batch_file.empty()) return run_batch(o, service, sampling);
  if (sources == 0 && ::isatty(STDIN_FILENO) && !o.raw) {
    SLUICE_ASSIGN(const bool has_template, service.codec().has_chat_template());
    if (!has_template)
      return invalid_argument("{}: the model has no chat template; give a --prompt", o.model);
    return Conversation(service, sampling).run();
  }
  SLUICE_ASSIGN(auto ids, prompt_ids(o, service.codec()));
  SLUICE_ASSIGN(Pending pending, Pending::submit(service, std::move(ids), sampling));
  const bool stream = !o.output.json;
  const Answer answer = pending.collect(stream ? show_text : std::function<void(std::string_view)>());
  if (stream) {
    if (!service.codec().has_tokenizer()) {
      for (size_t i = 0; i < answer.ids.size(); ++i)
        show_text((i == 0 ? "" : ",") + std::to_string(answer.ids[i]));
    }
    show_text("\n");
  } else {
    print_json(answer_json(answer));
  }
  SLUICE_TRY(answer.error);
  return kDone;
}

}  // namespace

Run declare_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  o->app = &app;
  app.add_option("MODEL", o->model, "An engine directory, a Hugging Face directory or a GGUF file")
      ->required();
  app.add_option("--prompt", o->prompt, "The prompt; without one, a conversation on a terminal, else stdin")
      ->type_name("TEXT");
  app.add_option("--prompt_file", o->prompt_file, "A file with the prompt")->type_name("F");
  app.add_option("--input_ids", o->input_ids, "The prompt as token ids")->type_name("1,2,3");
  app.add_option("--batch_file", o->batch_file,
                 "Requests, one JSON object a line (prompt, messages or input_ids; id; any sampling field); "
                 "- is stdin")
      ->type_name("F.jsonl");
  auto* chat =
      app.add_flag("--chat", o->chat, "Put the prompt through the chat template [where the model has one]");
  app.add_flag("--raw", o->raw, "Take the prompt as it is; special tokens in it count")->excludes(chat);
  SamplingParams& s = o->sampling;
  app.add_option("--max_tokens", s.max_tokens, "Tokens to generate at most")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--min_tokens", s.min_tokens, "Tokens before which no end of text counts")->type_name("N");
  app.add_option("--temperature", s.temperature, "0: always the most likely token")
      ->capture_default_str()
      ->type_name("T");
  app.add_option("--top_k", s.top_k, "Choose among the k most likely; 0: all")->type_name("K");
  app.add_option("--top_p", s.top_p, "Choose among the fewest that reach this probability")->type_name("P");
  app.add_option("--min_p", s.min_p, "Choose among those at least this fraction of the most likely")
      ->type_name("P");
  app.add_option("--repetition_penalty", s.repetition_penalty,
                 "Above 1: tokens seen before become less likely")
      ->type_name("X");
  app.add_option("--presence_penalty", s.presence_penalty, "Subtracted from tokens that the output has")
      ->type_name("X");
  app.add_option("--frequency_penalty", s.frequency_penalty, "Subtracted for each time")->type_name("X");
  app.add_option("--seed", o->seed, "The same seed gives the same answer")
      ->check(whole_number)
      ->type_name("N");
  app.add_option("--stop", s.stop, "End before this string; may be given several times")
      ->type_name("STR")
      ->allow_extra_args(false);
  app.add_flag("--ignore_eos", s.ignore_eos, "Go on past the end of the text");
  app.add_option("--logprobs", s.logprobs, "Log-probabilities of each token and of K alternatives")
      ->type_name("K");
  std::vector<CLI::Option*> constraints = {
      app.add_option("--json_schema", o->json_schema,
                     "The answer is JSON that this file's JSON Schema admits")
          ->type_name("F.json"),
      app.add_flag("--json_object", o->json_object, "The answer is a JSON object"),
      app.add_option("--regex", o->regex, "The whole answer matches this regular expression")
          ->type_name("REGEX"),
      app.add_option("--choice", o->choices, "The answer is this text, or that of another --choice")
          ->type_name("TEXT")
          ->allow_extra_args(false),
      app.add_option("--grammar", o->grammar, "The answer follows this file's grammar (GBNF)")
          ->type_name("F.gbnf")};
  for (size_t i = 0; i < constraints.size(); ++i) {
    for (size_t j = 0; j < i; ++j) constraints[i]->excludes(constraints[j]);
  }
  o->output.declare(app);
  o->backend.declare(app);
  o->recipe.declare(app);
  o->generation_config.declare(app);
  return [o] { return run(*o); };
}

}  // namespace sluice::tools
