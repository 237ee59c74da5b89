#include "serve/openai/constraint.h"

#include "sampling/structured_json.h"

namespace sluice::serve {

void read_format(Fields& fields, Constraint& out) {
  const auto take = [&](const std::string& field, auto parsed) {
    if (!parsed.ok()) return fields.adopt(parsed.status());
    if (out.format) return fields.fail(field, "only one constraint can be given");
    out.format = *std::move(parsed);
    out.field = field;
  };
  if (const Json& format = fields.get("response_format"); !format.is_null())
    take("response_format", sampling::parse_response_format(format, "response_format"));
  if (const Json& structured = fields.get("structured_outputs"); !structured.is_null())
    take("structured_outputs", sampling::parse_structured_outputs(structured, "structured_outputs"));
  // The older spelling of the same.
  for (const std::string kind : {"json", "regex", "choice", "grammar"}) {
    const std::string name = "guided_" + kind;
    const Json& value = fields.get(name.c_str());
    if (value.is_null()) continue;
    auto parsed = sampling::parse_structured_outputs({{kind, value}}, "structured_outputs");
    if (!parsed.ok()) return fields.fail(name, parsed.status().message());
    take(name, std::move(parsed));
  }
}

void read_tools(Fields& fields, Constraint& out) {
  const Json& tools = fields.get("tools");
  const Json& choice = fields.get("tool_choice");
  auto parsed = text::grammar::parse_tool_request(tools, choice, fields.get("parallel_tool_calls"));
  if (!parsed.ok()) return fields.adopt(parsed.status());
  if (parsed->choice.mode != text::grammar::ToolChoice::Mode::none) out.tools = *std::move(parsed);
}

}  // namespace sluice::serve
