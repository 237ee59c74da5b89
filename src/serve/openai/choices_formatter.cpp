#include "serve/openai/choices_formatter.h"

#include <algorithm>

#include "serve/json_text.h"
#include "serve/openai/token_text.h"

namespace sluice::serve {
namespace {

Json usage_json(const Usage& u) {
  return {{"prompt_tokens", u.prompt},
          {"completion_tokens", u.completion},
          {"total_tokens", u.prompt + u.completion},
          {"prompt_tokens_details", {{"cached_tokens", u.cached}}},
          {"completion_tokens_details", {{"reasoning_tokens", u.reasoning}}}};
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
  begin_ = out.size();
  out += prefix_;
}

void ChoicesFormatter::close(const Generation& g, std::string& out) {
  out += "]";
  if (g.call().obfuscate) out += ",\"obfuscation\":\"" + padding(out.size() - begin_) + "\"";
  if (g.call().continuous_usage) {
    out += ",\"usage\":" + dump_json(usage_json(g.usage()));
  } else if (g.call().include_usage) {
    out += ",\"usage\":null";
  }
  out += "}\n\n";
}

void ChoicesFormatter::finish(const Generation& g, const Choice& choice, const engine::TextEvent& event,
                              std::string& out) {
  out += ",\"finish_reason\":";
  if (event.finish) {
    append_json_string(out, finish_reason(choice));
    out += ",\"stop_reason\":" + dump_json(stop_reason(g, choice));
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

Json ChoicesFormatter::stop_reason(const Generation& g, const Choice& choice) {
  if (choice.stop_string) return *choice.stop_string;
  if (choice.finish != sched::FinishReason::stop || choice.tokens.empty()) return nullptr;
  const std::vector<int32_t>& ids = g.call().sampling.stop_token_ids;
  const auto id = std::find(ids.begin(), ids.end(), choice.tokens.back());
  return id != ids.end() ? Json(*id) : Json(nullptr);
}

Json ChoicesFormatter::prompt_logprobs(const Generation& g, const Choice& choice) {
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

bool ChoicesFormatter::worth_a_chunk(const Generation& g, const engine::TextEvent& event) {
  return !event.text.empty() || event.finish || event.logprobs || g.call().return_token_ids ||
         g.tokenizer() == nullptr;
}

}  // namespace sluice::serve
