// What transformers' apply_chat_template does to its arguments before it renders them.
#include <array>

#include "text/chat_template.h"
#include "text/jinja/template.h"

namespace sluice::text {
namespace {

Status require_objects(const Json& list, const char* field) {
  if (!list.is_array()) return invalid_argument("{}: must be an array of objects", field);
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) return invalid_argument("{}[{}]: must be an object", field, i);
  }
  return {};
}

/// Clients send `content: null` and `tool_calls: null`; templates expect the key to be missing.
Json without_nulls(const Json& message) {
  Json out = Json::object();
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) out[key] = value;
  }
  return out;
}

/// A message's reasoning goes by three names: templates read the first, or `thinking`.
Json with_reasoning(const Json& message) {
  static constexpr std::array kNames = {"reasoning_content", "thinking", "reasoning"};
  for (const char* name : kNames) {
    if (!message.contains(name)) continue;
    Json out = Json::object();
    out["thinking"] = message[name];
    for (const auto& [key, value] : message.items()) out[key] = value;
    out["reasoning_content"] = message[name];
    return out;
  }
  return message;
}

}  // namespace

Result<Json> chat_variables(Json chat, const Json& special_tokens) {
  if (chat.is_array()) chat = Json{{"messages", std::move(chat)}};
  if (!chat.is_object()) return invalid_argument("messages: must be an array, or an object that holds one");
  if (!chat.contains("messages")) return invalid_argument("messages: is missing");
  SLUICE_TRY(require_objects(chat["messages"], "messages"));
  if (chat["messages"].empty()) return invalid_argument("messages: at least one is needed");

  Json out = special_tokens;
  for (auto& [key, value] : chat.items()) out[key] = std::move(value);
  for (Json& message : out["messages"]) message = with_reasoning(without_nulls(message));
  for (const char* field : {"tools", "documents"}) {
    if (!out.contains(field)) out[field] = nullptr;
    if (!out[field].is_null()) SLUICE_TRY(require_objects(out[field], field));
  }
  if (!out.contains("add_generation_prompt")) out["add_generation_prompt"] = false;
  return out;
}

Status check_template_kwargs(const Json& kwargs) {
  if (!kwargs.is_object()) return invalid_argument("expected an object");
  for (const auto& [key, value] : kwargs.items()) {
    if (key == "messages" || key == "tools" || key == "continue_final_message")
      return invalid_argument("\"{}\" is a field of the request itself; give it there", key);
    if (jinja::is_special_token(key))
      return invalid_argument("\"{}\" is the name of a special token, which only the model sets", key);
  }
  return {};
}

}  // namespace sluice::text
