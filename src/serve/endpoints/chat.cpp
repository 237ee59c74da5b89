// POST /v1/chat/completions and /v1/chat/completions/render
#include "serve/endpoints/chat_prompt.h"
#include "serve/endpoints/endpoints.h"
#include "serve/openai/format.h"

namespace sluice::serve {
namespace {

void read_logprobs(Fields& fields, SamplingParams& s) {
  bool wanted = false;
  int top = 0;
  fields.read("logprobs", wanted);
  if (fields.read("top_logprobs", top, 0, 20) && !wanted)
    fields.fail("top_logprobs", "needs logprobs to be true");
  if (wanted) s.logprobs = top;
}

// What the answer follows, where that is an answer too.
std::string text_of_last_answer(const Json& messages) {
  const Json& last = messages.back();
  return last["role"] == "assistant" && last["content"].is_string() ? last["content"].get<std::string>() : "";
}

std::unique_ptr<Formatter> read_chat(Fields& fields, App& app, Call& call, Constraint& constraint) {
  read_logprobs(fields, call.sampling);
  read_format(fields, constraint);
  read_tools(fields, constraint);
  fields.unsupported("functions", "is superseded; use tools");
  fields.unsupported("function_call", "is superseded; use tool_choice");
  bool echo = false;
  fields.read("echo", echo);
  fields.read("prompt_logprobs", call.prompt_logprobs, 0, 20);
  if (call.stream && call.prompt_logprobs >= 0)
    fields.fail("prompt_logprobs", "is not supported with stream");
  const engine::Codec& codec = app.engine()->codec();
  Json conversation = read_conversation(fields, codec);
  if (echo && !fields.error()) call.echoed_text = text_of_last_answer(conversation["messages"]);
  encode_conversation(fields, app, std::move(conversation), "messages", call);
  return chat_formatter(call.stream);
}

}  // namespace

Reply chat_completions(App& app, HttpRequest& request) {
  static constexpr CallKind kKind{"chatcmpl-", {"max_completion_tokens", "max_tokens"}, 0, read_chat};
  return answer(app, request, kKind);
}

Reply render_chat(App& app, HttpRequest& request) {
  const Body body = parse_body(app, request);
  if (body.error) return error_response(*body.error);
  Fields fields(body.json);
  std::string model;
  read_model(fields, app, model);
  Constraint constraint;
  read_tools(fields, constraint);
  const engine::Codec& codec = app.engine()->codec();
  Json conversation = read_conversation(fields, codec);
  if (fields.error()) return error_response(*fields.error());
  const auto rendered = codec.render_chat(std::move(conversation));
  if (!rendered.ok()) return error_response(conversation_error(rendered.status(), "messages"));
  const auto ids = codec.encode_rendered(*rendered);
  if (!ids.ok()) return error_response(from_status(ids.status(), "messages"));
  HttpResponse out;
  out.body = dump_json({{"prompt", rendered->text}, {"token_ids", *ids}, {"count", ids->size()}});
  return out;
}

}  // namespace sluice::serve
