#include "serve/openai/choices_formatter.h"

#include "serve/json_text.h"

namespace sluice::serve {
namespace {

Json usage_json(const Usage& u) {
  return {{"prompt_tokens", u.prompt},
          {"completion_tokens", u.completion},
          {"total_tokens", u.prompt + u.completion},
          {"prompt_tokens_details", {{"cached_tokens", u.cached}}}};
}

}  // namespace

void ChoicesFormatter::end(const Generation& g, std::string& out) {
  if (g.call().include_usage) {
    open(g, out);
    out += "],\"usage\":" + dump_json(usage_json(g.usage())) + "}\n\n";
  }
  out += "data: [DONE]\n\n";
}

void ChoicesFormatter::open(const Generation& g, std::string& out) {
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

void ChoicesFormatter::close(const Generation& g, std::string& out) {
  if (g.call().continuous_usage) {
    out += "],\"usage\":" + dump_json(usage_json(g.usage())) + "}\n\n";
  } else {
    out += g.call().include_usage ? "],\"usage\":null}\n\n" : "]}\n\n";
  }
}

void ChoicesFormatter::finish(const Generation& g, const Choice& choice, const engine::TextEvent& event,
                              std::string& out) {
  out += ",\"finish_reason\":";
  if (event.finish) {
    append_json_string(out, finish_reason(choice));
    out += ",\"stop_reason\":" + dump_json(stop_reason(choice));
  } else {
    out += "null";
  }
  if (g.call().return_token_ids)
    out += event.token >= 0 ? fmt::format(",\"token_ids\":[{}]", event.token) : ",\"token_ids\":[]";
}

Json ChoicesFormatter::envelope(const Generation& g, Json choices) const {
  const Call& call = g.call();
  return {{"id", call.id},
          {"object", object_},
          {"created", call.created},
          {"model", call.model},
          {"system_fingerprint", g.app().fingerprint()},
          {"choices", std::move(choices)},
          {"usage", usage_json(g.usage())}};
}

const char* ChoicesFormatter::finish_reason(const Choice& choice) {
  switch (*choice.finish) {
    case sched::FinishReason::stop:
      // A stop string may have cut a call short.
      return choice.calls.empty() || choice.stop_string ? "stop" : "tool_calls";
    case sched::FinishReason::length:
      return "length";
    default:
      return "abort";
  }
}

Json ChoicesFormatter::stop_reason(const Choice& choice) {
  if (choice.stop_string) return *choice.stop_string;
  return nullptr;
}

bool ChoicesFormatter::worth_a_chunk(const Generation& g, const engine::TextEvent& event) {
  return !event.text.empty() || event.finish || event.logprobs || g.call().return_token_ids ||
         g.tokenizer() == nullptr;
}

}  // namespace sluice::serve
