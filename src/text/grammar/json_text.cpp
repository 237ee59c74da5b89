#include "text/grammar/json_text.h"

#include <algorithm>

#include "text/utf8.h"

namespace sluice::text::grammar {
namespace {

const CharSet kEscaped{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};  // what JSON strings cannot hold as it is

struct ShortEscape {
  char letter;
  char32_t code;
};
constexpr ShortEscape kShortEscapes[] = {{'b', '\b'}, {'f', '\f'}, {'n', '\n'}, {'r', '\r'},
                                         {'t', '\t'}, {'"', '"'},  {'\\', '\\'}};

bool contains(const CharSet& set, char32_t c) {
  return std::any_of(set.begin(), set.end(), [&](const CharRange& r) { return r.lo <= c && c <= r.hi; });
}

// How one code point that needs an escape is spelt.
std::string escape_of(char32_t c) {
  for (const ShortEscape& e : kShortEscapes) {
    if (e.code == c) return std::string{'\\', e.letter};
  }
  return fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
}

}  // namespace

NodeId spell_in_json(Grammar& g, const CharSet& set) {
  std::vector<NodeId> out;
  const CharSet plain = without(set, kEscaped);
  if (!plain.empty()) out.push_back(g.chars(plain));
  for (const CharRange& range : intersection(set, kEscaped)) {
    for (char32_t c = range.lo; c <= range.hi; ++c) out.push_back(g.bytes(escape_of(c)));
  }
  return g.choice(std::move(out));
}

template <typename Make>
NodeId JsonText::rule(const std::string& name, Make make) {
  const auto it = rules_.find(name);
  if (it != rules_.end()) return g_.ref(it->second);
  const RuleId rule = g_.add_rule(name);
  rules_[name] = rule;
  g_.define(rule, make());
  return g_.ref(rule);
}

NodeId JsonText::space() {
  return rule("space", [&] {
    const NodeId lines = g_.repeat(g_.bytes("\n"), 1, 2);
    const NodeId indent = g_.repeat(g_.chars({{' ', ' '}, {'\t', '\t'}}), 0, 20);
    return g_.choice({g_.empty(), g_.bytes(" "), g_.sequence({lines, indent})});
  });
}

// One code point in any of JSON's spellings; surrogates only in pairs.
NodeId JsonText::any_char() {
  if (any_char_ >= 0) return any_char_;
  const CharSet hex{{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
  const auto digits = [&](int n) { return g_.repeat(g_.chars(hex), n, n); };
  const NodeId d = g_.chars({{'d', 'd'}, {'D', 'D'}});
  const NodeId not_surrogate =
      g_.choice({g_.sequence({g_.chars(without(hex, {{'d', 'd'}, {'D', 'D'}})), digits(3)}),
                 g_.sequence({d, g_.chars({{'0', '7'}}), digits(2)})});
  const NodeId pair = g_.sequence({d, g_.chars({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), digits(2),
                                   g_.bytes("\\u"), d, g_.chars({{'c', 'f'}, {'C', 'F'}}), digits(2)});
  const NodeId escape = g_.choice({g_.chars({{'"', '"'},
                                             {'\\', '\\'},
                                             {'/', '/'},
                                             {'b', 'b'},
                                             {'f', 'f'},
                                             {'n', 'n'},
                                             {'r', 'r'},
                                             {'t', 't'}}),
                                   g_.sequence({g_.bytes("u"), g_.choice({not_surrogate, pair})})});
  any_char_ = g_.choice({g_.chars(complement(kEscaped)), g_.sequence({g_.bytes("\\"), escape})});
  return any_char_;
}

NodeId JsonText::string() {
  return rule("string", [&] {
    return g_.sequence({g_.bytes("\""), g_.repeat(any_char(), 0), g_.bytes("\"")});
  });
}

Result<NodeId> JsonText::string(const StringShape& shape) {
  if (shape.plain()) return string();
  std::vector<NodeId> all;
  std::string name = "string";
  if (shape.min_length || shape.max_length) {
    const int32_t min = shape.min_length.value_or(0), max = shape.max_length.value_or(kUnbounded);
    if (max != kUnbounded && min > max)
      return invalid_argument("minLength {} is more than maxLength {}", min, max);
    all.push_back(g_.repeat(any_char(), min, max));
    name += fmt::format("{{{},{}}}", min, max);
  }
  const auto matching = [&](const std::string& regex, const char* keyword) -> Status {
    auto node = add_regex(g_, regex, RegexAnchors::search, spell_in_json, limits_);
    if (!node.ok()) return node.status().with_context(keyword);
    all.push_back(*node);
    name += fmt::format(" {} {}", keyword, regex);
    return {};
  };
  if (shape.pattern) SLUICE_TRY(matching(*shape.pattern, "pattern"));
  if (shape.format) {
    SLUICE_ASSIGN(const std::string regex, regex_of_format(*shape.format));
    SLUICE_TRY(matching(regex, "format"));
  }
  NodeId body = all[0];
  for (size_t i = 1; i < all.size(); ++i) body = g_.intersection(body, all[i]);
  return rule(name, [&] { return g_.sequence({g_.bytes("\""), body, g_.bytes("\"")}); });
}

NodeId JsonText::string_except(const std::vector<std::string>& names) {
  if (names.empty()) return string();
  struct Vertex {
    std::map<char32_t, int32_t> next;
    bool is_name = false;
  };
  std::vector<Vertex> trie(1);
  std::string rule_name = "string except";
  for (const std::string& name : names) {
    rule_name += " " + dump_json(name);
    int32_t at = 0;
    for_each_char(name, [&](char32_t c, std::string_view) {
      const auto [it, added] =
          trie[static_cast<size_t>(at)].next.emplace(c, static_cast<int32_t>(trie.size()));
      at = it->second;
      if (added) trie.emplace_back();
    });
    trie[static_cast<size_t>(at)].is_name = true;
  }
  return rule(rule_name, [&] {
    // Vertices: those of the trie, one that has left it, the end.
    const auto size = static_cast<int32_t>(trie.size());
    const int32_t left = size, end = size + 1;
    std::vector<GraphEdge> edges{{left, left, any_char()}, {left, end, g_.bytes("\"")}};
    for (int32_t v = 0; v < size; ++v) {
      const Vertex& vertex = trie[static_cast<size_t>(v)];
      CharSet taken;
      for (const auto& [c, to] : vertex.next) {
        taken.push_back({c, c});
        if (!contains(kEscaped, c)) edges.push_back({v, to, g_.chars({{c, c}})});
      }
      // An escape may only lead away from the names: \u could spell a character of one.
      std::vector<NodeId> away;
      const CharSet others = without(complement(kEscaped), taken);
      if (!others.empty()) away.push_back(g_.chars(others));
      for (const ShortEscape& e : kShortEscapes) {
        if (!contains(taken, e.code)) away.push_back(g_.bytes(std::string{'\\', e.letter}));
      }
      edges.push_back({v, left, g_.choice(std::move(away))});
      if (!vertex.is_name) edges.push_back({v, end, g_.bytes("\"")});
    }
    return g_.sequence({g_.bytes("\""), g_.graph(size + 2, std::move(edges))});
  });
}

Result<NodeId> JsonText::number(const NumberShape& shape) {
  if (shape.plain()) {
    return rule(shape.integer ? "integer" : "number", [&] {
      const NodeId digit = g_.chars({{'0', '9'}});
      const NodeId whole =
          g_.choice({g_.bytes("0"), g_.sequence({g_.chars({{'1', '9'}}), g_.repeat(digit, 0, 17)})});
      const NodeId sign = g_.optional(g_.bytes("-"));
      if (shape.integer) return g_.sequence({sign, whole});
      const NodeId fraction = g_.optional(g_.sequence({g_.bytes("."), g_.repeat(digit, 1, 15)}));
      const NodeId exponent =
          g_.optional(g_.sequence({g_.chars({{'e', 'e'}, {'E', 'E'}}),
                                   g_.optional(g_.chars({{'+', '+'}, {'-', '-'}})), g_.repeat(digit, 1, 3)}));
      return g_.sequence({sign, whole, fraction, exponent});
    });
  }
  int decimals = shape.integer ? 0 : 15;
  if (shape.multiple_of) {
    const double m = shape.multiple_of->get<double>();
    if (!(m > 0)) return invalid_argument("multipleOf: expected a number above 0");
    const bool whole = m == static_cast<double>(static_cast<int64_t>(std::min(m, 1e9)));
    if (whole && m > 1) {
      if (shape.least || shape.most)
        return unsupported("multipleOf together with a range of numbers is not supported");
      if (m > 10'000) return unsupported("multipleOf: {} is not supported; at most 10000", m);
      const auto divisor = static_cast<int32_t>(m);
      return rule(fmt::format("multiples of {}", divisor), [&] { return multiples_of(g_, divisor); });
    }
    int places = 0;
    for (double unit = 1; places < 12 && unit > m * 1.0000001; unit /= 10) ++places;
    if (!whole && fmt::format("{:.{}f}", m, places) != fmt::format("{:.{}f}", std::pow(0.1, places), places))
      return unsupported("multipleOf: {} is not supported; integers and powers of ten are", m);
    decimals = std::min(decimals, places);
  }
  return number_in_range(shape, decimals);
}

Result<NodeId> JsonText::number_in_range(const NumberShape& shape, int decimals) {
  const auto text = [](const std::optional<Bound>& b) {
    return b ? (b->exclusive ? "<" : "<=") + dump_json(b->value) : std::string("none");
  };
  SLUICE_ASSIGN(const NodeId body, decimal_range(g_, shape.least, shape.most, decimals));
  return rule(fmt::format("number {} {} {}", text(shape.least), text(shape.most), decimals),
              [&] { return body; });
}

NodeId JsonText::literal(const Json& value) {
  if (!value.is_structured()) return g_.bytes(dump_json(value));
  std::vector<NodeId> parts;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!parts.empty()) parts.push_back(separator());
    parts.push_back(value.is_object() ? member(g_.bytes(dump_json(it.key())), literal(*it))
                                      : g_.sequence({literal(*it), space()}));
  }
  const NodeId inside = parts.empty() ? g_.empty() : g_.sequence(std::move(parts));
  return value.is_object() ? enclosed("{", inside, "}") : enclosed("[", inside, "]");
}

NodeId JsonText::member(NodeId key, NodeId value) {
  return g_.sequence({key, space(), g_.bytes(":"), space(), value, space()});
}

NodeId JsonText::separator() { return g_.sequence({g_.bytes(","), space()}); }

NodeId JsonText::enclosed(const char* open, NodeId inside, const char* close) {
  return g_.sequence({g_.bytes(open), space(), inside, g_.bytes(close)});
}

NodeId JsonText::object() {
  return rule("object", [&] {
    const NodeId any = member(string(), value());
    const NodeId more = g_.repeat(g_.sequence({separator(), any}), 0);
    return enclosed("{", g_.optional(g_.sequence({any, more})), "}");
  });
}

NodeId JsonText::value() {
  return rule("value", [&] {
    const NodeId item = g_.sequence({value(), space()});
    const NodeId more = g_.repeat(g_.sequence({separator(), item}), 0);
    const NodeId array = enclosed("[", g_.optional(g_.sequence({item, more})), "]");
    // Neither kind of number can fail without a range.
    const NodeId number = *this->number({});
    return g_.choice(
        {object(), array, string(), number, g_.bytes("true"), g_.bytes("false"), g_.bytes("null")});
  });
}

}  // namespace sluice::text::grammar
