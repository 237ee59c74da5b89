// The shape of chats: chat.completion and its chunks.
#include "serve/json_text.h"
#include "serve/openai/choices_formatter.h"
#include "serve/openai/format.h"
#include "serve/openai/token_text.h"

namespace sluice::serve {
namespace {

std::string text_delta(const char* name, std::string_view text) {
  std::string out = fmt::format("\"{}\":", name);
  append_json_string(out, text);
  return out;
}

std::string begin_call_delta(const ToolCallDelta& call) {
  std::string out = fmt::format(
      R"("tool_calls":[{{"index":{},"id":"{}","type":"function","function":{{"name":)", call.index, call.id);
  append_json_string(out, call.name);
  return out + R"(,"arguments":""}}])";
}

std::string arguments_delta(const ToolCallDelta& call) {
  std::string out = fmt::format(R"("tool_calls":[{{"index":{},"function":{{"arguments":)", call.index);
  append_json_string(out, call.arguments);
  return out + "}}]";
}

class ChatFormatter : public ChoicesFormatter {
 public:
  explicit ChatFormatter(bool stream)
      : ChoicesFormatter(stream ? "chat.completion.chunk" : "chat.completion") {}

  void chunk(const Generation& g, Choice& choice, const engine::TextEvent& event, const Parts& parts,
             std::string& out) override {
    if (parts.empty() && !worth_a_chunk(g, event)) return;
    if (!std::exchange(choice.begun, true)) {
      delta(g, choice, {}, R"("role":"assistant","content":"")", out);
      if (const std::string& echoed = g.call().echoed_text; !echoed.empty())
        delta(g, choice, {}, text_delta("content", echoed), out);
    }
    engine::TextEvent rest = event;  // its token and log-probabilities go with the first delta
    rest.finish.reset();
    const auto write = [&](const std::string& text) {
      delta(g, choice, rest, text, out);
      rest = {};
    };
    if (!parts.reasoning.empty()) write(text_delta("reasoning_content", parts.reasoning));
    if (!event.text.empty() || (parts.empty() && (event.logprobs || !event.finish)))
      write(text_delta("content", event.text));
    for (const ToolCallDelta& call : parts.calls) {
      if (!call.name.empty()) write(begin_call_delta(call));
      if (!call.arguments.empty()) write(arguments_delta(call));
    }
    rest.finish = event.finish;
    if (event.finish) write("");
  }

  std::string whole(const Generation& g) override {
    Json choices = Json::array();
    for (const Choice& choice : g.choices()) {
      Json logprobs;
      if (g.call().sampling.logprobs >= 0) {
        Json content = Json::array();
        for (size_t i = 0; i < choice.logprobs.size(); ++i)
          content.push_back(token_logprobs(g, choice.tokens[i], choice.logprobs[i]));
        logprobs = {{"content", std::move(content)}, {"refusal", nullptr}};
      }
      Json entry = {{"index", choice.index},
                    {"message", message(g, choice)},
                    {"logprobs", std::move(logprobs)},
                    {"finish_reason", finish_reason(choice)},
                    {"stop_reason", stop_reason(g, choice)}};
      if (g.call().return_token_ids) entry["token_ids"] = choice.tokens;
      choices.push_back(std::move(entry));
    }
    Json out = envelope(g, std::move(choices));
    if (g.call().prompt_logprobs >= 0) out["prompt_logprobs"] = prompt_logprobs(g, g.choices()[0]);
    if (g.call().return_token_ids) out["prompt_token_ids"] = g.call().prompts[0].ids;
    return dump_json(out);
  }

 private:
  static Json message(const Generation& g, const Choice& choice) {
    const std::string text = g.call().echoed_text + choice.text;
    Json out = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
    if (!choice.reasoning.empty()) out["reasoning_content"] = choice.reasoning;
    if (choice.calls.empty()) return out;
    if (text.empty()) out["content"] = nullptr;
    for (const ToolCall& call : choice.calls)
      out["tool_calls"].push_back({{"id", call.id},
                                   {"type", "function"},
                                   {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    return out;
  }

  // `fields`: the members of the delta.
  void delta(const Generation& g, const Choice& choice, const engine::TextEvent& event,
             std::string_view fields, std::string& out) {
    open(g, out);
    out += fmt::format("{{\"index\":{},\"delta\":{{", choice.index);
    out += fields;
    out += "},\"logprobs\":";
    if (event.logprobs) {
      out += "{\"content\":[" + dump_json(token_logprobs(g, event.token, *event.logprobs)) +
             "],\"refusal\":null}";
    } else {
      out += "null";
    }
    finish(g, choice, event, out);
    out += "}";
    close(g, out);
  }
};

}  // namespace

std::unique_ptr<Formatter> chat_formatter(bool stream) { return std::make_unique<ChatFormatter>(stream); }

}  // namespace sluice::serve
