#include "serve/openai/format.h"

#include "serve/json_text.h"
#include "serve/openai/token_text.h"

namespace sluice::serve {

Json usage_json(const Usage& u) {
  return {{"prompt_tokens", u.prompt},
          {"completion_tokens", u.completion},
          {"total_tokens", u.prompt + u.completion},
          {"prompt_tokens_details", {{"cached_tokens", u.cached}}}};
}

const char* finish_name(sched::FinishReason reason) {
  switch (reason) {
    case sched::FinishReason::stop:
      return "stop";
    case sched::FinishReason::length:
      return "length";
    default:
      return "abort";
  }
}

namespace {

// What both shapes share: the envelope of a chunk and the end of a stream.
class OpenAiFormatter : public Formatter {
 public:
  explicit OpenAiFormatter(const char* object) : object_(object) {}

  void end(const Generation& g, std::string& out) override {
    if (g.call().include_usage) {
      open(g, out);
      out += "],\"usage\":" + dump_json(usage_json(g.usage())) + "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

 protected:
  // data: {"id":...,"choices":[
  void open(const Generation& g, std::string& out) {
    if (prefix_.empty()) {
      const Call& call = g.call();
      prefix_ = "data: {\"id\":";
      append_json_string(prefix_, call.id);
      prefix_ += fmt::format(",\"object\":\"{}\",\"created\":{},\"model\":", object_, call.created);
      append_json_string(prefix_, call.model);
      prefix_ += ",\"system_fingerprint\":";
      append_json_string(prefix_, g.app().fingerprint());
      prefix_ += ",\"choices\":[";
    }
    out += prefix_;
  }

  void close(const Generation& g, std::string& out) {
    if (g.call().continuous_usage) {
      out += "],\"usage\":" + dump_json(usage_json(g.usage())) + "}\n\n";
    } else {
      out += g.call().include_usage ? "],\"usage\":null}\n\n" : "]}\n\n";
    }
  }

  // ,"finish_reason":...,"stop_reason":... and, where asked for, token ids
  void finish(const Generation& g, const Choice& choice, const engine::TextEvent& event, std::string& out) {
    out += ",\"finish_reason\":";
    if (event.finish) {
      append_json_string(out, finish_name(*event.finish));
      out += ",\"stop_reason\":" + dump_json(stop_reason(choice));
    } else {
      out += "null";
    }
    if (g.call().return_token_ids)
      out += event.token >= 0 ? fmt::format(",\"token_ids\":[{}]", event.token) : ",\"token_ids\":[]";
  }

  Json envelope(const Generation& g, Json choices) const {
    const Call& call = g.call();
    return {{"id", call.id},
            {"object", object_},
            {"created", call.created},
            {"model", call.model},
            {"system_fingerprint", g.app().fingerprint()},
            {"choices", std::move(choices)},
            {"usage", usage_json(g.usage())}};
  }

  static Json stop_reason(const Choice& choice) {
    if (choice.stop_string) return *choice.stop_string;
    return nullptr;
  }

  static bool worth_a_chunk(const Generation& g, const engine::TextEvent& event) {
    return !event.text.empty() || event.finish || event.logprobs || g.call().return_token_ids ||
           g.tokenizer() == nullptr;
  }

 private:
  const char* object_;
  std::string prefix_;
};

// ---- chat
// ------------------------------------------------------------------------------------------------------------------------

Json chat_logprob(const Generation& g, int32_t id, float logprob) {
  return {{"token", token_text(g, id)}, {"logprob", finite_logprob(logprob)}, {"bytes", token_bytes(g, id)}};
}

Json chat_token_logprobs(const Generation& g, int32_t id, const sampling::TokenLogprobs& l) {
  Json out = chat_logprob(g, id, l.logprob);
  Json top = Json::array();
  for (const auto& [other, logprob] : l.top) top.push_back(chat_logprob(g, other, logprob));
  out["top_logprobs"] = std::move(top);
  return out;
}

class ChatFormatter : public OpenAiFormatter {
 public:
  explicit ChatFormatter(bool stream)
      : OpenAiFormatter(stream ? "chat.completion.chunk" : "chat.completion") {}

  void chunk(const Generation& g, Choice& choice, const engine::TextEvent& event, std::string& out) override {
    if (!worth_a_chunk(g, event)) return;
    if (!std::exchange(choice.begun, true)) {
      open(g, out);
      out += fmt::format(
          R"({{"index":{},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}})",
          choice.index);
      close(g, out);
    }
    if (!event.text.empty() || event.logprobs || !event.finish) {
      engine::TextEvent content = event;
      content.finish.reset();
      delta(g, choice, content, out);
    }
    if (event.finish) {
      engine::TextEvent last;
      last.finish = event.finish;
      delta(g, choice, last, out);
    }
  }

  std::string whole(const Generation& g) override {
    Json choices = Json::array();
    for (const Choice& choice : g.choices()) {
      Json logprobs;
      if (g.call().sampling.logprobs >= 0) {
        Json content = Json::array();
        for (size_t i = 0; i < choice.logprobs.size(); ++i)
          content.push_back(chat_token_logprobs(g, choice.tokens[i], choice.logprobs[i]));
        logprobs = {{"content", std::move(content)}, {"refusal", nullptr}};
      }
      Json entry = {{"index", choice.index},
                    {"message", {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}}},
                    {"logprobs", std::move(logprobs)},
                    {"finish_reason", finish_name(*choice.finish)},
                    {"stop_reason", stop_reason(choice)}};
      if (g.call().return_token_ids) entry["token_ids"] = choice.tokens;
      choices.push_back(std::move(entry));
    }
    Json out = envelope(g, std::move(choices));
    if (g.call().return_token_ids) out["prompt_token_ids"] = g.call().prompts[0].ids;
    return dump_json(out);
  }

 private:
  void delta(const Generation& g, const Choice& choice, const engine::TextEvent& event, std::string& out) {
    open(g, out);
    out += fmt::format("{{\"index\":{},\"delta\":{{", choice.index);
    if (!event.finish) {
      out += "\"content\":";
      append_json_string(out, event.text);
    }
    out += "},\"logprobs\":";
    if (event.logprobs) {
      out += "{\"content\":[" + dump_json(chat_token_logprobs(g, event.token, *event.logprobs)) +
             "],\"refusal\":null}";
    } else {
      out += "null";
    }
    finish(g, choice, event, out);
    out += "}";
    close(g, out);
  }
};

// ---- completions
// -----------------------------------------------------------------------------------------------------------------

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

class CompletionFormatter : public OpenAiFormatter {
 public:
  CompletionFormatter() : OpenAiFormatter("text_completion") {}

  void chunk(const Generation& g, Choice& choice, const engine::TextEvent& event, std::string& out) override {
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
                    {"finish_reason", finish_name(*choice.finish)},
                    {"stop_reason", stop_reason(choice)}};
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
  static const Prompt& prompt_of(const Generation& g, const Choice& choice) {
    return g.call().prompts[static_cast<size_t>(choice.prompt)];
  }

  static void add_prompt(const Generation& g, const Choice& choice, LogprobArrays& arrays) {
    const std::vector<int32_t>& ids = prompt_of(g, choice).ids;
    for (size_t i = 0; i < ids.size(); ++i)
      arrays.add(ids[i], choice.prompt_logprobs ? (*choice.prompt_logprobs)[i] : std::nullopt);
  }

  // As vLLM gives them: for each prompt token, an object by token id; null for the first.
  static Json prompt_logprobs(const Generation& g, const Choice& choice) {
    Json out = Json::array();
    const std::vector<int32_t>& ids = prompt_of(g, choice).ids;
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto& l = (*choice.prompt_logprobs)[i];
      if (!l) {
        out.push_back(nullptr);
        continue;
      }
      Json entry = Json::object();
      const auto add = [&](int32_t id, float logprob, int rank) {
        entry[std::to_string(id)] = {
            {"logprob", finite_logprob(logprob)}, {"rank", rank}, {"decoded_token", token_text(g, id)}};
      };
      for (size_t t = 0; t < l->top.size(); ++t)
        add(l->top[t].first, l->top[t].second, static_cast<int>(t) + 1);
      add(ids[i], l->logprob, l->rank + 1);
      out.push_back(std::move(entry));
    }
    return out;
  }
};

}  // namespace

std::unique_ptr<Formatter> chat_formatter(bool stream) { return std::make_unique<ChatFormatter>(stream); }
std::unique_ptr<Formatter> completion_formatter() { return std::make_unique<CompletionFormatter>(); }

}  // namespace sluice::serve
