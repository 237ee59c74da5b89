// Parses and renders a template: the bytes before the first NUL; those after it, when they are JSON, are its
// variables.
#include <cstddef>
#include <cstdint>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  const text::RenderLimits limits{
      .max_steps = 20'000, .max_output_bytes = 1 << 16, .max_memory_bytes = 1 << 22};
  const auto parsed = text::ChatTemplate::parse(std::string(input.substr(0, end)), limits);
  if (!parsed.ok()) return 0;
  Json variables = {{"messages", {{{"role", "user"}, {"content", "Hi <b>"}}}}, {"x", {1, 2.5, nullptr, "é"}}};
  if (end < size) {
    if (auto json = parse_json(input.substr(end + 1), "fuzz"); json.ok() && json->is_object())
      variables = *json;
  }
  const std::tm noon{};
  if (!parsed->render_marked(variables, {noon}).ok()) return 0;
  return 0;
}
