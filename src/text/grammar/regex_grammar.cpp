#include "text/grammar/regex_grammar.h"

#include <algorithm>
#include <optional>

#include "text/grammar/char_sets.h"
#include "text/utf8.h"

namespace sluice::text::grammar {
namespace {

constexpr char32_t kEnd = ~char32_t{0};

class RegexParser {
 public:
  RegexParser(Grammar& grammar, RegexAnchors anchors, const SpellChars& spell, const Limits& limits)
      : g_(grammar), anchors_(anchors), spell_(spell), limits_(limits) {}

  Result<NodeId> parse(std::string_view pattern) {
    if (pattern.size() > limits_.max_source_bytes) {
      return Status(StatusCode::resource_exhausted, fmt::format("the regex has {} bytes; at most {}",
                                                                pattern.size(), limits_.max_source_bytes));
    }
    if (!is_valid_utf8(pattern)) return invalid_argument("the regex is not valid UTF-8");
    for_each_char(pattern, [&](char32_t c, std::string_view) { text_.push_back(c); });
    SLUICE_ASSIGN(const std::vector<Part> parts, alternatives(0));
    if (peek() != kEnd) return wrong("an unmatched )");
    std::vector<NodeId> nodes;
    for (const Part& part : parts) nodes.push_back(anchored(part));
    return g_.choice(std::move(nodes));
  }

 private:
  /// An expression, and whether it stands at the very begin and end of the text.
  struct Part {
    NodeId node = -1;
    bool begin = false;
    bool end = false;
  };

  char32_t peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : kEnd; }
  bool take(char32_t c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  Status wrong(std::string_view what) const {
    return invalid_argument("the regex has {} at character {}", what, at_);
  }
  Status refused(std::string_view what) const {
    return unsupported(
        "the regex uses {} at character {}, which no finite automaton can follow; rewrite it without", what,
        at_);
  }

  NodeId anything() {
    if (anything_ < 0) anything_ = g_.repeat(spell_(g_, complement({})), 0);
    return anything_;
  }

  NodeId anchored(const Part& part) {
    if (anchors_ == RegexAnchors::whole || (part.begin && part.end)) return part.node;
    std::vector<NodeId> out;
    if (!part.begin) out.push_back(anything());
    out.push_back(part.node);
    if (!part.end) out.push_back(anything());
    return g_.sequence(std::move(out));
  }

  Result<std::vector<Part>> alternatives(int depth) {
    if (depth > limits_.max_depth)
      return Status(StatusCode::resource_exhausted,
                    fmt::format("the regex nests deeper than {} groups", limits_.max_depth));
    std::vector<Part> out;
    do {
      SLUICE_ASSIGN(const Part part, sequence(depth));
      out.push_back(part);
    } while (take('|'));
    return out;
  }

  Result<Part> sequence(int depth) {
    Part out;
    std::vector<NodeId> nodes;
    bool empty = true;  // nothing but ^ so far
    while (peek() != kEnd && peek() != '|' && peek() != ')') {
      SLUICE_TRY(g_.within(limits_));
      if (out.end) return refused("$ before the end of an alternative");
      if (take('^')) {
        if (!empty) return refused("^ after the begin of an alternative");
        out.begin = true;
        continue;
      }
      if (take('$')) {
        out.end = true;
        continue;
      }
      SLUICE_ASSIGN(Part atom, atom_of(depth));
      SLUICE_ASSIGN(const NodeId node, quantified(atom.node));
      if (atom.begin || atom.end) {
        if (node != atom.node) return refused("a repeated ^ or $");
        if (atom.begin && !empty) return refused("^ after the begin of an alternative");
        out.begin |= atom.begin;
        out.end |= atom.end;
      }
      nodes.push_back(node);
      empty = false;
    }
    out.node = nodes.empty() ? g_.empty() : g_.sequence(std::move(nodes));
    return out;
  }

  Result<Part> atom_of(int depth) {
    const char32_t c = text_[at_++];
    switch (c) {
      case '(':
        return group(depth);
      case '[': {
        SLUICE_ASSIGN(const CharSet set, char_class());
        return Part{spell_(g_, set)};
      }
      case '.':
        return Part{spell_(g_, not_line_terminators())};
      case '\\': {
        SLUICE_ASSIGN(const CharSet set, escape(false));
        return Part{spell_(g_, set)};
      }
      case '*':
      case '+':
      case '?':
        --at_;
        return wrong("a quantifier with nothing to repeat");
      case '{':
        if (counts_follow()) {
          --at_;
          return wrong("a quantifier with nothing to repeat");
        }
        break;
      default:
        break;
    }
    return Part{spell_(g_, {{c, c}})};
  }

  Result<Part> group(int depth) {
    if (take('?')) {
      if (peek() == '=' || peek() == '!') return refused("look-ahead");
      if (peek() == '<' && (peek(1) == '=' || peek(1) == '!')) return refused("look-behind");
      if (peek() == '>') return refused("an atomic group");
      if (peek() == 'P' && (peek(1) == '=' || peek(1) == '>')) return refused("a back-reference");
      if (take('<') || (peek() == 'P' && peek(1) == '<' && (at_ += 2) != 0)) {
        while (peek() != '>') {
          if (peek() == kEnd) return wrong("an unfinished group name");
          ++at_;
        }
        ++at_;
      } else if (!take(':')) {
        return refused("inline flags or another extension, (?...)");
      }
    } else if (peek() == '*') {
      return wrong("a quantifier with nothing to repeat");
    }
    SLUICE_ASSIGN(const std::vector<Part> parts, alternatives(depth + 1));
    if (!take(')')) return wrong("a ( without its )");
    Part out{-1, parts[0].begin, parts[0].end};
    std::vector<NodeId> nodes;
    for (const Part& part : parts) {
      if (part.begin != out.begin || part.end != out.end)
        return refused("a group of which some alternatives have ^ or $ and others not");
      nodes.push_back(part.node);
    }
    out.node = g_.choice(std::move(nodes));
    return out;
  }

  /// Whether {m}, {m,} or {m,n} follows an opening brace.
  bool counts_follow() const {
    size_t i = at_;
    const auto digits = [&] {
      const size_t begin = i;
      while (i < text_.size() && text_[i] >= '0' && text_[i] <= '9') ++i;
      return i > begin;
    };
    if (!digits()) return false;
    if (i < text_.size() && text_[i] == ',') {
      ++i;
      digits();
    }
    return i < text_.size() && text_[i] == '}';
  }

  int32_t number() {
    int64_t n = 0;
    while (peek() >= '0' && peek() <= '9') n = std::min<int64_t>(n * 10 + (text_[at_++] - '0'), INT32_MAX);
    return static_cast<int32_t>(n);
  }

  Result<NodeId> quantified(NodeId node) {
    int32_t min = 0, max = kUnbounded;
    if (take('*')) {
    } else if (take('+')) {
      min = 1;
    } else if (take('?')) {
      max = 1;
    } else if (peek() == '{' && (++at_, counts_follow() || (--at_, false))) {
      min = max = number();
      if (take(',')) max = peek() == '}' ? kUnbounded : number();
      ++at_;
      if (max != kUnbounded && min > max) return wrong("a repetition whose least is more than its most");
      if (min > limits_.max_repeat || max > limits_.max_repeat) {
        return Status(StatusCode::resource_exhausted,
                      fmt::format("the regex has a repetition count above {}", limits_.max_repeat));
      }
    } else {
      return node;
    }
    take('?');  // lazy: another order of the same matches
    if (peek() == '+') return refused("a possessive quantifier");
    if (peek() == '*' || peek() == '?') return wrong("a quantifier behind a quantifier");
    return g_.repeat(node, min, max);
  }

  Result<CharSet> char_class() {
    const bool negated = take('^');
    CharSet set;
    while (!take(']')) {
      if (peek() == kEnd) return wrong("a [ without its ]");
      SLUICE_ASSIGN(CharSet low, class_item());
      const bool range = peek() == '-' && peek(1) != ']' && peek(1) != kEnd;
      if (range && low.size() == 1 && low[0].lo == low[0].hi) {
        ++at_;
        SLUICE_ASSIGN(const CharSet high, class_item());
        if (high.size() != 1 || high[0].lo != high[0].hi || high[0].lo < low[0].lo)
          return wrong("a class range out of order");
        low[0].hi = high[0].lo;
      }
      set.insert(set.end(), low.begin(), low.end());
    }
    return negated ? complement(set) : normalised(std::move(set));
  }

  Result<CharSet> class_item() {
    const char32_t c = text_[at_++];
    if (c == '\\') return escape(true);
    if (c == '[' && peek() == ':') return refused("a POSIX class");
    return CharSet{{c, c}};
  }

  Result<CharSet> escape(bool in_class) {
    if (peek() == kEnd) return wrong("a \\ at its end");
    const char32_t c = text_[at_++];
    const auto one = [](char32_t x) { return CharSet{{x, x}}; };
    if (c < 0x80) {
      if (auto set = class_escape(static_cast<char>(c))) return *std::move(set);
    }
    switch (c) {
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case '0':
        return one(0);
      case 'c':
        if ((peek() | 32) < 'a' || (peek() | 32) > 'z') return wrong("an unfinished \\c");
        return one(text_[at_++] & 31);
      case 'x':
        return hex(2);
      case 'u':
        return unicode_escape();
      case 'p':
      case 'P':
        return property(c == 'P');
      case 'b':
        if (in_class) return one('\b');
        [[fallthrough]];
      case 'B':
        return refused("a word boundary");
      case 'A':
      case 'z':
      case 'Z':
        return refused("an anchor of another dialect (use ^ and $)");
      case 'k':
        return refused("a back-reference");
      default:
        break;
    }
    if (c >= '1' && c <= '9') return refused("a back-reference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      --at_;
      return wrong(fmt::format("an escape \\{} that means nothing", static_cast<char>(c)));
    }
    return one(c);
  }

  Result<CharSet> hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      SLUICE_ASSIGN(const char32_t digit, hex_digit());
      value = value * 16 + digit;
    }
    return CharSet{{value, value}};
  }

  Result<char32_t> hex_digit() {
    const char32_t c = peek();
    ++at_;
    if (c >= '0' && c <= '9') return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f') return (c | 32) - 'a' + 10;
    --at_;
    return wrong("an escape with too few hexadecimal digits");
  }

  Result<CharSet> unicode_escape() {
    char32_t value = 0;
    if (take('{')) {
      while (!take('}')) {
        SLUICE_ASSIGN(const char32_t digit, hex_digit());
        value = value * 16 + digit;
        if (value > kMaxChar) return wrong("a code point beyond U+10FFFF");
      }
    } else {
      SLUICE_ASSIGN(CharSet first, hex(4));
      value = first[0].lo;
      if (value >= 0xD800 && value <= 0xDBFF && peek() == '\\' && peek(1) == 'u') {
        at_ += 2;
        SLUICE_ASSIGN(const CharSet second, hex(4));
        value = 0x10000 + ((value - 0xD800) << 10) + (second[0].lo - 0xDC00);
      }
    }
    if ((value >= 0xD800 && value <= 0xDFFF) || value > kMaxChar)
      return wrong("half a surrogate pair, which no text has");
    return CharSet{{value, value}};
  }

  Result<CharSet> property(bool negated) {
    std::string name;
    if (!take('{')) return wrong("\\p without {category}");
    while (!take('}')) {
      if (peek() == kEnd || peek() >= 0x80 || name.size() > 32) return wrong("an unfinished \\p{category}");
      name += static_cast<char>(text_[at_++]);
    }
    const auto set = general_category(name);
    if (!set)
      return unsupported("the regex uses \\p{{{}}}; known are general categories such as L, Lu and Nd", name);
    return negated ? complement(*set) : *set;
  }

  Grammar& g_;
  RegexAnchors anchors_;
  const SpellChars& spell_;
  const Limits& limits_;
  std::u32string text_;
  size_t at_ = 0;
  NodeId anything_ = -1;
};

}  // namespace

Result<NodeId> add_regex(Grammar& grammar, std::string_view pattern, RegexAnchors anchors,
                         const SpellChars& spell, const Limits& limits) {
  return RegexParser(grammar, anchors, spell, limits).parse(pattern);
}

Result<Grammar> regex_grammar(std::string_view pattern, const Limits& limits) {
  Grammar g;
  const SpellChars plain = [](Grammar& grammar, const CharSet& set) { return grammar.chars(set); };
  const RuleId root = g.add_rule("root");
  SLUICE_ASSIGN(const NodeId body, add_regex(g, pattern, RegexAnchors::whole, plain, limits));
  g.define(root, body);
  g.set_root(root);
  return g;
}

Result<Grammar> choice_grammar(const std::vector<std::string>& choices, const Limits& limits) {
  if (choices.empty()) return invalid_argument("choice: the list is empty");
  Grammar g;
  size_t bytes = 0;
  std::vector<NodeId> nodes;
  for (const std::string& text : choices) {
    if (text.empty()) return invalid_argument("choice: an empty string cannot be chosen");
    if (!is_valid_utf8(text)) return invalid_argument("choice: a string is not valid UTF-8");
    bytes += text.size();
    if (bytes > limits.max_source_bytes) {
      return Status(
          StatusCode::resource_exhausted,
          fmt::format("choice: the strings have more than {} bytes together", limits.max_source_bytes));
    }
    nodes.push_back(g.bytes(text));
    SLUICE_TRY(g.within(limits));
  }
  const RuleId root = g.add_rule("root");
  g.define(root, g.choice(std::move(nodes)));
  g.set_root(root);
  return g;
}

}  // namespace sluice::text::grammar
