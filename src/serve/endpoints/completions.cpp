// POST /v1/completions
#include "serve/endpoints/endpoints.h"
#include "serve/openai/call_fields.h"
#include "serve/openai/format.h"

namespace sluice::serve {
namespace {

class Prompts {
 public:
  Prompts(Fields& fields, const App& app) : fields_(fields), codec_(app.engine()->codec()) {
    vocab_ = app.engine()->model().spec().vocab;
    limit_ = app.options().max_requests_per_call;
    fields.read("add_special_tokens", add_special_);
    fields.read("parse_special", parse_special_);
  }

  /// A string, strings, token ids, or lists of them.
  std::vector<Prompt> read(bool echo) {
    const Json& prompt = fields_.get("prompt");
    std::vector<Prompt> out;
    if (prompt.is_string()) {
      out.push_back(of_text(prompt));
    } else if (prompt.is_array() && !prompt.empty()) {
      if (prompt[0].is_number()) {
        out.push_back(of_ids(prompt));
      } else {
        if (prompt.size() > static_cast<size_t>(limit_))
          fields_.fail("prompt", fmt::format("{} prompts; at most {} are allowed", prompt.size(), limit_));
        for (const Json& one : prompt) {
          if (fields_.error()) break;
          out.push_back(one.is_string() ? of_text(one) : of_ids(one));
        }
      }
    } else {
      fields_.fail("prompt", "expected a string, token ids, or a list of either");
    }
    for (Prompt& p : out) {
      if (p.ids.empty()) fields_.fail("prompt", "is empty; it needs at least one token");
      if (echo && p.text.empty() && codec_.has_tokenizer() && !fields_.error())
        p.text = codec_.tokenizer()->decode(p.ids, true).value();
    }
    return out;
  }

 private:
  Prompt of_text(const Json& text) {
    Prompt out{{}, text.get<std::string>()};
    if (!codec_.has_tokenizer()) {
      fields_.fail("prompt", "the model comes without a tokenizer; give token ids");
      return out;
    }
    auto ids =
        codec_.tokenizer()->encode(out.text, {.add_special = add_special_, .parse_special = parse_special_});
    if (!ids.ok()) fields_.fail("prompt", ids.status().message());
    if (ids.ok()) out.ids = *std::move(ids);
    return out;
  }

  Prompt of_ids(const Json& list) {
    Prompt out;
    if (!list.is_array()) {
      fields_.fail("prompt", "expected strings or lists of token ids, not a mixture");
      return out;
    }
    for (const Json& id : list) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab_) {
        fields_.fail("prompt",
                     fmt::format("{} is not a token id below {}", dump_json(id).substr(0, 32), vocab_));
        return out;
      }
      out.ids.push_back(id.get<int32_t>());
    }
    return out;
  }

  Fields& fields_;
  const engine::Codec& codec_;
  int64_t vocab_;
  int limit_;
  bool add_special_ = true, parse_special_ = false;
};

std::unique_ptr<Formatter> read_completion(Fields& fields, App& app, Call& call, Constraint& constraint) {
  fields.read("echo", call.echo);
  fields.read("logprobs", call.sampling.logprobs, 0, 20);
  fields.read("prompt_logprobs", call.prompt_logprobs, 0, 20);
  if (call.echo && call.sampling.logprobs >= 0)
    call.prompt_logprobs = std::max(call.prompt_logprobs, call.sampling.logprobs);
  if (call.stream && call.prompt_logprobs >= 0 && !call.echo)
    fields.fail("prompt_logprobs", "is not supported with stream");
  fields.unsupported("suffix", "is not supported");
  fields.unsupported("tools", "belong to chats; use /v1/chat/completions");
  int best_of = call.n;
  fields.read("best_of", best_of, 0, 20);
  if (best_of > 0 && best_of < call.n) fields.fail("best_of", fmt::format("{} is less than n", best_of));
  if (best_of > call.n) fields.fail("best_of", "more than n is not supported", "unsupported_parameter");
  read_format(fields, constraint);
  if (!fields.error()) call.prompts = Prompts(fields, app).read(call.echo);
  return completion_formatter();
}

}  // namespace

Reply completions(App& app, HttpRequest& request) {
  static constexpr CallKind kKind{"cmpl-", {"max_tokens"}, 16, read_completion};
  return answer(app, request, kKind);
}

Reply embeddings(App& app, HttpRequest&) {
  return error_response(
      {.status = 400,
       .message = fmt::format("{} generates text; it is no embedding model", app.options().model_name),
       .param = "model",
       .code = "unsupported_parameter"});
}

}  // namespace sluice::serve
