#include "serve/endpoints/chat_prompt.h"

namespace sluice::serve {
namespace {

bool knows_developer(const engine::Codec& codec) {
  const auto source = codec.chat_template_source();
  return source.ok() && *source && (*source)->find("developer") != std::string::npos;
}

bool knows_reasoning(const engine::Codec& codec) {
  const auto source = codec.chat_template_source();
  return source.ok() && *source && text::template_has_reasoning(**source);
}

// As templates read them: in the shape of chats (responses spell them flat), parameters never absent.
Json template_tools(Json tools) {
  for (Json& tool : tools) {
    if (!tool.is_object()) continue;
    if (tool.contains("name")) {
      Json function = std::move(tool);
      function.erase("type");
      tool = {{"type", "function"}, {"function", std::move(function)}};
    }
    Json& function = tool["function"];
    if (function.is_object() && function.value("parameters", Json()).is_null())
      function["parameters"] = {{"type", "object"}, {"properties", Json::object()}};
  }
  return tools;
}

}  // namespace

Json read_conversation(Fields& fields, const engine::Codec& codec, Json (*read)(Fields&, bool)) {
  Json variables = Json::object();
  if (const Json& kwargs = fields.get("chat_template_kwargs"); !kwargs.is_null()) {
    if (const Status fine = text::check_template_kwargs(kwargs); !fine.ok())
      fields.fail("chat_template_kwargs", fine.message());
    else
      variables = kwargs;
  }
  std::string effort;
  if (fields.read("reasoning_effort", effort)) variables["reasoning_effort"] = effort;
  variables["messages"] = read(fields, knows_developer(codec));
  if (const Json& tools = fields.get("tools"); !tools.empty()) variables["tools"] = template_tools(tools);
  bool flag = false;
  if (fields.read("add_generation_prompt", flag)) variables["add_generation_prompt"] = flag;
  if (fields.read("continue_final_message", flag)) variables["continue_final_message"] = flag;
  fields.unsupported("chat_template", "a request cannot bring a template of its own");
  fields.unsupported("documents", "is not supported");
  return variables;
}

void encode_conversation(Fields& fields, const App& app, Json conversation, const char* field, Call& call) {
  if (fields.error()) return;
  const engine::Codec& codec = app.engine()->codec();
  const bool open = conversation.value("continue_final_message", false);
  const auto rendered = codec.render_chat(std::move(conversation));
  if (!rendered.ok()) return fields.adopt(conversation_error(rendered.status(), field));
  auto ids = codec.encode_rendered(*rendered);
  if (!ids.ok()) return fields.adopt(from_status(ids.status(), field));
  call.prompts.push_back({*std::move(ids), ""});
  if (app.options().reasoning.value_or(knows_reasoning(codec)))
    call.reasoning = Reasoning{.begun = text::prompt_begins_reasoning(rendered->text, open)};
}

ApiError conversation_error(const Status& status, const char* field) {
  constexpr const char* kContinue = "continue_final_message";
  return from_status(status, status.message().starts_with(kContinue) ? kContinue : field);
}

}  // namespace sluice::serve
