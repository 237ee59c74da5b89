#include "text/oniguruma.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "text/utf8.h"

namespace sluice::text {
namespace {

// Inside a class. PCRE2's own \s also takes U+180E and its \w lacks marks and connectors.
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
// Outside a class Oniguruma's \w takes Latin-1's superscripts and fractions too.
constexpr std::string_view kWordAlone = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kHexDigit = "0-9a-fA-F";
constexpr int kMaxClassDepth = 64;

std::string in_class(std::string_view items, bool negated = false) {
  return std::string(negated ? "[^" : "[").append(items).append("]");
}

bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Properties that PCRE2 knows by a short name only. Keys are in lower case without spaces, '-' and '_'.
constexpr std::array<std::pair<std::string_view, std::string_view>, 39> kPropertyNames = {{
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"casedletter", "L&"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"punct", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
}};

// POSIX classes by their Unicode meaning, as items of a class. PCRE2's own differ in marks and in ASCII
// symbols.
constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kPosixClasses = {{
    {"alpha", R"(\p{Alphabetic})"},
    {"alnum", R"(\p{Alphabetic}\p{Nd})"},
    {"digit", R"(\p{Nd})"},
    {"lower", R"(\p{Lowercase})"},
    {"upper", R"(\p{Uppercase})"},
    {"punct", R"(\p{P}\p{S})"},
    {"space", kSpace},
    {"word", kWord},
}};

template <size_t N>
std::optional<std::string_view> look_up(
    const std::array<std::pair<std::string_view, std::string_view>, N>& table, std::string_view key) {
  for (const auto& [name, value] : table) {
    if (name == key) return value;
  }
  return std::nullopt;
}

class Translator {
 public:
  explicit Translator(std::string_view in) : in_(in) {}

  Result<std::string> run() {
    while (!done()) SLUICE_TRY(element());
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= in_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (!in_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  Status refuse(std::string_view what) const {
    return unsupported("the regular expression \"{}\" uses {} at byte {}, which is not supported", in_, what,
                       at_);
  }
  Status malformed(std::string_view what) const {
    return invalid_argument("the regular expression \"{}\" has {} at byte {}", in_, what, at_);
  }
  // Appends something that a quantifier may follow.
  void atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
  }

  Status element() {
    switch (peek()) {
      case '\\':
        return escape();
      case '[': {
        ++at_;
        SLUICE_ASSIGN(const std::string expression, char_class(0));
        atom(expression);
        return {};
      }
      case '(':
        return open_group();
      case ')':
        atom_ = groups_.empty() ? 0 : groups_.back();
        if (!groups_.empty()) groups_.pop_back();
        out_ += in_[at_++];
        return {};
      case '{':
        return interval();
      case '*':
      case '+':
      case '?':
        out_ += in_[at_++];
        return {};
      default: {
        const size_t length = std::min<size_t>(utf8_length(peek()), in_.size() - at_);
        atom(in_.substr(at_, length));
        at_ += length;
        return {};
      }
    }
  }

  Status open_group() {
    if (in_.substr(at_).starts_with("(*")) return refuse("a verb");
    if (in_.substr(at_).starts_with("(?~")) return refuse("an absence operator");
    groups_.push_back(out_.size());
    out_ += in_[at_++];
    if (!take("?")) return {};
    out_ += '?';
    // Options: Ruby's m lets the dot match line feeds, which is PCRE2's s.
    for (; peek() == 'i' || peek() == 'm' || peek() == 'x' || peek() == '-'; ++at_) {
      out_ += peek() == 'm' ? 's' : peek();
    }
    if (take(")")) {
      out_ += ')';
      groups_.pop_back();
    }
    return {};
  }

  // {n}, {n,}, {,m} or {n,m}; any other brace is itself.
  Status interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (is_digit(in_[end]) || in_[end] == ',')) ++end;
    const std::string_view body = in_.substr(at_ + 1, end - at_ - 1);
    const bool valid = end < in_.size() && in_[end] == '}' &&
                       std::count(body.begin(), body.end(), ',') <= 1 &&
                       body.find_first_of("0123456789") != std::string_view::npos;
    if (!valid) {
      ++at_;
      atom("\\{");
      return {};
    }
    at_ = end + 1;
    out_ += body.starts_with(',') ? "{0" : "{";
    out_.append(body).append("}");
    const bool exact = body.find(',') == std::string_view::npos;
    if (peek() == '+' || (exact && peek() == '?')) {
      out_.insert(atom_, "(?:");
      out_ += ')';
    }
    return {};
  }

  // The text of \p{...} or \P{...}, a class of its own for POSIX names; at_ is behind the letter. `word` are
  // the items of \p{Word} where it stands.
  Result<std::string> property(bool negated, std::string_view word) {
    if (!take("{")) return malformed("\\p without a name in braces");
    if (take("^")) negated = !negated;
    const size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) return malformed("\\p{ without }");
    const std::string_view name = in_.substr(at_, end - at_);
    at_ = end + 1;
    std::string key;
    for (const char c : name) {
      if (c != ' ' && c != '_' && c != '-') key += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    if (key == "word") return in_class(word, negated);
    if (const auto items = look_up(kPosixClasses, key)) return in_class(*items, negated);
    return std::string(negated ? "\\P{" : "\\p{")
        .append(look_up(kPropertyNames, key).value_or(name))
        .append("}");
  }

  // What both sides of the bracket know: an escape that stands for one character. Empty when it is another.
  std::optional<std::string> simple_escape(char letter) {
    if (letter == 'v') return "\\x0B";
    if (letter == 'u') {
      const std::string_view hex = in_.substr(at_, 4);
      if (hex.size() < 4) return std::nullopt;
      at_ += 4;
      return std::string("\\x{").append(hex).append("}");
    }
    if (letter == 'x' && peek() == '{') {
      const size_t end = in_.find('}', at_);
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view braced = in_.substr(at_, end + 1 - at_);
      at_ = end + 1;
      return "\\x" + std::string(braced);
    }
    if (static_cast<uint8_t>(letter) >= 0x80) {
      const size_t begin = at_ - 1;
      at_ = begin + utf8_length(letter);
      return std::string(in_.substr(begin, at_ - begin));
    }
    if (!is_alnum(letter) || std::string_view("dDntrfaex0").find(letter) != std::string_view::npos) {
      return std::string("\\") + letter;
    }
    return std::nullopt;
  }

  Status escape() {
    ++at_;
    if (done()) return malformed("a backslash at the end");
    const char letter = in_[at_++];
    switch (letter) {
      case 's':
      case 'S':
        atom(in_class(kSpace, letter == 'S'));
        return {};
      case 'w':
      case 'W':
        atom(in_class(kWordAlone, letter == 'W'));
        return {};
      case 'h':
      case 'H':
        atom(in_class(kHexDigit, letter == 'H'));
        return {};
      case 'b':
      case 'B': {
        const std::string word = in_class(kWordAlone);
        const bool boundary = letter == 'b';
        atom("(?:(?<=" + word + ")(?" + (boundary ? "!" : "=") + word + ")|(?<!" + word + ")(?" +
             (boundary ? "=" : "!") + word + "))");
        return {};
      }
      case 'p':
      case 'P': {
        SLUICE_ASSIGN(const std::string text, property(letter == 'P', kWordAlone));
        atom(text);
        return {};
      }
      default:
        break;
    }
    if (const auto text = simple_escape(letter)) {
      atom(*text);
      return {};
    }
    if (std::string_view("AzZGRXK").find(letter) == std::string_view::npos && !is_digit(letter)) {
      return refuse(std::string("the escape \\") + letter);
    }
    atom(std::string("\\") + letter);
    return {};
  }

  // One operand of an intersection: characters, and whole classes united with them.
  struct Operand {
    std::string items;
    std::vector<std::string> nested;
  };

  static std::string expression_of(const Operand& operand) {
    if (operand.nested.empty()) return in_class(operand.items);
    if (operand.items.empty() && operand.nested.size() == 1) return operand.nested[0];
    std::string out = "(?:";
    if (!operand.items.empty()) out += in_class(operand.items) + "|";
    for (size_t i = 0; i < operand.nested.size(); ++i) out += (i ? "|" : "") + operand.nested[i];
    return out + ")";
  }

  // An expression that matches one character; at_ is behind the opening bracket.
  Result<std::string> char_class(int depth) {
    if (depth > kMaxClassDepth) return refuse("deeply nested classes");
    const bool negated = take("^");
    std::vector<Operand> operands(1);
    if (take("]")) operands.back().items = "\\]";
    while (!take("]")) {
      if (done()) return malformed("a class without ]");
      if (take("&&")) {
        operands.emplace_back();
      } else {
        SLUICE_TRY(class_item(operands.back(), depth));
      }
    }
    for (const Operand& operand : operands) {
      if (operand.items.empty() && operand.nested.empty()) return malformed("an empty class");
    }
    if (operands.size() == 1 && operands[0].nested.empty()) return in_class(operands[0].items, negated);
    std::string all;
    for (size_t i = 0; i + 1 < operands.size(); ++i) all += "(?=" + expression_of(operands[i]) + ")";
    all += expression_of(operands.back());
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  // [:name:] or [:^name:]
  Status posix_class(Operand& operand) {
    const size_t end = in_.find(":]", at_);
    if (end == std::string_view::npos) return malformed("[: without :]");
    std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    const auto items = look_up(kPosixClasses, name);
    if (items && negated) {
      operand.nested.push_back(in_class(*items, true));
    } else {
      operand.items += items ? *items : in_.substr(at_, end + 2 - at_);
    }
    at_ = end + 2;
    return {};
  }

  Status class_item(Operand& operand, int depth) {
    if (peek() == '[') {
      if (peek(1) == ':') return posix_class(operand);
      ++at_;
      SLUICE_ASSIGN(std::string nested, char_class(depth + 1));
      operand.nested.push_back(std::move(nested));
      return {};
    }
    if (peek() != '\\') {
      operand.items += in_[at_++];
      return {};
    }
    ++at_;
    if (done()) return malformed("a backslash at the end");
    const char letter = in_[at_++];
    switch (letter) {
      case 's':
        operand.items += kSpace;
        return {};
      case 'S':
        operand.items += "\\P{White_Space}";
        return {};
      case 'w':
        operand.items += kWord;
        return {};
      case 'W':
        operand.nested.push_back(in_class(kWord, true));
        return {};
      case 'h':
        operand.items += kHexDigit;
        return {};
      case 'H':
        operand.nested.push_back(in_class(kHexDigit, true));
        return {};
      case 'b':
        operand.items += "\\x08";
        return {};
      case 'p':
      case 'P': {
        SLUICE_ASSIGN(std::string text, property(letter == 'P', kWord));
        if (text.starts_with('[')) {
          operand.nested.push_back(std::move(text));
        } else {
          operand.items += text;
        }
        return {};
      }
      default: {
        const auto text = simple_escape(letter);
        if (!text) return refuse(std::string("the escape \\") + letter + " in a class");
        operand.items += *text;
        return {};
      }
    }
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where the last atom begins in out_
  std::vector<size_t> groups_;  // where the open groups begin in out_
};

}  // namespace

Result<std::string> translate_oniguruma(std::string_view pattern) {
  if (!is_valid_utf8(pattern)) return invalid_argument("a regular expression is no valid UTF-8");
  return Translator(pattern).run();
}

}  // namespace sluice::text
