#include "serve/endpoints/chat_prompt.h"

#include "serve/openai/messages.h"

namespace sluice::serve {
namespace {

bool knows_developer(const engine::Codec& codec) {
  const auto source = codec.chat_template_source();
  return source.ok() && *source && (*source)->find("developer") != std::string::npos;
}

}  // namespace

Json read_conversation(Fields& fields, const engine::Codec& codec, const Constraint& constraint) {
  Json variables = Json::object();
  const Json& kwargs = fields.get("chat_template_kwargs");
  if (kwargs.is_object()) {
    variables = kwargs;
  } else if (!kwargs.is_null()) {
    fields.fail("chat_template_kwargs", "expected an object");
  }
  std::string effort;
  if (fields.read("reasoning_effort", effort)) variables["reasoning_effort"] = effort;
  variables["messages"] = read_messages(fields, knows_developer(codec));
  if (!constraint.tools.is_null()) variables["tools"] = constraint.tools;
  bool prompt = true;
  fields.read("add_generation_prompt", prompt);
  variables["add_generation_prompt"] = prompt;
  fields.unsupported("continue_final_message", "is not supported");
  fields.unsupported("chat_template", "a request cannot bring a template of its own");
  fields.unsupported("documents", "is not supported");
  return variables;
}

}  // namespace sluice::serve
