// POST /tokenize and /detokenize, in vLLM's and llama.cpp's shapes; GET /tokenizer_info
#include "serve/endpoints/chat_prompt.h"
#include "serve/endpoints/endpoints.h"
#include "serve/openai/token_text.h"

namespace sluice::serve {
namespace {

std::optional<ApiError> needs_tokenizer(const App& app) {
  if (app.engine()->codec().has_tokenizer()) return std::nullopt;
  return ApiError{.status = 400, .message = "the model comes without a tokenizer"};
}

Json token_strings(const text::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  Json out = Json::array();
  for (const int32_t id : ids) out.push_back(tokenizer.token(id));
  return out;
}

// llama.cpp: {content, add_special, parse_special, with_pieces} to {tokens}
Reply tokenize_content(Fields& fields, const text::Tokenizer& tokenizer) {
  std::string content;
  bool special = false, parse = true, pieces = false;
  fields.read("content", content);
  fields.read("add_special", special);
  fields.read("parse_special", parse);
  fields.read("with_pieces", pieces);
  if (fields.error()) return error_response(*fields.error());
  const auto ids = tokenizer.encode(content, {.add_special = special, .parse_special = parse});
  if (!ids.ok()) return error_response(from_status(ids.status(), "content"));
  Json tokens = Json::array();
  for (const int32_t id : *ids) {
    if (pieces) {
      tokens.push_back({{"id", id}, {"piece", valid_utf8(tokenizer.token_bytes(id))}});
    } else {
      tokens.push_back(id);
    }
  }
  HttpResponse out;
  out.body = dump_json({{"tokens", std::move(tokens)}});
  return out;
}

}  // namespace

Reply tokenize(App& app, HttpRequest& request) {
  const Body body = parse_body(app, request);
  if (body.error) return error_response(*body.error);
  if (const auto error = needs_tokenizer(app)) return error_response(*error);
  const engine::Codec& codec = app.engine()->codec();
  const text::Tokenizer& tokenizer = *codec.tokenizer();
  Fields fields(body.json);
  std::string model, prompt;
  bool special = true, strings = false;
  read_model(fields, app, model);
  if (fields.has("content")) return tokenize_content(fields, tokenizer);
  fields.read("add_special_tokens", special);
  fields.read("return_token_strs", strings);
  Result<std::vector<int32_t>> ids = std::vector<int32_t>();
  if (fields.has("messages")) {
    Json conversation = read_conversation(fields, codec);
    if (!fields.error()) ids = codec.encode_chat(std::move(conversation));
  } else {
    if (!fields.read("prompt", prompt)) fields.fail("prompt", "is required");
    if (!fields.error()) ids = tokenizer.encode(prompt, {.add_special = special});
  }
  if (fields.error()) return error_response(*fields.error());
  if (!ids.ok()) return error_response(conversation_error(ids.status(), "prompt"));
  HttpResponse out;
  out.body = dump_json({{"count", ids->size()},
                        {"max_model_len", app.engine()->max_total_tokens()},
                        {"tokens", *ids},
                        {"token_strs", strings ? token_strings(tokenizer, *ids) : Json(nullptr)}});
  return out;
}

Reply detokenize(App& app, HttpRequest& request) {
  const Body body = parse_body(app, request);
  if (body.error) return error_response(*body.error);
  if (const auto error = needs_tokenizer(app)) return error_response(*error);
  Fields fields(body.json);
  std::string model;
  std::vector<int32_t> ids;
  read_model(fields, app, model);
  if (!fields.read("tokens", ids)) fields.fail("tokens", "is required");
  if (fields.error()) return error_response(*fields.error());
  const auto text = app.engine()->codec().tokenizer()->decode(ids);
  if (!text.ok()) return error_response(from_status(text.status(), "tokens"));
  HttpResponse out;  // llama.cpp's clients read "content"
  out.body = dump_json({{"prompt", *text}, {"content", *text}});
  return out;
}

Reply tokenizer_info(App& app, HttpRequest&) {
  if (!app.options().tokenizer_info) {
    return error_response(
        {.status = 404, .message = "/tokenizer_info is off; --enable_tokenizer_info_endpoint turns it on"});
  }
  if (const auto error = needs_tokenizer(app)) return error_response(*error);
  const engine::Codec& codec = app.engine()->codec();
  Json info = codec.special_tokens();
  for (const char* name : {"bos_token", "eos_token", "pad_token"}) {
    if (!info.contains(name)) info[name] = nullptr;
  }
  const auto source = codec.chat_template_source();
  info["chat_template"] = source.ok() && *source ? Json(**source) : Json(nullptr);
  info["vocab_size"] = codec.tokenizer()->vocab_size();
  info["model_max_length"] = app.engine()->max_total_tokens();
  HttpResponse out;
  out.body = dump_json(info);
  return out;
}

}  // namespace sluice::serve
