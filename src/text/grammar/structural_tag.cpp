#include "text/grammar/structural_tag.h"

#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/json_text.h"
#include "text/grammar/regex_grammar.h"

namespace sluice::text::grammar {
namespace {

using Strings = std::vector<std::string>;

/// A member of an object; null where there is none.
const Json& member(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(name);
  return it == object.end() ? kNull : *it;
}

Result<std::string> string_of(const Json& object, const char* name, const std::string& where) {
  const Json& value = member(object, name);
  if (!value.is_string()) return invalid_argument("{}.{}: expected a string", where, name);
  return value.get<std::string>();
}

/// Without empty ones, which mean nothing.
Result<Strings> strings_of(const Json& object, const char* name, const std::string& where) {
  const Json& value = member(object, name);
  Strings out;
  if (value.is_null()) return out;
  if (!value.is_array()) return invalid_argument("{}.{}: expected a list of strings", where, name);
  for (const Json& s : value) {
    if (!s.is_string()) return invalid_argument("{}.{}: expected a list of strings", where, name);
    if (s != "") out.push_back(s.get<std::string>());
  }
  return out;
}

Result<const Json*> list_of(const Json& object, const char* name, const std::string& where) {
  const Json& value = member(object, name);
  if (!value.is_array() || value.empty())
    return invalid_argument("{}.{}: expected a list of at least one", where, name);
  return &value;
}

Result<bool> flag_of(const Json& object, const char* name, const std::string& where) {
  const Json& value = member(object, name);
  if (value.is_null()) return false;
  if (!value.is_boolean()) return invalid_argument("{}.{}: expected true or false", where, name);
  return value.get<bool>();
}

Strings joined(Strings a, const Strings& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class StructuralTag {
 public:
  explicit StructuralTag(const Limits& limits) : limits_(limits), json_(g_, limits_) {}

  Result<Grammar> build(const Json& tag) {
    const std::string where = "structural_tag";
    if (!tag.is_object()) return invalid_argument("{}: expected an object", where);
    const RuleId root = g_.add_rule("root");
    NodeId body = -1;
    if (tag.contains("structures")) {
      SLUICE_ASSIGN(const Json format, modern(tag, where));
      SLUICE_ASSIGN(body, triggered_tags(format, {}, where));
    } else {
      SLUICE_ASSIGN(body, format(member(tag, "format"), {}, where + ".format"));
    }
    g_.define(root, body);
    g_.set_root(root);
    return std::move(g_);
  }

 private:
  struct Tag {
    std::string begin;
    NodeId rest = -1;  // a rule: content and end
  };

  /// The older notation as triggered_tags.
  static Result<Json> modern(const Json& tag, const std::string& where) {
    SLUICE_ASSIGN(const Json* structures, list_of(tag, "structures", where));
    Json tags = Json::array();
    for (const Json& s : *structures)
      tags.push_back({{"begin", member(s, "begin")},
                      {"content", {{"type", "json_schema"}, {"json_schema", member(s, "schema")}}},
                      {"end", member(s, "end")}});
    return Json{{"triggers", member(tag, "triggers")}, {"tags", std::move(tags)}};
  }

  NodeId any_of(const Strings& strings) {
    if (strings.empty()) return g_.empty();
    std::vector<NodeId> choices;
    for (const std::string& s : strings) choices.push_back(g_.bytes(s));
    return g_.choice(std::move(choices));
  }

  /// What `json` describes and one of `ends` behind it; without ends, nothing.
  Result<NodeId> format(const Json& json, const Strings& ends, const std::string& where) {
    SLUICE_TRY(g_.within(limits_));
    if (++depth_ > limits_.max_depth)
      return Status(StatusCode::resource_exhausted,
                    fmt::format("{}: nested deeper than {}", where.substr(0, 256), limits_.max_depth));
    SLUICE_ASSIGN(const std::string type, string_of(json, "type", where));
    SLUICE_ASSIGN(const NodeId out, format_of_type(type, json, ends, where));
    --depth_;
    return out;
  }

  Result<NodeId> format_of_type(const std::string& type, const Json& json, const Strings& ends,
                                const std::string& where) {
    if (type == "any_text") {
      SLUICE_ASSIGN(const Strings excludes, strings_of(json, "excludes", where));
      return ends.empty() ? g_.free_end(excludes) : g_.free_text(ends, excludes);
    }
    if (type == "triggered_tags") return triggered_tags(json, ends, where);
    if (type == "sequence" || type == "or") return elements(json, type == "or", ends, where);
    if (type == "optional") {
      SLUICE_ASSIGN(const NodeId content, format(member(json, "content"), ends, where + ".content"));
      return g_.choice({content, any_of(ends)});
    }
    SLUICE_ASSIGN(const NodeId bounded, bounded_format(type, json, where));
    return g_.sequence({bounded, any_of(ends)});
  }

  /// Formats that say themselves where they end.
  Result<NodeId> bounded_format(const std::string& type, const Json& json, const std::string& where) {
    if (type == "const_string") {
      SLUICE_ASSIGN(const std::string value, string_of(json, "value", where));
      return g_.bytes(value);
    }
    if (type == "json_schema") return schema(json, where);
    if (type == "regex") {
      SLUICE_ASSIGN(const std::string pattern, string_of(json, "pattern", where));
      return included(regex_grammar(pattern, limits_), where + ".pattern");
    }
    if (type == "grammar") {
      SLUICE_ASSIGN(const std::string text, string_of(json, "grammar", where));
      return included(parse_gbnf(text, limits_), where + ".grammar");
    }
    if (type == "tag") {
      SLUICE_ASSIGN(const Tag tag, read_tag(json, where));
      return any_tag({tag});
    }
    if (type == "tags_with_separator") return tags_with_separator(json, where);
    if (type == "star" || type == "plus" || type == "repeat") return repeated(type, json, where);
    return unsupported(
        "{}.type: \"{}\" is not supported; const_string, json_schema, regex, grammar, any_text, sequence, "
        "or, optional, plus, star, repeat, tag, triggered_tags and tags_with_separator are",
        where, type.substr(0, 64));
  }

  Result<NodeId> included(Result<Grammar> grammar, const std::string& where) {
    if (!grammar.ok()) return grammar.status().with_context(where);
    return g_.ref(g_.include(*grammar));
  }

  Result<NodeId> schema(const Json& json, const std::string& where) {
    if (const Json& style = member(json, "style"); !style.is_null() && style != "json")
      return unsupported("{}.style: only \"json\" is supported", where);
    const std::string field = where + ".json_schema";
    const Json& schema = member(json, "json_schema");
    if (schema.is_null()) return invalid_argument("{}: expected a JSON Schema", field);
    if (!schema.is_string()) return add_schema(g_, json_, schema, field, limits_);
    SLUICE_ASSIGN(const Json parsed, parse_json(schema.get<std::string>(), field));
    return add_schema(g_, json_, parsed, field, limits_);
  }

  Result<NodeId> elements(const Json& json, bool choice, const Strings& ends, const std::string& where) {
    SLUICE_ASSIGN(const Json* list, list_of(json, "elements", where));
    std::vector<NodeId> out;
    for (size_t i = 0; i < list->size(); ++i) {
      const bool last = choice || i + 1 == list->size();
      SLUICE_ASSIGN(const NodeId element,
                    format((*list)[i], last ? ends : Strings(), fmt::format("{}.elements[{}]", where, i)));
      out.push_back(element);
    }
    return choice ? g_.choice(std::move(out)) : g_.sequence(std::move(out));
  }

  Result<NodeId> repeated(const std::string& type, const Json& json, const std::string& where) {
    SLUICE_ASSIGN(const NodeId content, format(member(json, "content"), {}, where + ".content"));
    if (type != "repeat") return g_.repeat(content, type == "plus" ? 1 : 0);
    const Json &min = member(json, "min"), &max = member(json, "max");
    const auto count = [&](const Json& n, int64_t least) {
      return n.is_number_integer() && n.get<int64_t>() >= least && n.get<int64_t>() <= limits_.max_repeat;
    };
    if (!count(min, 0) || !count(max, -1) || (max != -1 && max < min))
      return invalid_argument("{}: expected min and max, at most {}; a max of -1 is none", where,
                              limits_.max_repeat);
    return g_.repeat(content, min.get<int32_t>(), max == -1 ? kUnbounded : max.get<int32_t>());
  }

  Result<Tag> read_tag(const Json& json, const std::string& where) {
    Tag tag;
    SLUICE_ASSIGN(tag.begin, string_of(json, "begin", where));
    Strings ends;
    if (member(json, "end").is_array()) {
      SLUICE_ASSIGN(ends, strings_of(json, "end", where));
    } else {
      SLUICE_ASSIGN(const std::string end, string_of(json, "end", where));
      if (!end.empty()) ends.push_back(end);
    }
    SLUICE_ASSIGN(const NodeId rest, format(member(json, "content"), ends, where + ".content"));
    const RuleId rule = g_.add_rule("tag");
    g_.define(rule, rest);
    tag.rest = g_.ref(rule);
    return tag;
  }

  Result<std::vector<Tag>> read_tags(const Json& json, const std::string& where) {
    SLUICE_ASSIGN(const Json* list, list_of(json, "tags", where));
    std::vector<Tag> out;
    for (size_t i = 0; i < list->size(); ++i) {
      SLUICE_ASSIGN(Tag tag, read_tag((*list)[i], fmt::format("{}.tags[{}]", where, i)));
      out.push_back(std::move(tag));
    }
    return out;
  }

  NodeId any_tag(const std::vector<Tag>& tags) {
    std::vector<NodeId> choices;
    for (const Tag& tag : tags) choices.push_back(g_.sequence({g_.bytes(tag.begin), tag.rest}));
    return g_.choice(std::move(choices));
  }

  Result<NodeId> tags_with_separator(const Json& json, const std::string& where) {
    SLUICE_ASSIGN(const std::vector<Tag> tags, read_tags(json, where));
    SLUICE_ASSIGN(const std::string separator, string_of(json, "separator", where));
    SLUICE_ASSIGN(const bool at_least_one, flag_of(json, "at_least_one", where));
    SLUICE_ASSIGN(const bool stop_after_first, flag_of(json, "stop_after_first", where));
    const NodeId tag = any_tag(tags);
    const NodeId more = g_.repeat(g_.sequence({g_.bytes(separator), tag}), 0);
    const NodeId some = stop_after_first ? tag : g_.sequence({tag, more});
    return at_least_one ? some : g_.optional(some);
  }

  Result<NodeId> triggered_tags(const Json& json, const Strings& ends, const std::string& where) {
    SLUICE_TRY(list_of(json, "triggers", where).status());
    SLUICE_ASSIGN(const Strings triggers, strings_of(json, "triggers", where));
    SLUICE_ASSIGN(const Strings excludes, strings_of(json, "excludes", where));
    SLUICE_ASSIGN(const std::vector<Tag> tags, read_tags(json, where));
    SLUICE_ASSIGN(const bool at_least_one, flag_of(json, "at_least_one", where));
    SLUICE_ASSIGN(const bool stop_after_first, flag_of(json, "stop_after_first", where));
    if (at_least_one && stop_after_first) return g_.sequence({any_tag(tags), any_of(ends)});
    SLUICE_ASSIGN(const NodeId next, text_and_tag(triggers, tags, joined(excludes, ends), where));
    const Strings barred = joined(triggers, excludes);
    const NodeId text = ends.empty() ? g_.free_end(barred) : g_.free_text(ends, barred);
    if (stop_after_first) return g_.choice({g_.sequence({next, any_of(ends)}), text});
    const NodeId first = at_least_one ? any_tag(tags) : g_.empty();
    return g_.sequence({first, g_.repeat(next, 0), text});
  }

  /// Text up to a trigger, and the rest of a tag that it begins.
  Result<NodeId> text_and_tag(const Strings& triggers, const std::vector<Tag>& tags, const Strings& barred,
                              const std::string& where) {
    std::vector<std::vector<NodeId>> rests(triggers.size());  // by trigger
    for (size_t i = 0; i < tags.size(); ++i) {
      size_t found = triggers.size();
      for (size_t t = 0; t < triggers.size(); ++t) {
        if (!tags[i].begin.starts_with(triggers[t])) continue;
        if (found < triggers.size())
          return invalid_argument("{}.tags[{}].begin: two triggers begin it; expected one", where, i);
        found = t;
      }
      if (found == triggers.size())
        return invalid_argument("{}.tags[{}].begin: none of the triggers begins it", where, i);
      const std::string_view rest = std::string_view(tags[i].begin).substr(triggers[found].size());
      rests[found].push_back(g_.sequence({g_.bytes(rest), tags[i].rest}));
    }
    std::vector<NodeId> choices;
    for (size_t t = 0; t < triggers.size(); ++t) {
      Strings others = barred;
      for (size_t o = 0; o < triggers.size(); ++o) {
        if (o != t) others.push_back(triggers[o]);
      }
      choices.push_back(g_.sequence({g_.free_text({triggers[t]}, others), g_.choice(rests[t])}));
    }
    return g_.choice(std::move(choices));
  }

  const Limits& limits_;
  Grammar g_;
  JsonText json_;
  int depth_ = 0;
};

}  // namespace

Result<Grammar> structural_tag_grammar(const Json& tag, const Limits& limits) {
  return StructuralTag(limits).build(tag);
}

}  // namespace sluice::text::grammar
