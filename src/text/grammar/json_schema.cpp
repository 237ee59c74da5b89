#include "text/grammar/json_schema.h"

#include <algorithm>
#include <set>

#include "text/grammar/schema_compiler.h"
#include "text/grammar/schema_merge.h"

namespace sluice::text::grammar {

Result<NodeId> SchemaCompiler::compile() {
  SLUICE_ASSIGN(const NodeId root, schema(document_, {"", 0}));
  while (!pending_.empty()) {
    const Pending next = pending_.back();
    pending_.pop_back();
    SLUICE_ASSIGN(const NodeId body, schema(*next.schema, {next.pointer, 0}));
    g_.define(next.rule, body);
  }
  return root;
}

NodeId SchemaCompiler::as_rule(NodeId node, const At& at) {
  if (g_.node(node).kind == Node::Kind::rule) return node;
  const RuleId rule = g_.add_rule(where_ + at.pointer);
  g_.define(rule, node);
  return g_.ref(rule);
}

Status SchemaCompiler::check_keywords(const Json& s, const At& at) const {
  for (const auto& [key, unused] : s.items()) {
    if (keyword_of(key) == KeywordOf::unknown)
      return refused(at, fmt::format("the keyword \"{}\" is not supported", key.substr(0, 64)));
  }
  return {};
}

Result<NodeId> SchemaCompiler::schema(const Json& s, const At& at) {
  if (at.depth > limits_.max_depth) {
    return Status(StatusCode::resource_exhausted,
                  fmt::format("{}: the schema nests deeper than {}", where_, limits_.max_depth));
  }
  SLUICE_TRY(g_.within(limits_));
  if (s == Json(true)) return text_.value();
  if (s == Json(false)) return nothing();
  if (!s.is_object()) return bad(at, "expected a schema: an object, true or false");
  SLUICE_TRY(check_keywords(s, at));
  if (s.contains("$ref")) return reference(s, at);
  if (s.contains("allOf")) return all_of(s, at);
  if (s.contains("anyOf")) return alternatives(s, "anyOf", at);
  if (s.contains("oneOf")) return alternatives(s, "oneOf", at);
  if (s.contains("enum") || s.contains("const")) return values(s, at);
  return typed(s, at);
}

// RFC 6901, inside a fragment: %XX, then ~1 and ~0.
Result<const Json*> SchemaCompiler::target_of(const std::string& reference, const At& at) const {
  if (reference.empty() || reference[0] != '#' || (reference.size() > 1 && reference[1] != '/')) {
    return refused(at, fmt::format("$ref: \"{}\" is not supported; references into this schema (#/...) are",
                                   reference.substr(0, 128)));
  }
  const Json* target = &document_;
  size_t begin = 2;
  while (begin <= reference.size() && reference.size() > 1) {
    const size_t end = std::min(reference.find('/', begin), reference.size());
    std::string step;
    for (size_t i = begin; i < end; ++i) {
      const char c = reference[i];
      const auto hex = [&](size_t k) {
        return k < end && std::isxdigit(static_cast<unsigned char>(reference[k]));
      };
      if (c == '%' && hex(i + 1) && hex(i + 2)) {
        step += static_cast<char>(std::stoi(reference.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else if (c == '~' && i + 1 < end && (reference[i + 1] == '0' || reference[i + 1] == '1')) {
        step += reference[++i] == '0' ? '~' : '/';
      } else {
        step += c;
      }
    }
    const bool index = !step.empty() && step.size() < 8 &&
                       std::all_of(step.begin(), step.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (target->is_object() && target->contains(step)) {
      target = &(*target)[step];
    } else if (target->is_array() && index && std::stoul(step) < target->size()) {
      target = &(*target)[std::stoul(step)];
    } else {
      return bad(at, fmt::format("$ref: \"{}\" points to nothing in this schema", reference.substr(0, 128)));
    }
    begin = end + 1;
  }
  return target;
}

Result<Json> SchemaCompiler::resolved(const Json& s, const At& at) const {
  Json out = s;
  for (int steps = 0; out.is_object() && out.contains("$ref"); ++steps) {
    if (steps > 64) return bad(at, "$ref: references lead in a circle");
    if (!out["$ref"].is_string()) return bad(at, "$ref: expected a string");
    SLUICE_ASSIGN(const Json* target, target_of(out["$ref"].get<std::string>(), at));
    SLUICE_TRY(target->is_object() ? check_keywords(*target, at) : Status());
    Json rest = out;
    rest.erase("$ref");
    Json pointed = *target;
    SLUICE_ASSIGN(out, merged(rest, pointed, where_ + at.pointer));
  }
  return out;
}

Result<NodeId> SchemaCompiler::reference(const Json& s, const At& at) {
  if (!s["$ref"].is_string()) return bad(at, "$ref: expected a string");
  const bool alone = std::all_of(s.items().begin(), s.items().end(), [](const auto& item) {
    return item.key() == "$ref" || keyword_of(item.key()) == KeywordOf::annotation;
  });
  if (!alone) {
    SLUICE_ASSIGN(const Json whole, resolved(s, at));
    return schema(whole, {at.pointer, at.depth + 1});
  }
  const auto name = s["$ref"].get<std::string>();
  const auto known = references_.find(name);
  if (known != references_.end()) return g_.ref(known->second);
  SLUICE_ASSIGN(const Json* target, target_of(name, at));
  const RuleId rule = g_.add_rule(where_ + name.substr(0, 128));
  references_[name] = rule;
  pending_.push_back({rule, target, name.substr(1)});
  return g_.ref(rule);
}

Result<NodeId> SchemaCompiler::all_of(const Json& s, const At& at) {
  const Json& list = s["allOf"];
  if (!list.is_array() || list.empty()) return bad(at, "allOf: expected a list of schemas");
  Json whole = s;
  whole.erase("allOf");
  for (size_t i = 0; i < list.size(); ++i) {
    const At here = at.below(fmt::format("allOf/{}", i));
    if (list[i].is_object()) SLUICE_TRY(check_keywords(list[i], here));
    SLUICE_ASSIGN(const Json part, resolved(list[i], here));
    SLUICE_ASSIGN(whole, merged(whole, part, where_ + here.pointer));
    if (whole == Json(false)) return nothing();
  }
  return schema(whole, {at.pointer, at.depth + 1});
}

Result<NodeId> SchemaCompiler::alternatives(const Json& s, const char* keyword, const At& at) {
  const Json& list = s[keyword];
  if (!list.is_array() || list.empty())
    return bad(at, fmt::format("{}: expected a list of schemas", keyword));
  Json base = s;
  base.erase(keyword);
  const bool bare = std::all_of(base.items().begin(), base.items().end(), [](const auto& item) {
    return keyword_of(item.key()) == KeywordOf::annotation;
  });
  std::vector<Json> branches;
  for (size_t i = 0; i < list.size(); ++i) {
    Json branch = list[i];
    const At here = at.below(fmt::format("{}/{}", keyword, i));
    if (branch.is_object()) SLUICE_TRY(check_keywords(branch, here));
    if (!bare) {
      SLUICE_ASSIGN(branch, resolved(branch, here));
      SLUICE_ASSIGN(branch, merged(base, branch, where_ + here.pointer));
    }
    branches.push_back(std::move(branch));
  }
  if (std::string(keyword) == "oneOf") SLUICE_TRY(check_disjoint(branches, at));
  std::vector<NodeId> nodes;
  for (size_t i = 0; i < branches.size(); ++i) {
    SLUICE_ASSIGN(const NodeId node, schema(branches[i], at.below(fmt::format("{}/{}", keyword, i))));
    nodes.push_back(node);
  }
  return g_.choice(std::move(nodes));
}

// A value may be valid under one alternative only: matching any is the same where no two can match the same.
Status SchemaCompiler::check_disjoint(const std::vector<Json>& branches, const At& at) const {
  if (branches.size() > 64)
    return refused(at, "oneOf: more than 64 alternatives are not supported; use anyOf");
  const Resolve resolve = [&](const Json& s) { return resolved(s, at); };
  for (size_t i = 0; i < branches.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (disjoint(branches[j], branches[i], resolve)) continue;
      return refused(
          at, fmt::format("oneOf: alternatives {} and {} may both match one value, which cannot be excluded "
                          "while text is written; use anyOf, or tell them apart by a const property",
                          j, i));
    }
  }
  return {};
}

Result<NodeId> SchemaCompiler::values(const Json& s, const At& at) {
  SLUICE_ASSIGN(const std::vector<std::string> types, types_of(s, where_ + at.pointer));
  for (const auto& [key, unused] : s.items()) {
    const KeywordOf of = keyword_of(key);
    if (of != KeywordOf::annotation && of != KeywordOf::any)
      return refused(
          at, fmt::format("\"{}\" beside enum or const is not supported; list the values that it leaves",
                          key.substr(0, 64)));
  }
  Json list = s.contains("enum") ? s["enum"] : Json::array({s["const"]});
  if (!list.is_array() || list.empty()) return bad(at, "enum: expected a list of values");
  const auto has_type = [&](const Json& v) {
    const auto is = [&](const char* t) { return std::find(types.begin(), types.end(), t) != types.end(); };
    if (v.is_number()) {
      return is("number") ||
             (is("integer") && (v.is_number_integer() || v.get<double>() == std::floor(v.get<double>())));
    }
    return is(v.is_null()      ? "null"
              : v.is_boolean() ? "boolean"
              : v.is_string()  ? "string"
              : v.is_array()   ? "array"
                               : "object");
  };
  std::vector<NodeId> nodes;
  for (const Json& value : list) {
    if (s.contains("enum") && s.contains("const") && value != s["const"]) continue;
    if (has_type(value)) nodes.push_back(text_.literal(value));
    SLUICE_TRY(g_.within(limits_));
  }
  return g_.choice(std::move(nodes));
}

Result<NodeId> SchemaCompiler::typed(const Json& s, const At& at) {
  SLUICE_ASSIGN(std::vector<std::string> types, types_of(s, where_ + at.pointer));
  if (!s.contains("type")) {
    // Keywords of one type alone say which type is meant.
    std::set<KeywordOf> meant;
    for (const auto& [key, unused] : s.items()) {
      const KeywordOf of = keyword_of(key);
      if (of != KeywordOf::annotation && of != KeywordOf::any) meant.insert(of);
    }
    if (meant.empty()) return text_.value();
    if (meant.size() == 1) {
      static const std::map<KeywordOf, std::string> kTypes = {{KeywordOf::object, "object"},
                                                              {KeywordOf::array, "array"},
                                                              {KeywordOf::string, "string"},
                                                              {KeywordOf::number, "number"}};
      types = {kTypes.at(*meant.begin())};
    }
  }
  std::vector<NodeId> nodes;
  const bool number = std::find(types.begin(), types.end(), "number") != types.end();
  for (const std::string& type : types) {
    if (type == "integer" && number) continue;
    SLUICE_ASSIGN(const NodeId node, of_type(type, s, at));
    nodes.push_back(node);
  }
  return g_.choice(std::move(nodes));
}

Result<NodeId> SchemaCompiler::of_type(const std::string& type, const Json& s, const At& at) {
  if (type == "null") return g_.bytes("null");
  if (type == "boolean") return g_.choice({g_.bytes("true"), g_.bytes("false")});
  if (type == "string") return string(s, at);
  if (type == "array") return array(s, at);
  if (type == "object") return object(s, at);
  return number(s, type == "integer", at);
}

Result<int32_t> SchemaCompiler::count(const Json& s, const char* keyword, int32_t fallback,
                                      const At& at) const {
  const auto it = s.find(keyword);
  if (it == s.end()) return fallback;
  const double v = it->is_number() ? it->get<double>() : -1;
  if (!(v >= 0) || v != std::floor(v)) return bad(at, fmt::format("{}: expected a whole number", keyword));
  if (v > limits_.max_repeat) {
    return Status(StatusCode::resource_exhausted,
                  fmt::format("{}{}: {}: {} is more than the limit of {}", where_, at.pointer, keyword, v,
                              limits_.max_repeat));
  }
  return static_cast<int32_t>(v);
}

Result<NodeId> SchemaCompiler::string(const Json& s, const At& at) {
  StringShape shape;
  SLUICE_ASSIGN(const int32_t min, count(s, "minLength", 0, at));
  SLUICE_ASSIGN(const int32_t max, count(s, "maxLength", kUnbounded, at));
  if (min > 0) shape.min_length = min;
  if (max != kUnbounded) shape.max_length = max;
  for (const auto& [keyword, field] : {std::pair{"pattern", &shape.pattern}, {"format", &shape.format}}) {
    const auto it = s.find(keyword);
    if (it == s.end()) continue;
    if (!it->is_string()) return bad(at, fmt::format("{}: expected a string", keyword));
    *field = it->get<std::string>();
  }
  auto node = text_.string(shape);
  if (!node.ok()) return node.status().with_context(where_ + at.pointer);
  return node;
}

Result<NodeId> SchemaCompiler::number(const Json& s, bool integer, const At& at) {
  NumberShape shape{.integer = integer};
  const auto bound = [&](const char* keyword, bool exclusive, bool lower) -> Status {
    const auto it = s.find(keyword);
    if (it == s.end()) return {};
    if (!it->is_number()) return bad(at, fmt::format("{}: expected a number", keyword));
    std::optional<Bound>& end = lower ? shape.least : shape.most;
    const bool tighter =
        !end || (lower ? *it > end->value : *it < end->value) || (*it == end->value && exclusive);
    if (tighter) end = Bound{*it, exclusive};
    return {};
  };
  SLUICE_TRY(bound("minimum", false, true));
  SLUICE_TRY(bound("exclusiveMinimum", true, true));
  SLUICE_TRY(bound("maximum", false, false));
  SLUICE_TRY(bound("exclusiveMaximum", true, false));
  if (const auto it = s.find("multipleOf"); it != s.end()) {
    if (!it->is_number()) return bad(at, "multipleOf: expected a number");
    shape.multiple_of = *it;
  }
  if (const auto it = s.find("format"); it != s.end()) {
    // OpenAPI's formats of numbers.
    if (*it == Json("int32")) {
      if (!shape.least) shape.least = Bound{Json(INT32_MIN), false};
      if (!shape.most) shape.most = Bound{Json(INT32_MAX), false};
    } else if (*it != Json("int64") && *it != Json("float") && *it != Json("double")) {
      if (s.contains("type") && s["type"].is_string())
        return refused(
            at, fmt::format("format {} of a number is not supported; int32, int64, float and double are",
                            dump_json(*it).substr(0, 64)));
    }
  }
  auto node = text_.number(shape);
  if (!node.ok()) return node.status().with_context(where_ + at.pointer);
  return node;
}

Result<NodeId> add_schema(Grammar& grammar, JsonText& text, const Json& schema, const std::string& where,
                          const Limits& limits) {
  return SchemaCompiler(grammar, text, schema, where, limits).compile();
}

Result<Grammar> schema_grammar(const Json& schema, const Limits& limits) {
  Grammar g;
  const RuleId root = g.add_rule("root");
  JsonText text(g, limits);
  SLUICE_ASSIGN(const NodeId body, add_schema(g, text, schema, "schema", limits));
  g.define(root, body);
  g.set_root(root);
  return g;
}

Grammar json_object_grammar() {
  Grammar g;
  const Limits limits;
  const RuleId root = g.add_rule("root");
  JsonText text(g, limits);
  g.define(root, text.object());
  g.set_root(root);
  return g;
}

}  // namespace sluice::text::grammar
