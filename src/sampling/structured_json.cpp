#include "sampling/structured_json.h"

#include "base/error.h"

namespace sluice::sampling {
namespace {

using Kind = StructuredOutput::Kind;

StructuredOutput schema_output(const Json& schema) { return {Kind::json_schema, dump_json(schema), {}}; }

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
        "{}: expected an object with one of \"json\", \"json_object\", \"regex\", \"choice\" and "
        "\"grammar\"",
        where);
  }
  const Json& field = value[key];
  const std::string here = where + "." + key.substr(0, 64);
  if (key == "json") {
    // Clients send the schema as an object, or as its text.
    if (field.is_string()) return StructuredOutput{Kind::json_schema, field.get<std::string>(), {}};
    return schema_output(field);
  }
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
  return unsupported("{} is not supported; json, json_object, regex, choice and grammar are", here);
}

Result<std::optional<StructuredOutput>> parse_response_format(const Json& value, const std::string& where) {
  const Json type = value.is_object() ? value.value("type", Json()) : Json();
  if (type == Json("text")) return std::optional<StructuredOutput>();
  if (type == Json("json_object")) {
    if (value.contains("schema")) return std::optional(schema_output(value["schema"]));
    return std::optional(StructuredOutput{});
  }
  if (type == Json("json_schema")) {
    const Json inner = value.value("json_schema", Json());
    if (!inner.is_object() || !inner.contains("schema"))
      return invalid_argument("{}.json_schema.schema: it is missing", where);
    return std::optional(schema_output(inner["schema"]));
  }
  return invalid_argument("{}.type: expected \"text\", \"json_object\" or \"json_schema\"", where);
}

}  // namespace sluice::sampling
