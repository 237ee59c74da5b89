// The legacy shape: text_completion.
#include "serve/json_text.h"
#include "serve/openai/choices_formatter.h"
#include "serve/openai/format.h"
#include "serve/openai/token_text.h"

namespace sluice::serve {
namespace {

// The legacy arrays of log-probabilities.
class LogprobArrays {
 public:
  LogprobArrays(const Generation& g, size_t offset) : g_(g), offset_(offset) {}

  void add(int32_t id, const std::optional<sampling::TokenLogprobs>& l) {
    const std::string text = token_text(g_, id);
    tokens_.push_back(text);
    offsets_.push_back(offset_);
    offset_ += count_code_points(text);
    if (!l) {
      logprobs_.push_back(nullptr);
      tops_.push_back(nullptr);
      return;
    }
    logprobs_.push_back(finite_logprob(l->logprob));
    Json top = Json::object();
    for (const auto& [other, logprob] : l->top) top[token_text(g_, other)] = finite_logprob(logprob);
    // The chosen token is always among them, with the same number.
    top[text] = finite_logprob(l->logprob);
    tops_.push_back(std::move(top));
  }

  Json json() && {
    return {{"tokens", std::move(tokens_)},
            {"token_logprobs", std::move(logprobs_)},
            {"top_logprobs", std::move(tops_)},
            {"text_offset", std::move(offsets_)}};
  }
  size_t offset() const { return offset_; }

 private:
  const Generation& g_;
  size_t offset_;
  Json tokens_ = Json::array(), logprobs_ = Json::array(), tops_ = Json::array(), offsets_ = Json::array();
};

class CompletionFormatter : public ChoicesFormatter {
 public:
  CompletionFormatter() : ChoicesFormatter("text_completion") {}

  void chunk(const Generation& g, Choice& choice, const engine::TextEvent& event, const Parts&,
             std::string& out) override {
    if (!worth_a_chunk(g, event)) return;
    const bool first = !std::exchange(choice.begun, true);
    const bool echo = first && g.call().echo;
    open(g, out);
    out += fmt::format("{{\"index\":{},\"text\":", choice.index);
    append_json_string(out, echo ? prompt_of(g, choice).text + event.text : event.text);
    out += ",\"logprobs\":";
    if (event.logprobs || (echo && choice.prompt_logprobs)) {
      LogprobArrays arrays(g, choice.text_offset);
      if (echo) add_prompt(g, choice, arrays);
      if (event.logprobs) arrays.add(event.token, event.logprobs);
      choice.text_offset = arrays.offset();
      out += dump_json(std::move(arrays).json());
    } else {
      out += "null";
    }
    finish(g, choice, event, out);
    out += "}";
    close(g, out);
  }

  std::string whole(const Generation& g) override {
    Json choices = Json::array();
    for (const Choice& choice : g.choices()) {
      const Call& call = g.call();
      Json logprobs;
      if (call.sampling.logprobs >= 0) {
        LogprobArrays arrays(g, 0);
        if (call.echo) add_prompt(g, choice, arrays);
        for (size_t i = 0; i < choice.logprobs.size(); ++i) arrays.add(choice.tokens[i], choice.logprobs[i]);
        logprobs = std::move(arrays).json();
      }
      Json entry = {{"index", choice.index},
                    {"text", call.echo ? prompt_of(g, choice).text + choice.text : choice.text},
                    {"logprobs", std::move(logprobs)},
                    {"finish_reason", finish_reason(choice)},
                    {"stop_reason", stop_reason(g, choice)}};
      if (call.prompt_logprobs >= 0) entry["prompt_logprobs"] = prompt_logprobs(g, choice);
      if (call.return_token_ids) {
        entry["token_ids"] = choice.tokens;
        entry["prompt_token_ids"] = prompt_of(g, choice).ids;
      }
      choices.push_back(std::move(entry));
    }
    return dump_json(envelope(g, std::move(choices)));
  }

 private:
  static void add_prompt(const Generation& g, const Choice& choice, LogprobArrays& arrays) {
    const std::vector<int32_t>& ids = prompt_of(g, choice).ids;
    for (size_t i = 0; i < ids.size(); ++i)
      arrays.add(ids[i], choice.prompt_logprobs ? (*choice.prompt_logprobs)[i] : std::nullopt);
  }
};

}  // namespace

std::unique_ptr<Formatter> completion_formatter() { return std::make_unique<CompletionFormatter>(); }

}  // namespace sluice::serve
