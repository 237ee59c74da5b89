#include "text/grammar/gbnf.h"

#include <algorithm>
#include <map>

#include "text/utf8.h"

namespace sluice::text::grammar {
namespace {

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class GbnfParser {
 public:
  GbnfParser(std::string_view text, const Limits& limits) : text_(text), limits_(limits) {}

  Result<Grammar> parse() {
    if (text_.size() > limits_.max_source_bytes) {
      return Status(StatusCode::resource_exhausted, fmt::format("the grammar has {} bytes; at most {}",
                                                                text_.size(), limits_.max_source_bytes));
    }
    if (!is_valid_utf8(text_)) return invalid_argument("the grammar is not valid UTF-8");
    skip_space(true);
    while (at_ < text_.size()) SLUICE_TRY(rule());
    for (const auto& [name, use] : rules_) {
      if (g_.rule(use.rule).body < 0)
        return invalid_argument("the grammar uses rule \"{}\" in line {} and never defines it", name,
                                use.line);
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) return invalid_argument("the grammar has no rule \"root\"");
    g_.set_root(root->second.rule);
    return std::move(g_);
  }

 private:
  struct Use {
    RuleId rule = 0;
    int line = 0;
  };

  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(std::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }
  int line() const {
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, text_.size()));
    return 1 + static_cast<int>(std::count(text_.begin(), end, '\n'));
  }
  template <typename... Args>
  Status wrong(fmt::format_string<Args...> f, Args&&... args) const {
    return invalid_argument("grammar, line {}: {}", line(), fmt::format(f, std::forward<Args>(args)...));
  }

  void skip_space(bool newlines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
      } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  Result<std::string> name() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_name_char(text_[at_])) ++at_;
    if (at_ == begin) return wrong("expected the name of a rule");
    return std::string(text_.substr(begin, std::min<size_t>(at_ - begin, 256)));
  }

  RuleId rule_named(const std::string& name) {
    const auto it = rules_.find(name);
    if (it != rules_.end()) return it->second.rule;
    const RuleId rule = g_.add_rule(name);
    rules_[name] = {rule, line()};
    return rule;
  }

  Status rule() {
    SLUICE_ASSIGN(const std::string rule_name, name());
    const RuleId rule = rule_named(rule_name);
    skip_space(false);
    if (!take("::=")) return wrong("expected ::= behind \"{}\"", rule_name);
    if (g_.rule(rule).body >= 0) return wrong("rule \"{}\" is defined twice", rule_name);
    skip_space(true);
    SLUICE_ASSIGN(const NodeId body, alternatives(0));
    g_.define(rule, body);
    if (at_ < text_.size() && peek() != '\n' && peek() != '\r')
      return wrong("expected the end of the rule before \"{}\"", std::string(1, peek()));
    skip_space(true);
    return {};
  }

  Result<NodeId> alternatives(int depth) {
    if (depth > limits_.max_depth)
      return Status(StatusCode::resource_exhausted,
                    fmt::format("the grammar nests deeper than {} groups", limits_.max_depth));
    std::vector<NodeId> out;
    while (true) {
      SLUICE_ASSIGN(const NodeId node, sequence(depth));
      out.push_back(node);
      if (!take("|")) break;
      skip_space(true);
    }
    return g_.choice(std::move(out));
  }

  Result<NodeId> sequence(int depth) {
    std::vector<NodeId> out;
    while (true) {
      SLUICE_TRY(g_.within(limits_));
      const char c = peek();
      NodeId item = -1;
      if (c == '"') {
        SLUICE_ASSIGN(item, literal());
      } else if (c == '[') {
        SLUICE_ASSIGN(item, char_class());
      } else if (c == '.') {
        ++at_;
        item = g_.chars(complement({}));
      } else if (c == '(') {
        ++at_;
        skip_space(true);
        SLUICE_ASSIGN(item, alternatives(depth + 1));
        if (!take(")")) return wrong("a ( without its )");
      } else if (is_name_char(c)) {
        SLUICE_ASSIGN(const std::string rule_name, name());
        item = g_.ref(rule_named(rule_name));
      } else if (c == '<' || c == '!') {
        return unsupported("grammar, line {}: token references are not supported; spell the text", line());
      } else {
        break;
      }
      skip_space(depth > 0);
      SLUICE_ASSIGN(item, quantified(item, depth));
      out.push_back(item);
    }
    return out.empty() ? g_.empty() : g_.sequence(std::move(out));
  }

  Result<NodeId> quantified(NodeId item, int depth) {
    for (int stacked = 0;; ++stacked) {
      if (stacked > limits_.max_depth) return wrong("too many quantifiers behind each other");
      int32_t min = 0, max = kUnbounded;
      if (take("*")) {
      } else if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (take("{")) {
        SLUICE_TRY(counts(min, max));
      } else {
        return item;
      }
      item = g_.repeat(item, min, max);
      skip_space(depth > 0);
    }
  }

  Status counts(int32_t& min, int32_t& max) {
    const auto number = [&](int32_t& out) {
      skip_space(false);
      const size_t begin = at_;
      int64_t n = 0;
      while (peek() >= '0' && peek() <= '9') n = std::min<int64_t>(n * 10 + (text_[at_++] - '0'), INT32_MAX);
      if (at_ > begin) out = static_cast<int32_t>(n);
      skip_space(false);
      return at_ > begin;
    };
    const bool has_min = number(min);
    if (take(",")) {
      if (!number(max) && !has_min) return wrong("a repetition without a count");
    } else {
      if (!has_min) return wrong("a repetition without a count");
      max = min;
    }
    if (!take("}")) return wrong("a repetition without its }}");
    if (max != kUnbounded && min > max) return wrong("a repetition of at least {} and at most {}", min, max);
    if (std::max(min, max) > limits_.max_repeat)
      return {StatusCode::resource_exhausted,
              fmt::format("grammar, line {}: a repetition count of {} is more than the limit of {}", line(),
                          std::max(min, max), limits_.max_repeat)};
    return {};
  }

  Result<NodeId> literal() {
    ++at_;
    std::string out;
    while (!take("\"")) {
      SLUICE_ASSIGN(const char32_t c, character());
      append_utf8(out, c);
    }
    return g_.bytes(out);
  }

  Result<NodeId> char_class() {
    ++at_;
    const bool negated = take("^");
    CharSet set;
    while (!take("]")) {
      SLUICE_ASSIGN(const char32_t lo, character());
      char32_t hi = lo;
      if (peek() == '-' && peek(1) != ']') {
        ++at_;
        SLUICE_ASSIGN(hi, character());
        if (hi < lo) return wrong("a class range out of order");
      }
      set.push_back({lo, hi});
    }
    return g_.chars(negated ? complement(set) : normalised(std::move(set)));
  }

  Result<char32_t> character() {
    if (at_ >= text_.size()) return wrong("a literal or class without its end");
    const Utf8Char c = decode_utf8(text_.substr(at_));
    at_ += c.length;
    if (c.code == '\n') return wrong("a line break inside a literal or class");
    if (c.code != '\\') return c.code;
    const char e = peek();
    ++at_;
    switch (e) {
      case 'n':
        return U'\n';
      case 'r':
        return U'\r';
      case 't':
        return U'\t';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
      case '.':
      case '/':
        return static_cast<char32_t>(e);
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      default:
        --at_;
        return wrong("an escape that means nothing");
    }
  }

  Result<char32_t> hex(int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'                 ? c - '0'
                        : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                             : -1;
      if (digit < 0) return wrong("an escape with too few hexadecimal digits");
      value = value * 16 + static_cast<uint64_t>(digit);
    }
    if (value > kMaxChar || (value >= 0xD800 && value <= 0xDFFF))
      return wrong("an escape that is no character");
    return static_cast<char32_t>(value);
  }

  std::string_view text_;
  const Limits& limits_;
  size_t at_ = 0;
  Grammar g_;
  std::map<std::string, Use> rules_;
};

}  // namespace

Result<Grammar> parse_gbnf(std::string_view text, const Limits& limits) {
  return GbnfParser(text, limits).parse();
}

}  // namespace sluice::text::grammar
