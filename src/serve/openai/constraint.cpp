#include "serve/openai/constraint.h"

#include <algorithm>

namespace sluice::serve {
namespace {

void read_response_format(Fields& fields, OutputFormat& out) {
  const Json& value = fields.get("response_format");
  if (value.is_null()) return;
  Fields format(value, "response_format.");
  std::string type;
  if (!format.read("type", type)) format.fail("type", "is required");
  if (type == "text") {
    out.kind = OutputFormat::Kind::text;
  } else if (type == "json_object") {
    out.schema = format.get("schema");  // llama.cpp's spelling of json_schema
    out.kind = out.schema.is_null() ? OutputFormat::Kind::json_object : OutputFormat::Kind::json_schema;
  } else if (type == "json_schema") {
    out.kind = OutputFormat::Kind::json_schema;
    const Json& wrapper = format.get("json_schema");
    Fields inner(wrapper, "response_format.json_schema.");
    inner.read("strict", out.strict);
    out.schema = inner.get("schema");
    if (out.schema.is_null()) inner.fail("schema", "is required");
    format.adopt(inner.error());
  } else {
    format.fail("type", "\"" + type.substr(0, 64) + "\"; choose text, json_object or json_schema");
  }
  if (out.kind == OutputFormat::Kind::json_schema && !out.schema.is_object() && !out.schema.is_boolean())
    format.fail("json_schema.schema", "expected a JSON schema");
  out.field = "response_format";
  fields.adopt(format.error());
}

// One of json, regex, choice, grammar; in an object or as guided_json, guided_regex, ...
void read_structured(Fields& fields, Fields& parent, const std::string& prefix, OutputFormat& out) {
  const auto set = [&](OutputFormat::Kind kind, const std::string& name) {
    if (out.kind != OutputFormat::Kind::text) parent.fail(name, "only one constraint can be given");
    out.kind = kind;
    out.field = name;
  };
  if (const Json& schema = fields.get((prefix + "json").c_str()); !schema.is_null()) {
    set(OutputFormat::Kind::json_schema, prefix + "json");
    out.schema = schema;
    if (schema.is_string()) {
      auto parsed = parse_json(schema.get<std::string>(), prefix + "json");
      if (!parsed.ok()) fields.fail(prefix + "json", parsed.status().message());
      if (parsed.ok()) out.schema = *std::move(parsed);
    }
  }
  if (fields.read((prefix + "regex").c_str(), out.pattern)) set(OutputFormat::Kind::regex, prefix + "regex");
  if (fields.read((prefix + "choice").c_str(), out.choices)) {
    set(OutputFormat::Kind::choice, prefix + "choice");
    if (out.choices.empty()) fields.fail(prefix + "choice", "expected at least one string");
  }
  if (fields.read((prefix + "grammar").c_str(), out.pattern))
    set(OutputFormat::Kind::grammar, prefix + "grammar");
}

void read_tools(Fields& fields, Constraint& out) {
  out.tools = fields.get("tools");
  if (!out.tools.is_null() && !out.tools.is_array()) fields.fail("tools", "expected an array");
  if (out.tools.is_array() && out.tools.empty()) out.tools = nullptr;
  std::vector<std::string> names;
  for (size_t i = 0; out.tools.is_array() && i < out.tools.size(); ++i) {
    const std::string prefix = fmt::format("tools[{}].", i);
    Fields tool(out.tools[i], prefix);
    std::string type = "function";
    tool.read("type", type);
    if (type != "function") tool.fail("type", "only \"function\" is supported", "unsupported_parameter");
    Fields function(tool.get("function"), prefix + "function.");
    std::string name;
    if (!function.read("name", name)) function.fail("name", "is required");
    const auto allowed = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
             c == '-';
    };
    if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), allowed))
      function.fail("name", "expected 1 to 64 letters, digits, _ or -");
    if (std::find(names.begin(), names.end(), name) != names.end())
      function.fail("name", "\"" + name + "\" is given twice");
    names.push_back(name);
    if (const Json& parameters = function.get("parameters"); !parameters.is_null() && !parameters.is_object())
      function.fail("parameters", "expected a JSON schema");
    tool.adopt(function.error());
    fields.adopt(tool.error());
  }
  ToolChoice& choice = out.choice;
  if (!out.tools.is_null()) choice.kind = ToolChoice::Kind::automatic;
  fields.read("parallel_tool_calls", choice.parallel);
  const Json& value = fields.get("tool_choice");
  if (value == "none") {
    choice.kind = ToolChoice::Kind::none;
  } else if (value == "auto") {
    if (out.tools.is_null()) fields.fail("tool_choice", "\"auto\" needs tools");
  } else if (value == "required") {
    choice.kind = ToolChoice::Kind::required;
    if (out.tools.is_null()) fields.fail("tool_choice", "\"required\" needs tools");
  } else if (value.is_object()) {
    choice.kind = ToolChoice::Kind::named;
    const Json::const_iterator function = value.find("function");
    if (function != value.end() && function->is_object() && function->contains("name") &&
        (*function)["name"].is_string())
      choice.name = (*function)["name"].get<std::string>();
    if (std::find(names.begin(), names.end(), choice.name) == names.end())
      fields.fail("tool_choice", "names no function of tools");
  } else if (!value.is_null()) {
    fields.fail("tool_choice", "expected \"none\", \"auto\", \"required\" or a function");
  }
}

}  // namespace

Constraint read_constraint(Fields& fields) {
  Constraint out;
  read_response_format(fields, out.format);
  if (const Json& value = fields.get("structured_outputs"); !value.is_null()) {
    Fields inner(value, "structured_outputs.");
    read_structured(inner, inner, "", out.format);
    inner.unsupported("structural_tag", "is not supported");
    if (const auto unknown = inner.unknown()) inner.fail(*unknown, "unknown kind of constraint");
    fields.adopt(inner.error());
    out.format.field = "structured_outputs";
  }
  read_structured(fields, fields, "guided_", out.format);
  read_tools(fields, out);
  return out;
}

std::optional<StructuredOutput> structured_output(const OutputFormat& format) {
  using Kind = StructuredOutput::Kind;
  switch (format.kind) {
    case OutputFormat::Kind::text:
      return std::nullopt;
    case OutputFormat::Kind::json_object:
      return StructuredOutput{Kind::json_object, "", {}};
    case OutputFormat::Kind::json_schema:
      return StructuredOutput{Kind::json_schema, dump_json(format.schema), {}};
    case OutputFormat::Kind::regex:
      return StructuredOutput{Kind::regex, format.pattern, {}};
    case OutputFormat::Kind::choice:
      return StructuredOutput{Kind::choice, "", format.choices};
    case OutputFormat::Kind::grammar:
      return StructuredOutput{Kind::grammar, format.pattern, {}};
  }
  return std::nullopt;
}

void refuse_tool_calls(const Constraint& constraint, Fields& fields) {
  if (constraint.choice.kind == ToolChoice::Kind::none) return;
  fields.fail("tools",
              "tool calls are not supported yet; with tool_choice \"none\" the model only sees the tools",
              "unsupported_parameter");
}

}  // namespace sluice::serve
