#include "text/open_chat.h"

#include <algorithm>

namespace sluice::text {
namespace {

Status can_stay_open(const Json& variables) {
  const auto refuse = [](const char* why) { return invalid_argument("continue_final_message: {}", why); };
  if (variables.value("add_generation_prompt", Json()) == true)
    return refuse("it does not go with add_generation_prompt, which begins a new message");
  const Json& last = variables.at("messages").back();
  if (!last.value("content", Json()).is_string()) return refuse("the last message has no text to go on with");
  if (!last.value("tool_calls", Json()).empty())
    return refuse("the last message has tool calls; only text can be gone on with");
  return {};
}

// Of the text and of what the caller wrote in it.
void cut(RenderedChat& chat, size_t size) {
  chat.text.resize(size);
  while (!chat.from_input.empty() && chat.from_input.back().begin >= size) chat.from_input.pop_back();
  if (!chat.from_input.empty()) chat.from_input.back().end = std::min(chat.from_input.back().end, size);
}

}  // namespace

Result<RenderedChat> render_open(const ChatTemplate& chat, Json variables, const RenderOptions& options) {
  SLUICE_TRY(can_stay_open(variables));
  // A mark behind the text survives whatever the template does with what stands before it.
  std::string mark = "[end of the open message]";
  while (dump_json(variables).find(mark) != std::string::npos) mark += ']';
  Json& content = variables["messages"].back()["content"];
  content = content.get<std::string>() + mark + " ";
  SLUICE_ASSIGN(RenderedChat out, chat.render_marked(variables, options));
  const size_t end = out.text.rfind(mark);
  if (end == std::string::npos)
    return invalid_argument(
        "continue_final_message: the chat template does not print the last message to its end");
  const bool trims = out.text.compare(end + mark.size(), 1, " ") != 0;
  cut(out, end);
  const size_t begin = out.from_input.empty() || out.from_input.back().end < end
                           ? end
                           : out.from_input.back().begin;  // of the message's own last piece
  if (trims) cut(out, std::max(begin, out.text.find_last_not_of(" \t\r\n") + 1));
  return out;
}

}  // namespace sluice::text
