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

}  // namespace

Reply chat_completions(App& app, HttpRequest& request) {
  const Body body = parse_body(app, request);
  if (body.error) return error_response(*body.error);
  Fields fields(body.json);
  Call call;
  call.id = app.new_id("chatcmpl-");
  read_model(fields, app, call.model);
  read_call(fields, app, request, call, {"max_completion_tokens", "max_tokens"}, 0);
  read_logprobs(fields, call.sampling);
  const Constraint constraint = read_constraint(fields);
  refuse_tool_calls(constraint, fields);
  fields.unsupported("functions", "is superseded; use tools");
  fields.unsupported("function_call", "is superseded; use tool_choice");
  fields.unsupported("echo", "is not supported for chats");
  fields.unsupported("prompt_logprobs", "is not supported for chats; use /v1/completions");
  const engine::Codec& codec = app.engine()->codec();
  Json conversation = read_conversation(fields, codec, constraint);
  if (fields.error()) return error_response(*fields.error());
  auto ids = codec.encode_chat(std::move(conversation));
  if (!ids.ok()) return error_response(from_status(ids.status(), "messages"));
  call.prompts.push_back({*std::move(ids), ""});
  compile_constraint(fields, app, constraint, call);
  finish_call(fields, app, call);
  if (fields.error()) return error_response(*fields.error());
  const bool stream = call.stream;
  return generate(app, std::move(call), chat_formatter(stream));
}

Reply render_chat(App& app, HttpRequest& request) {
  const Body body = parse_body(app, request);
  if (body.error) return error_response(*body.error);
  Fields fields(body.json);
  std::string model;
  read_model(fields, app, model);
  const Constraint constraint = read_constraint(fields);
  const engine::Codec& codec = app.engine()->codec();
  Json conversation = read_conversation(fields, codec, constraint);
  if (fields.error()) return error_response(*fields.error());
  const auto rendered = codec.render_chat(std::move(conversation));
  if (!rendered.ok()) return error_response(from_status(rendered.status(), "messages"));
  const auto ids = codec.encode_rendered(*rendered);
  if (!ids.ok()) return error_response(from_status(ids.status(), "messages"));
  HttpResponse out;
  out.body = dump_json({{"prompt", rendered->text}, {"token_ids", *ids}, {"count", ids->size()}});
  return out;
}

}  // namespace sluice::serve
