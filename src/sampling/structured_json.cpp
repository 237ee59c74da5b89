#include "sampling/structured_json.h"

#include "base/error.h"

namespace sluice::sampling {
namespace {

using Kind = StructuredOutput::Kind;

/// Clients send JSON as it is, or as its text.
StructuredOutput json_output(Kind kind, const Json& value) {
  return {kind, value.is_string() ? value.get<std::string>() : dump_json(value), {}};
}

Result<std::vector<std::string>> strings(const Json& value, const std::string& where) {
  std::vector<std::string> out;
  if (!value.is_array()) return invalid_argument("{}: expected a list of strings", where);
  for (const Json& s : value) {
    if (!s.is_string()) return invalid_argument("{}: expected a list of strings", where);
    out.push_back(s.get<std::string>());
  }
  return out;
}

}  // namespace

Result<StructuredOutput> parse_structured_outputs(const Json& value, const std::string& where) {
  std::string key;
  if (value.is_object()) {
    for (const auto& [name, field] : value.items()) {
      if (field.is_null() || field == Json(false)) continue;
      if (!key.empty())
        return invalid_argument("{}: give one of \"{}\" and \"{}\"", where, key, name.substr(0, 64));
      key = name;
    }
  }
  if (key.empty()) {
    return invalid_argument(
        "{}: expected an object with one of \"json\", \"json_object\", \"regex\", \"choice\", "
        "\"grammar\" and \"structural_tag\"",
        where);
  }
  const Json& field = value[key];
  const std::string here = where + "." + key.substr(0, 64);
  if (key == "json") return json_output(Kind::json_schema, field);
  if (key == "structural_tag") return json_output(Kind::structural_tag, field);
  if (key == "json_object") {
    if (field != Json(true)) return invalid_argument("{}: expected true or false", here);
    return StructuredOutput{};
  }
  if (key == "choice") {
    SLUICE_ASSIGN(std::vector<std::string> choices, strings(field, here));
    return StructuredOutput{Kind::choice, "", std::move(choices)};
  }
  if (key == "regex" || key == "grammar") {
    if (!field.is_string()) return invalid_argument("{}: expected a string", here);
    return StructuredOutput{key == "regex" ? Kind::regex : Kind::grammar, field.get<std::string>(), {}};
  }
  return unsupported("{} is not supported; json, json_object, regex, choice, grammar and structural_tag are",
                     here);
}

Result<std::optional<StructuredOutput>> parse_response_format(const Json& value, const std::string& where) {
  const Json type = value.is_object() ? value.value("type", Json()) : Json();
  if (type == Json("text")) return std::optional<StructuredOutput>();
  if (type == Json("json_object")) {
    if (value.contains("schema")) return std::optional(json_output(Kind::json_schema, value["schema"]));
    return std::optional(StructuredOutput{});
  }
  if (type == Json("json_schema")) {
    const Json inner = value.value("json_schema", Json());
    if (!inner.is_object() || !inner.contains("schema"))
      return invalid_argument("{}.json_schema.schema: it is missing", where);
    return std::optional(json_output(Kind::json_schema, inner["schema"]));
  }
  if (type == Json("regex") || type == Json("ebnf")) {
    const auto name = type.get<std::string>();
    const Json text = value.value(name, Json());
    if (!text.is_string()) return invalid_argument("{}.{}: expected a string", where, name);
    const Kind kind = name == "regex" ? Kind::regex : Kind::grammar;
    return std::optional(StructuredOutput{kind, text.get<std::string>(), {}});
  }
  if (type == Json("structural_tag")) return std::optional(json_output(Kind::structural_tag, value));
  return invalid_argument(
      "{}.type: expected \"text\", \"json_object\", \"json_schema\", \"regex\", \"ebnf\" or "
      "\"structural_tag\"",
      where);
}

}  // namespace sluice::sampling
