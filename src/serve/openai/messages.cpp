#include "serve/openai/messages.h"

#include <algorithm>
#include <array>

namespace sluice::serve {
namespace {

constexpr std::array<const char*, 6> kRoles = {"developer", "system", "user",
                                               "assistant", "tool",   "function"};

Json read_tool_calls(Fields& message) {
  const Json& calls = message.get("tool_calls");
  if (calls.is_null()) return nullptr;
  if (!calls.is_array()) {
    message.fail("tool_calls", "expected an array");
    return nullptr;
  }
  Json out = calls;
  for (size_t i = 0; i < out.size(); ++i) {
    const std::string where = fmt::format("{}tool_calls[{}].", message.prefix(), i);
    Fields call(calls[i], where);
    Fields function(call.get("function"), where + "function.");
    std::string name;
    if (!function.read("name", name)) function.fail("name", "is required");
    Json arguments = read_arguments(function);
    call.adopt(function.error());
    message.adopt(call.error());
    if (!message.error()) out[i]["function"]["arguments"] = std::move(arguments);
  }
  return out;
}

}  // namespace

Json read_content(Fields& message, const char* name, bool may_be_absent) {
  const Json& content = message.get(name);
  if (content.is_null()) {
    if (!may_be_absent) message.fail(name, "is required");
    return nullptr;
  }
  if (content.is_string()) return content;
  if (!content.is_array()) {
    message.fail(name, "expected a string or an array of parts");
    return nullptr;
  }
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    Fields part(content[i], fmt::format("{}{}[{}].", message.prefix(), name, i));
    std::string type, piece;
    if (!part.read("type", type)) part.fail("type", "is required");
    if (type == "text" || type == "input_text" || type == "output_text") {
      if (!part.read("text", piece)) part.fail("text", "is required");
    } else if (type == "refusal") {
      part.read("refusal", piece);
    } else {
      part.fail("type", "\"" + type.substr(0, 64) + "\" is not supported; this model reads text",
                "unsupported_parameter");
    }
    message.adopt(part.error());
    if (i > 0) text += "\n";
    text += piece;
  }
  return text;
}

Json read_arguments(Fields& function) {
  const Json& arguments = function.get("arguments");
  if (arguments.is_object()) return arguments;
  if (arguments.is_null() || arguments == "") return Json::object();
  const auto parsed = parse_json(arguments.is_string() ? arguments.get<std::string>() : "", "arguments");
  if (parsed.ok() && parsed->is_object()) return *parsed;
  function.fail("arguments", "expected the text of a JSON object");
  return nullptr;
}

Json read_messages(Fields& fields, bool template_knows_developer) {
  const Json& messages = fields.get("messages");
  Json out = Json::array();
  if (!messages.is_array() || messages.empty()) {
    fields.fail("messages", "expected an array of at least one message");
    return out;
  }
  for (size_t i = 0; i < messages.size() && !fields.error(); ++i) {
    Fields message(messages[i], fmt::format("messages[{}].", i));
    std::string role;
    if (!message.read("role", role)) message.fail("role", "is required");
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
      message.fail("role", "\"" + role.substr(0, 64) +
                               "\"; choose developer, system, user, assistant, tool or function");
    }
    if (role == "tool" && !message.has("tool_call_id")) message.fail("tool_call_id", "is required");
    const Json calls = read_tool_calls(message);
    Json content = read_content(message, "content", role == "assistant");
    if (!message.error()) {
      Json& entry = out.emplace_back(messages[i]);
      if (role == "developer" && !template_knows_developer) entry["role"] = "system";
      entry["content"] = std::move(content);
      if (!calls.is_null()) entry["tool_calls"] = calls;
    }
    fields.adopt(message.error());
  }
  return out;
}

}  // namespace sluice::serve
