// Arrays and objects of JSON Schema.
#include <algorithm>

#include "text/grammar/schema_compiler.h"
#include "text/grammar/schema_merge.h"

namespace sluice::text::grammar {

Result<NodeId> SchemaCompiler::array(const Json& s, const At& at) {
  SLUICE_ASSIGN(const int32_t min, count(s, "minItems", 0, at));
  SLUICE_ASSIGN(int32_t max, count(s, "maxItems", kUnbounded, at));
  if (s.value("uniqueItems", Json(false)) == Json(true) && (max == kUnbounded || max > 1))
    return refused(at, "the keyword \"uniqueItems\" is not supported; no grammar can compare items");
  Json prefix = s.value("prefixItems", Json::array());
  Json rest = s.value("items", Json(true));
  if (rest.is_array()) {  // how drafts before 2020-12 spell prefixItems
    if (!prefix.empty()) return bad(at, "items: expected a schema beside prefixItems");
    prefix = std::move(rest);
    rest = true;
  }
  if (!prefix.is_array()) return bad(at, "prefixItems: expected a list of schemas");
  if (max != kUnbounded && min > max) return nothing();
  if (max != kUnbounded && prefix.size() > static_cast<size_t>(max))
    prefix.erase(prefix.begin() + max, prefix.end());
  std::vector<NodeId> first;
  for (size_t i = 0; i < prefix.size(); ++i) {
    SLUICE_ASSIGN(const NodeId node, schema(prefix[i], at.below(fmt::format("prefixItems/{}", i))));
    first.push_back(g_.sequence({node, text_.space()}));
  }
  const auto size = static_cast<int32_t>(first.size());
  if (rest == Json(false)) {
    if (min > size) return nothing();
    max = max == kUnbounded ? size : std::min(max, size);
  }
  NodeId item = -1;
  if (max == kUnbounded || max > size) {
    const At here = at.below("items");
    SLUICE_ASSIGN(item, schema(rest, here));
    item = g_.sequence({as_rule(item, here), text_.space()});
  }
  SLUICE_ASSIGN(const NodeId inside, items_of(first, item, min, max));
  return text_.enclosed("[", inside, "]");
}

// Vertex k: k items have been written; from the first vertex behind the prefix on, a repetition.
Result<NodeId> SchemaCompiler::items_of(const std::vector<NodeId>& prefix, NodeId item, int32_t min,
                                        int32_t max) {
  std::vector<NodeId> first = prefix;
  if (first.empty() && max != 0) first.push_back(item);
  const auto n = static_cast<int32_t>(first.size());
  const int32_t end = n + 1;
  std::vector<GraphEdge> edges;
  for (int32_t k = 0; k < n; ++k) {
    const NodeId one = first[static_cast<size_t>(k)];
    edges.push_back({k, k + 1, k == 0 ? one : g_.sequence({text_.separator(), one})});
    if (k >= min) edges.push_back({k, end, GraphEdge::kEpsilon});
  }
  if (max == kUnbounded || max > n) {
    const NodeId more = g_.sequence({text_.separator(), item});
    edges.push_back(
        {n, end, g_.repeat(more, std::max(0, min - n), max == kUnbounded ? kUnbounded : max - n)});
  } else {
    edges.push_back({n, end, GraphEdge::kEpsilon});
  }
  return g_.graph(end + 1, std::move(edges));
}

Result<NodeId> SchemaCompiler::object(const Json& s, const At& at) {
  const Json properties = s.value("properties", Json::object()),
             required = s.value("required", Json::array());
  if (!properties.is_object()) return bad(at, "properties: expected an object");
  if (!required.is_array()) return bad(at, "required: expected a list of names");
  if (s.contains("patternProperties")) return pattern_map(s, at);
  Json extra_schema = s.value("additionalProperties", Json(properties.empty()));
  std::vector<std::string> needed, names;
  for (const Json& name : required) {
    if (!name.is_string()) return bad(at, "required: expected a list of names");
    needed.push_back(name.get<std::string>());
  }
  const auto is_needed = [&](const std::string& name) {
    return std::find(needed.begin(), needed.end(), name) != needed.end();
  };
  std::vector<Property> listed_properties;
  const auto add = [&](const std::string& name, const Json& value, const At& here) -> Status {
    names.push_back(name);
    if (value == Json(false) && !is_needed(name)) return {};
    SLUICE_ASSIGN(const NodeId node, schema(value, here));
    listed_properties.push_back({text_.member(g_.bytes(dump_json(name)), node), is_needed(name)});
    return {};
  };
  for (const auto& [name, value] : properties.items())
    SLUICE_TRY(add(name, value, at.below("properties/" + name)));
  for (const std::string& name : needed) {
    // Required and not described: whatever additional properties may be.
    if (std::find(names.begin(), names.end(), name) == names.end())
      SLUICE_TRY(add(name, s.value("additionalProperties", Json(true)), at.below("required")));
  }
  NodeId extra = -1;
  if (extra_schema != Json(false)) {
    const At here = at.below("additionalProperties");
    SLUICE_ASSIGN(NodeId value, schema(extra_schema, here));
    value = as_rule(value, here);
    NodeId key = text_.string_except(names);
    if (const auto it = s.find("propertyNames"); it != s.end()) {
      if (!names.empty()) return refused(at, "\"propertyNames\" beside properties is not supported");
      const At there = at.below("propertyNames");
      SLUICE_ASSIGN(Json name_schema, resolved(*it, there));
      SLUICE_ASSIGN(name_schema, merged({{"type", "string"}}, name_schema, where_ + there.pointer));
      SLUICE_ASSIGN(key, schema(name_schema, there));
      key = as_rule(key, there);
    }
    extra = text_.member(key, value);
  }
  if (listed_properties.empty() && extra >= 0) return map(s, extra, at);
  SLUICE_ASSIGN(const int32_t min, count(s, "minProperties", 0, at));
  SLUICE_ASSIGN(const int32_t max, count(s, "maxProperties", kUnbounded, at));
  if (min > static_cast<int32_t>(needed.size()))
    return refused(at, "\"minProperties\" above the number of required properties is not supported");
  if (max != kUnbounded && (extra >= 0 || max < static_cast<int32_t>(listed_properties.size())))
    return refused(at, "\"maxProperties\" beside properties is not supported");
  return text_.enclosed("{", listed(listed_properties, extra), "}");
}

// Names of one kind, each with values of one kind. That no name comes twice is left to the model.
Result<NodeId> SchemaCompiler::map(const Json& s, NodeId member, const At& at) {
  SLUICE_ASSIGN(const int32_t min, count(s, "minProperties", 0, at));
  SLUICE_ASSIGN(const int32_t max, count(s, "maxProperties", kUnbounded, at));
  if (max != kUnbounded && min > max) return nothing();
  SLUICE_ASSIGN(const NodeId inside, items_of({}, member, min, max));
  return text_.enclosed("{", inside, "}");
}

Result<NodeId> SchemaCompiler::pattern_map(const Json& s, const At& at) {
  const Json& patterns = s["patternProperties"];
  if (!patterns.is_object()) return bad(at, "patternProperties: expected an object");
  const bool alone = s.value("additionalProperties", Json(false)) == Json(false) &&
                     !s.contains("propertyNames") && s.value("properties", Json::object()).empty() &&
                     s.value("required", Json::array()).empty();
  if (patterns.size() != 1 || !alone) {
    return refused(at,
                   "\"patternProperties\" is supported with one pattern, additionalProperties false, and no "
                   "properties beside it");
  }
  const std::string pattern = patterns.begin().key();
  const At here = at.below("patternProperties/" + pattern);
  auto key = text_.string({.pattern = pattern});
  if (!key.ok()) return key.status().with_context(where_ + here.pointer);
  SLUICE_ASSIGN(const NodeId value, schema(patterns.begin().value(), here));
  return map(s, text_.member(*key, as_rule(value, here)), at);
}

// Vertices, for each place between properties: nothing written yet, something written, a name comes next. So
// every property stands in the graph once, whatever may be left out before it.
NodeId SchemaCompiler::listed(const std::vector<Property>& properties, NodeId extra) {
  const auto n = static_cast<int32_t>(properties.size());
  const auto none = [](int32_t i) { return 3 * i; };
  const auto some = [](int32_t i) { return 3 * i + 1; };
  const auto name = [](int32_t i) { return 3 * i + 2; };
  const int32_t end = 3 * n + 3;
  std::vector<GraphEdge> edges;
  const auto next_name = [&](int32_t i) {
    edges.push_back({none(i), name(i), GraphEdge::kEpsilon});
    edges.push_back({some(i), name(i), text_.separator()});
  };
  for (int32_t i = 0; i < n; ++i) {
    const Property& p = properties[static_cast<size_t>(i)];
    next_name(i);
    edges.push_back({name(i), some(i + 1), p.member});
    if (p.required) continue;
    edges.push_back({none(i), none(i + 1), GraphEdge::kEpsilon});
    edges.push_back({some(i), some(i + 1), GraphEdge::kEpsilon});
  }
  if (extra >= 0) {
    next_name(n);
    edges.push_back({name(n), some(n), extra});
  }
  edges.push_back({none(n), end, GraphEdge::kEpsilon});
  edges.push_back({some(n), end, GraphEdge::kEpsilon});
  return g_.graph(end + 1, std::move(edges));
}

}  // namespace sluice::text::grammar
