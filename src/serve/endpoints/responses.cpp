// POST /v1/responses: nothing is stored.
#include <algorithm>

#include "sampling/structured_json.h"
#include "serve/endpoints/chat_prompt.h"
#include "serve/endpoints/endpoints.h"
#include "serve/openai/format.h"
#include "serve/openai/responses_input.h"

namespace sluice::serve {
namespace {

constexpr const char* kLogprobs = "message.output_text.logprobs";

void refuse_what_is_not_there(Fields& fields) {
  fields.unsupported("store", "responses are not stored; leave it out or set it to false");
  for (const char* name : {"previous_response_id", "conversation"})
    fields.unsupported(name, "responses are not stored; send what went before as items of input");
  fields.unsupported("background", "is not supported");
  fields.unsupported("prompt", "prompts are not stored; use instructions and input");
  if (const Json& truncation = fields.get("truncation"); !truncation.is_null() && truncation != "disabled")
    fields.fail("truncation", "only \"disabled\" is supported: nothing is left out", "unsupported_parameter");
  fields.get("max_tool_calls");  // of tools that the server runs: it has none
}

void read_logprobs(Fields& fields, SamplingParams& s) {
  std::vector<std::string> include;
  int top = 0;
  fields.read("include", include);
  fields.read("top_logprobs", top, 0, 20);
  if (top > 0 || std::find(include.begin(), include.end(), kLogprobs) != include.end()) s.logprobs = top;
}

// text.format: as response_format, but for the schema, which lies beside the type.
Json read_text_format(Fields& fields, Constraint& out) {
  const Json& text = fields.get("text");
  if (text.is_null()) return {{"format", {{"type", "text"}}}};
  Fields inner(text, "text.");
  Json format = inner.get("format");
  if (format.is_object() && format.value("type", Json()) == "json_schema") {
    if (!format.contains("schema")) inner.fail("format.schema", "is required");
    format = {{"type", "json_schema"}, {"json_schema", format}};
  }
  fields.adopt(inner.error());
  if (format.is_null() || fields.error()) return text;
  auto parsed = sampling::parse_response_format(format, "text.format");
  if (!parsed.ok()) fields.adopt(parsed.status());
  if (parsed.ok()) out.format = *std::move(parsed);
  out.field = "text.format";
  return text;
}

Json read_reasoning(Fields& fields, Json& conversation) {
  const Json& reasoning = fields.get("reasoning");
  if (reasoning.is_null()) return nullptr;
  Fields inner(reasoning, "reasoning.");
  std::string effort;
  if (inner.read("effort", effort)) conversation["reasoning_effort"] = effort;
  fields.adopt(inner.error());
  return reasoning;
}

Json or_else(const Json& value, Json otherwise) { return value.is_null() ? std::move(otherwise) : value; }

// What the response repeats of its request.
Json echo_of(Fields& fields, const SamplingParams& s) {
  Json tools = or_else(fields.get("tools"), Json::array());
  for (Json& tool : tools) {
    if (!tool.is_object()) continue;
    if (!tool.contains("parameters")) tool["parameters"] = nullptr;
    tool["strict"] = true;  // calls always match their schema
  }
  return {{"instructions", fields.get("instructions")},
          {"max_output_tokens", fields.get("max_output_tokens")},
          {"metadata", or_else(fields.get("metadata"), Json::object())},
          {"parallel_tool_calls", or_else(fields.get("parallel_tool_calls"), true)},
          {"previous_response_id", nullptr},
          {"store", false},
          {"background", false},
          {"temperature", or_else(fields.get("temperature"), s.temperature)},
          {"top_p", or_else(fields.get("top_p"), s.top_p)},
          {"top_logprobs", std::max(s.logprobs, 0)},
          {"tool_choice", or_else(fields.get("tool_choice"), "auto")},
          {"tools", std::move(tools)},
          {"truncation", "disabled"},
          {"user", fields.get("user")}};
}

std::unique_ptr<Formatter> read_response(Fields& fields, App& app, Call& call, Constraint& constraint) {
  refuse_what_is_not_there(fields);
  if (call.n != 1) fields.fail("n", "a response has one answer");
  read_logprobs(fields, call.sampling);
  Json echo = echo_of(fields, call.sampling);
  echo["text"] = read_text_format(fields, constraint);
  read_tools(fields, constraint);
  const engine::Codec& codec = app.engine()->codec();
  Json conversation = read_conversation(fields, codec, read_input);
  echo["reasoning"] = read_reasoning(fields, conversation);
  encode_conversation(fields, app, std::move(conversation), "input", call);
  return response_formatter(std::move(echo), call.obfuscate);
}

}  // namespace

Reply responses(App& app, HttpRequest& request) {
  static constexpr CallKind kKind{"resp_", {"max_output_tokens"}, 0, read_response};
  return answer(app, request, kKind);
}

}  // namespace sluice::serve
