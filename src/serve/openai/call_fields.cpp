#include "serve/openai/call_fields.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "sampling/request_fields.h"

namespace sluice::serve {
namespace {

SamplingParams default_sampling(const artifact::GenerationDefaults& d) {
  SamplingParams s;
  const auto take = [](auto& field, const auto& value) {
    if (value) field = static_cast<std::remove_reference_t<decltype(field)>>(*value);
  };
  if (!d.do_sample.value_or(true)) return s;
  take(s.temperature, d.temperature);
  take(s.top_k, d.top_k);
  take(s.top_p, d.top_p);
  take(s.min_p, d.min_p);
  take(s.repetition_penalty, d.repetition_penalty);
  return s;
}

void read_stop(Fields& fields, SamplingParams& s) {
  const Json& stop = fields.get("stop");
  if (stop.is_string()) {
    s.stop = {stop.get<std::string>()};
  } else {
    fields.read("stop", s.stop);
  }
}

void read_logit_bias(Fields& fields, int64_t vocab, SamplingParams& s) {
  const Json& bias = fields.get("logit_bias");
  if (bias.is_null()) return;
  if (!bias.is_object()) return fields.fail("logit_bias", "expected an object of token ids");
  for (const auto& member : bias.items()) {
    const std::string& key = member.key();
    int32_t id = -1;
    const auto [end, ec] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (ec != std::errc() || end != key.data() + key.size() || id < 0 || id >= vocab)
      return fields.fail("logit_bias",
                         fmt::format("\"{}\" is not a token id below {}", key.substr(0, 32), vocab));
    const Json& value = member.value();
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100))
      return fields.fail("logit_bias",
                         fmt::format("the bias of token {} must be a number from -100 to 100", id));
    s.logit_bias.emplace_back(id, value.get<float>());
  }
}

void read_sampling(Fields& fields, int64_t vocab, SamplingParams& s) {
  sampling::for_each_request_field(s, [&](const char* name, auto& field) { fields.read(name, field); });
  if (s.top_p == 0) s.top_p = 1e-6f;  // the most likely token alone
  int64_t seed = 0;
  if (fields.read("seed", seed)) s.seed = static_cast<uint64_t>(seed);
  read_stop(fields, s);
  read_logit_bias(fields, vocab, s);
}

void read_stream(Fields& fields, Call& call) {
  fields.read("stream", call.stream);
  const Json& options = fields.get("stream_options");
  if (options.is_null()) return;
  if (!call.stream) return fields.fail("stream_options", "is only allowed with stream");
  Fields inner(options, "stream_options.");
  inner.read("include_usage", call.include_usage);
  inner.read("continuous_usage_stats", call.continuous_usage);
  inner.read("include_obfuscation", call.obfuscate);
  fields.adopt(inner.error());
}

// An id that the client brings becomes part of the call's.
void read_id(Fields& fields, const CallKind& kind, Call& call) {
  std::string id;
  if (!fields.read("request_id", id)) return;
  const bool plain = std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (id.empty() || id.size() > 128 || !plain)
    return fields.fail("request_id", "expected 1 to 128 printable characters");
  call.id = kind.id_prefix + id;
}

// Fields that OpenAI's clients send and that change nothing here.
void accept_without_effect(Fields& fields) {
  for (const char* name : {"user", "metadata", "service_tier", "prompt_cache_key", "safety_identifier",
                           "verbosity", "prediction", "prompt_cache_options", "prompt_cache_retention",
                           "moderation", "spaces_between_special_tokens", "web_search_options", "store"})
    fields.get(name);
  const Json& modalities = fields.get("modalities");
  if (modalities.is_array() && std::find(modalities.begin(), modalities.end(), "audio") != modalities.end())
    fields.fail("modalities", "audio is not supported", "unsupported_parameter");
  fields.unsupported("audio", "audio is not supported");
}

// Sampling, stopping, streaming, priority and timeout; and everything that is accepted and has no effect.
void read_call(Fields& fields, App& app, const HttpRequest& request, const CallKind& kind, Call& call) {
  engine::Service& engine = *app.engine();
  const int64_t vocab = engine.model().spec().vocab;
  call.arrival = request.arrival;
  call.created = static_cast<int64_t>(std::time(nullptr));
  call.sampling = default_sampling(engine.codec().defaults());
  call.sampling.max_tokens = -1;  // not given
  for (const char* name : kind.max_tokens) {
    if (name == nullptr) break;
    int value = -1;
    if (fields.read(name, value, 0, std::numeric_limits<int>::max()) && call.sampling.max_tokens < 0)
      call.sampling.max_tokens = value;
  }
  if (call.sampling.max_tokens < 0 && kind.default_max_tokens > 0)
    call.sampling.max_tokens = kind.default_max_tokens;
  read_sampling(fields, vocab, call.sampling);
  read_stream(fields, call);
  fields.read("n", call.n, 1, 128);
  fields.read("skip_special_tokens", call.skip_special_tokens);
  fields.read("include_stop_str_in_output", call.include_stop);
  fields.read("return_token_ids", call.return_token_ids);
  fields.read("return_tokens_as_token_ids", call.tokens_as_ids);
  if (fields.read("truncate_prompt_tokens", call.truncate_prompt, -1, std::numeric_limits<int>::max()) &&
      call.truncate_prompt == 0)
    fields.fail("truncate_prompt_tokens",
                "0 tokens of a prompt cannot be continued; expected -1 or more than 0");
  fields.read("priority", call.priority, -kHighestPriority, kHighestPriority);
  fields.read("timeout", call.timeout, 0, 1e9);
  fields.read("cache_salt", call.salt);
  read_id(fields, kind, call);
  accept_without_effect(fields);
  fields.unsupported("use_beam_search", "beam search is not supported");
}

void truncate_prompts(const App& app, Call& call) {
  if (call.truncate_prompt == 0) return;
  const int room = app.engine()->max_total_tokens() - std::max(call.sampling.max_tokens, 1);
  const auto keep = static_cast<size_t>(call.truncate_prompt < 0 ? std::max(room, 1) : call.truncate_prompt);
  for (Prompt& prompt : call.prompts) {
    if (prompt.ids.size() <= keep) continue;
    prompt.ids.erase(prompt.ids.begin(), prompt.ids.end() - static_cast<std::ptrdiff_t>(keep));
    const text::Tokenizer* tokenizer = app.engine()->codec().tokenizer();
    if (call.echo && tokenizer != nullptr) prompt.text = tokenizer->decode(prompt.ids, true).value();
  }
}

// Refuses unknown fields (with --strict), and lengths that cannot fit: the last check before queueing.
void finish_call(Fields& fields, const App& app, Call& call) {
  if (app.options().strict) {
    if (const auto unknown = fields.unknown()) fields.fail(*unknown, "unknown field", "unknown_parameter");
  }
  if (fields.error()) return;
  const int limit = app.engine()->max_total_tokens();
  const size_t requests = call.prompts.size() * static_cast<size_t>(call.n);
  if (requests > static_cast<size_t>(app.options().max_requests_per_call))
    fields.fail("n", fmt::format("{} prompts with n = {} are {} requests; at most {} are allowed in one call",
                                 call.prompts.size(), call.n, requests, app.options().max_requests_per_call));
  size_t longest = 0;
  for (const Prompt& prompt : call.prompts) longest = std::max(longest, prompt.ids.size());
  const bool writes = call.sampling.max_tokens != 0;
  const int64_t prompt = static_cast<int64_t>(longest);
  const int64_t given = std::max(call.sampling.max_tokens, writes ? 1 : 0);
  if (prompt + given > limit) {
    fields.fail(
        prompt + 1 > limit ? "prompt" : "max_tokens",
        fmt::format("the prompt has {} tokens and max_tokens is {}, together {}; the context length of "
                    "this server is {} tokens",
                    prompt, given, prompt + given, limit),
        "context_length_exceeded");
  }
  if (call.sampling.max_tokens < 0) call.sampling.max_tokens = limit - static_cast<int>(longest);
  fields.adopt(validate(call.sampling));
  fields.adopt(sampling::validate_token_ids(call.sampling, app.engine()->model().spec().vocab));
  if (fields.error() || call.sampling.bad_words.empty()) return;
  auto bad_words = app.engine()->codec().encode_bad_words(call.sampling.bad_words);
  if (!bad_words.ok()) return fields.adopt(bad_words.status());
  call.bad_words = *std::move(bad_words);
}

}  // namespace

Body parse_body(const App& app, const HttpRequest& request) {
  Body out;
  if (!request.content_encoding.empty() && request.content_encoding != "identity") {
    out.error = ApiError{.status = 415, .message = "compressed bodies are not supported"};
    return out;
  }
  // Clients that name no type mean JSON.
  if (!request.content_type.empty() && request.content_type != "application/json") {
    out.error = ApiError{.status = 415, .message = "the body must be application/json"};
    return out;
  }
  auto json =
      parse_json(request.body, "body",
                 {.max_depth = app.options().max_json_depth, .max_nodes = app.options().max_json_values});
  if (!json.ok()) {
    out.error = ApiError{.status = 400, .message = json.status().message(), .code = "invalid_json"};
  } else if (!json->is_object()) {
    out.error = ApiError{.status = 400, .message = "body: expected a JSON object", .code = "invalid_json"};
  } else {
    out.json = *std::move(json);
  }
  return out;
}

void read_model(Fields& fields, const App& app, std::string& model) {
  model = app.options().model_name;
  std::string name;
  if (!fields.read("model", name)) return;  // the only model there is
  if (name == model) return;
  if (app.options().any_model) {
    model = name;
    return;
  }
  fields.adopt(ApiError{.status = 404,
                        .message = fmt::format("the model \"{}\" does not exist; this server has \"{}\"",
                                               name.substr(0, 128), model),
                        .param = "model",
                        .code = "model_not_found"});
}

Reply answer(App& app, const HttpRequest& request, const CallKind& kind) {
  const Body body = parse_body(app, request);
  if (body.error) return error_response(*body.error);
  Fields fields(body.json);
  Call call;
  call.id = app.new_id(kind.id_prefix);
  read_model(fields, app, call.model);
  read_call(fields, app, request, kind, call);
  Constraint constraint;
  std::unique_ptr<Formatter> formatter = kind.read(fields, app, call, constraint);
  compile_constraint(fields, app, std::move(constraint), call);
  truncate_prompts(app, call);
  finish_call(fields, app, call);
  if (fields.error()) return error_response(*fields.error());
  return generate(app, std::move(call), std::move(formatter));
}

}  // namespace sluice::serve
