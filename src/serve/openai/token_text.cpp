#include "serve/openai/token_text.h"

#include <algorithm>

namespace sluice::serve {

std::string valid_utf8(std::string_view text) {
  // dump_json replaces what is broken, parse_json gives the string back.
  auto parsed = parse_json(dump_json(Json(std::string(text))), "token");
  return parsed.ok() ? parsed->get<std::string>() : std::string();
}

std::string token_text(const Generation& call, int32_t id) {
  const text::Tokenizer* tokenizer = call.tokenizer();
  if (call.call().tokens_as_ids || tokenizer == nullptr || id >= tokenizer->vocab_size())
    return fmt::format("token_id:{}", id);
  return valid_utf8(tokenizer->token_bytes(id));
}

Json token_bytes(const Generation& call, int32_t id) {
  const text::Tokenizer* tokenizer = call.tokenizer();
  if (tokenizer == nullptr || id >= tokenizer->vocab_size()) return nullptr;
  Json out = Json::array();
  for (const char c : tokenizer->token_bytes(id)) out.push_back(static_cast<unsigned char>(c));
  return out;
}

float finite_logprob(float value) { return std::max(value, -9999.0f); }

Json token_logprobs(const Generation& call, int32_t id, const sampling::TokenLogprobs& l) {
  const auto entry = [&](int32_t token, float logprob) {
    return Json{{"token", token_text(call, token)},
                {"logprob", finite_logprob(logprob)},
                {"bytes", token_bytes(call, token)}};
  };
  Json out = entry(id, l.logprob);
  Json top = Json::array();
  for (const auto& [other, logprob] : l.top) top.push_back(entry(other, logprob));
  out["top_logprobs"] = std::move(top);
  return out;
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace sluice::serve
