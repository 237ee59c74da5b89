#include "serve/openai/responses_input.h"

#include "serve/openai/messages.h"

namespace sluice::serve {
namespace {

std::string required(Fields& item, const char* name) {
  std::string out;
  if (!item.read(name, out)) item.fail(name, "is required");
  return out;
}

Json read_message(Fields& item, bool template_knows_developer) {
  std::string role = required(item, "role");
  if (role != "user" && role != "assistant" && role != "system" && role != "developer")
    item.fail("role", "\"" + role.substr(0, 64) + "\"; choose user, assistant, system or developer");
  if (role == "developer" && !template_knows_developer) role = "system";
  return {{"role", role}, {"content", read_content(item)}};
}

Json read_call(Fields& item) {
  const std::string id = required(item, "call_id"), name = required(item, "name");
  return {
      {"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", read_arguments(item)}}}};
}

void read_item(Fields& item, bool template_knows_developer, Json& messages) {
  std::string type = "message";
  item.read("type", type);
  if (type == "message") {
    messages.push_back(read_message(item, template_knows_developer));
  } else if (type == "function_call") {
    // Text and calls of one turn are one message.
    if (messages.empty() || messages.back()["role"] != "assistant")
      messages.push_back({{"role", "assistant"}, {"content", nullptr}});
    messages.back()["tool_calls"].push_back(read_call(item));
  } else if (type == "function_call_output") {
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", required(item, "call_id")},
                        {"content", read_content(item, "output")}});
  } else if (type != "reasoning") {  // what a model thought is not told to it again
    item.fail("type", "\"" + type.substr(0, 64) + "\" is not supported", "unsupported_parameter");
  }
}

}  // namespace

Json read_input(Fields& fields, bool template_knows_developer) {
  Json out = Json::array();
  std::string text;
  if (fields.read("instructions", text)) out.push_back({{"role", "system"}, {"content", text}});
  const Json& input = fields.get("input");
  if (input.is_string()) {
    out.push_back({{"role", "user"}, {"content", input}});
    return out;
  }
  if (!input.is_array() || input.empty())
    fields.fail("input", "expected a string or an array of at least one item");
  for (size_t i = 0; i < input.size() && !fields.error(); ++i) {
    Fields item(input[i], fmt::format("input[{}].", i));
    read_item(item, template_knows_developer, out);
    fields.adopt(item.error());
  }
  return out;
}

}  // namespace sluice::serve
