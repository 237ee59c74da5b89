#include "text/grammar/schema_merge.h"

#include <algorithm>
#include <map>
#include <optional>

namespace sluice::text::grammar {

KeywordOf keyword_of(const std::string& keyword) {
  using K = KeywordOf;
  static const std::map<std::string, KeywordOf> kKeywords = {
      {"type", K::any},
      {"enum", K::any},
      {"const", K::any},
      {"anyOf", K::any},
      {"oneOf", K::any},
      {"allOf", K::any},
      {"$ref", K::any},
      {"nullable", K::any},
      {"properties", K::object},
      {"required", K::object},
      {"additionalProperties", K::object},
      {"patternProperties", K::object},
      {"propertyNames", K::object},
      {"minProperties", K::object},
      {"maxProperties", K::object},
      {"items", K::array},
      {"prefixItems", K::array},
      {"minItems", K::array},
      {"maxItems", K::array},
      {"uniqueItems", K::array},
      {"minLength", K::string},
      {"maxLength", K::string},
      {"pattern", K::string},
      {"format", K::string},
      {"minimum", K::number},
      {"maximum", K::number},
      {"exclusiveMinimum", K::number},
      {"exclusiveMaximum", K::number},
      {"multipleOf", K::number},
      {"title", K::annotation},
      {"description", K::annotation},
      {"default", K::annotation},
      {"example", K::annotation},
      {"examples", K::annotation},
      {"deprecated", K::annotation},
      {"readOnly", K::annotation},
      {"writeOnly", K::annotation},
      {"contentEncoding", K::annotation},
      {"contentMediaType", K::annotation},
      {"discriminator", K::annotation},
      {"$comment", K::annotation},
      {"$schema", K::annotation},
      {"$id", K::annotation},
      {"$defs", K::annotation},
      {"definitions", K::annotation},
  };
  const auto it = kKeywords.find(keyword);
  if (it != kKeywords.end()) return it->second;
  return keyword.substr(0, 2) == "x-" ? K::annotation : K::unknown;
}

Result<std::vector<std::string>> types_of(const Json& schema, const std::string& where) {
  static const std::vector<std::string> kAll = {"object",  "array",   "string", "number",
                                                "integer", "boolean", "null"};
  const auto type = schema.find("type");
  if (type == schema.end()) return kAll;
  std::vector<std::string> out;
  const Json list = type->is_array() ? *type : Json::array({*type});
  for (const Json& t : list) {
    if (!t.is_string() || std::find(kAll.begin(), kAll.end(), t.get<std::string>()) == kAll.end()) {
      return invalid_argument(
          "{}/type: {} is not a type; expected object, array, string, number, integer, boolean "
          "or null",
          where, dump_json(t).substr(0, 64));
    }
    out.push_back(t.get<std::string>());
  }
  if (out.empty()) return invalid_argument("{}/type: the list is empty", where);
  const auto nullable = schema.find("nullable");
  if (nullable != schema.end() && *nullable == Json(true)) out.push_back("null");
  return out;
}

namespace {

Json all_of(const Json& a, const Json& b) {
  if (a == b) return a;
  return {{"allOf", Json::array({a, b})}};
}

// What `schema` says of a property: its own words, or additionalProperties.
Json property_schema(const Json& schema, const std::string& name) {
  const auto properties = schema.find("properties");
  if (properties != schema.end() && properties->is_object()) {
    const auto it = properties->find(name);
    if (it != properties->end()) return *it;
  }
  return schema.value("additionalProperties", Json(true));
}

void merge_properties(Json& out, const Json& a, const Json& b) {
  Json properties = Json::object();
  for (const Json* schema : {&a, &b}) {
    const auto it = schema->find("properties");
    if (it == schema->end() || !it->is_object()) continue;
    for (const auto& [name, unused] : it->items()) {
      if (properties.contains(name)) continue;
      const Json x = property_schema(a, name), y = property_schema(b, name);
      properties[name] = x == Json(true) ? y : y == Json(true) ? x : all_of(x, y);
    }
  }
  if (a.contains("properties") || b.contains("properties")) out["properties"] = std::move(properties);
  const bool in_a = a.contains("additionalProperties"), in_b = b.contains("additionalProperties");
  if (in_a && in_b) {
    out["additionalProperties"] = all_of(a["additionalProperties"], b["additionalProperties"]);
  } else if (in_a || in_b) {
    out["additionalProperties"] = in_a ? a["additionalProperties"] : b["additionalProperties"];
  }
}

Json united(const Json& a, const Json& b) {
  Json out = a;
  for (const Json& x : b) {
    if (std::find(out.begin(), out.end(), x) == out.end()) out.push_back(x);
  }
  return out;
}

Json common(const Json& a, const Json& b) {
  Json out = Json::array();
  for (const Json& x : a) {
    if (std::find(b.begin(), b.end(), x) != b.end()) out.push_back(x);
  }
  return out;
}

std::optional<Json> merged_values(const std::string& key, const Json& a, const Json& b) {
  if (a == b) return a;
  const bool numbers = a.is_number() && b.is_number(), arrays = a.is_array() && b.is_array();
  if (key.rfind("min", 0) == 0 || key == "exclusiveMinimum")
    return numbers ? std::optional(a < b ? b : a) : std::nullopt;
  if (key.rfind("max", 0) == 0 || key == "exclusiveMaximum")
    return numbers ? std::optional(a < b ? a : b) : std::nullopt;
  if (key == "required" && arrays) return united(a, b);
  if (key == "enum" && arrays) return common(a, b);
  if (key == "allOf" && arrays) return united(a, b);
  if (key == "items" && !a.is_array() && !b.is_array()) return all_of(a, b);
  if (key == "uniqueItems" || key == "nullable") return Json(a == Json(true) || b == Json(true));
  return std::nullopt;
}

// Both of two lists of alternatives, pairwise.
std::optional<Json> merged_alternatives(const Json& a, const Json& b) {
  if (!a.is_array() || !b.is_array() || a.size() * b.size() > 256) return std::nullopt;
  Json out = Json::array();
  for (const Json& x : a) {
    for (const Json& y : b) out.push_back(all_of(x, y));
  }
  return out;
}

Result<Json> merged_types(const Json& a, const Json& b, const std::string& where) {
  SLUICE_ASSIGN(const auto x, types_of(a, where));
  SLUICE_ASSIGN(const auto y, types_of(b, where));
  const auto has = [](const std::vector<std::string>& list, const std::string& t) {
    return std::find(list.begin(), list.end(), t) != list.end();
  };
  Json out = Json::array();
  for (const std::string& t : x) {
    // An integer is a number; "number" with "integer" leaves the integers.
    if (has(y, t) || (t == "integer" && has(y, "number"))) out.push_back(t);
  }
  for (const std::string& t : y) {
    if (t == "integer" && !has(x, t) && has(x, "number")) out.push_back(t);
  }
  return out;
}

}  // namespace

Result<Json> merged(const Json& a, const Json& b, const std::string& where) {
  if (a == Json(true) || a == b) return b;
  if (b == Json(true)) return a;
  if (a == Json(false) || b == Json(false)) return Json(false);
  if (!a.is_object() || !b.is_object()) return invalid_argument("{}: expected a schema", where);
  Json out = Json::object();
  merge_properties(out, a, b);
  if (a.contains("type") || b.contains("type")) {
    SLUICE_ASSIGN(Json types, merged_types(a, b, where));
    if (types.empty()) return Json(false);
    out["type"] = std::move(types);
  }
  for (const Json* schema : {&a, &b}) {
    for (const auto& [key, value] : schema->items()) {
      if (key == "properties" || key == "additionalProperties" || key == "type" || key == "nullable")
        continue;
      if (out.contains(key) || keyword_of(key) == KeywordOf::annotation) continue;
      const Json& other = schema == &a ? b : a;
      if (!other.contains(key)) {
        out[key] = value;
        continue;
      }
      auto both = key == "anyOf" || key == "oneOf" ? merged_alternatives(value, other[key])
                                                   : merged_values(key, value, other[key]);
      if (!both) {
        return unsupported("{}: two schemas that both have \"{}\" cannot be joined", where,
                           key.substr(0, 64));
      }
      out[key] = *std::move(both);
    }
  }
  // Patterns of names would have to be weighed against the other schema's properties.
  for (const char* key : {"patternProperties", "propertyNames"}) {
    if (out.contains(key) && a != b && (a.contains("properties") || b.contains("properties")))
      return unsupported("{}: \"{}\" cannot be joined with another schema's properties", where, key);
  }
  if (out.contains("prefixItems") && !(a.contains("prefixItems") && b.contains("prefixItems")) &&
      (a.contains("items") || b.contains("items"))) {
    return unsupported("{}: \"prefixItems\" cannot be joined with another schema's items", where);
  }
  return out;
}

bool disjoint(const Json& a_in, const Json& b_in, const Resolve& resolve, int depth) {
  if (depth > 8) return false;
  const auto a_resolved = resolve(a_in), b_resolved = resolve(b_in);
  if (!a_resolved.ok() || !b_resolved.ok()) return false;
  const Json &a = *a_resolved, &b = *b_resolved;
  if (a == Json(false) || b == Json(false)) return true;
  if (!a.is_object() || !b.is_object()) return false;
  const auto values = [](const Json& s) {
    return s.contains("const") ? Json::array({s["const"]}) : s.value("enum", Json());
  };
  const Json x = values(a), y = values(b);
  if (x.is_array() && y.is_array()) return common(x, y).empty();
  const auto types = merged_types(a, b, "");
  if (types.ok() && types->empty()) return true;
  // A property that both must have and that cannot satisfy both; or that one needs and the other forbids.
  const auto objects = [](const Json& s) { return s.value("type", Json()) == Json("object"); };
  if (!objects(a) || !objects(b)) return false;
  const auto requires_disjoint = [&](const Json& one, const Json& other) {
    const Json needed = one.value("required", Json::array());
    const Json also = other.value("required", Json::array());
    for (const Json& name : needed) {
      if (!name.is_string()) continue;
      const Json theirs = property_schema(other, name.get<std::string>());
      if (theirs == Json(false)) return true;
      if (std::find(also.begin(), also.end(), name) == also.end()) continue;
      if (disjoint(property_schema(one, name.get<std::string>()), theirs, resolve, depth + 1)) return true;
    }
    return false;
  };
  return requires_disjoint(a, b) || requires_disjoint(b, a);
}

}  // namespace sluice::text::grammar
