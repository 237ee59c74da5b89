#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace sluice::text::jinja {
namespace {

/// Line ends become "\n" and one at the very end goes, as jinja2 does by default.
Text normalize_newlines(TextView source) {
  Text out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != U'\r') {
      out.push_back(source[i]);
    } else {
      out.push_back(U'\n');
      if (i + 1 < source.size() && source[i + 1] == U'\n') ++i;
    }
  }
  if (!out.empty() && out.back() == U'\n') out.pop_back();
  return out;
}

bool is_ascii_digit(char32_t c) { return c >= U'0' && c <= U'9'; }

int digit_value(char32_t c) {
  if (is_ascii_digit(c)) return static_cast<int>(c - U'0');
  const char32_t lower = c | 0x20;
  return lower >= U'a' && lower <= U'f' ? static_cast<int>(lower - U'a') + 10 : 99;
}

constexpr std::array<std::string_view, 24> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-",
                                                         "/",  "*",  "%",  "~",  "[",  "]",  "(", ")",
                                                         "{",  "}",  ">",  "<",  "=",  ".",  ":", "|"};

class Lexer {
 public:
  explicit Lexer(TextView source) : source_(normalize_newlines(source)), text_(source_) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) root();
    push(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  bool looking_at(TextView what, size_t at) const {
    return text_.substr(std::min(at, text_.size())).starts_with(what);
  }
  char32_t peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : char32_t{0};
  }

  Token& push(TokenKind kind) {
    tokens_.push_back({kind, line_});
    return tokens_.back();
  }

  /// Moves on to `to`, counting lines.
  void advance(size_t to) {
    line_ += static_cast<uint32_t>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                              text_.begin() + static_cast<ptrdiff_t>(to), U'\n'));
    line_start_ = to > at_ ? text_[to - 1] == U'\n' : line_start_;
    at_ = to;
  }

  size_t skip_space(size_t at) const {
    while (at < text_.size() && is_space(text_[at])) ++at;
    return at;
  }

  // ---- template text

  /// Text up to the next tag, and the opening of that tag.
  void root() {
    size_t open = at_;
    do {
      open = text_.find(U'{', open);
      if (open == TextView::npos) break;
      const char32_t next = open + 1 < text_.size() ? text_[open + 1] : char32_t{0};
      if (next == U'{' || next == U'%' || next == U'#') break;
      ++open;
    } while (true);
    if (open == TextView::npos) {
      push(TokenKind::data).text = text_.substr(at_);
      advance(text_.size());
      return;
    }
    const char32_t type = text_[open + 1];
    size_t inside = open + 2;
    const char32_t control = inside < text_.size() && (text_[inside] == U'-' || text_[inside] == U'+')
                                 ? text_[inside]
                                 : char32_t{0};
    if (control != 0) ++inside;
    push_data(text_.substr(at_, open - at_), control, type == U'{');
    advance(open);
    if (type == U'#') return comment(inside);
    if (type == U'%') {
      if (const size_t raw_body = raw_opening(inside); raw_body != TextView::npos) return raw(raw_body);
    }
    push(type == U'{' ? TokenKind::print_begin : TokenKind::block_begin);
    advance(inside);
    expression(type == U'{');
  }

  /// Template text before a tag, without the white space that the tag takes.
  void push_data(TextView data, char32_t control, bool print) {
    if (control == U'-') {
      data = strip(data, Side::right);
    } else if (control != U'+' && !print) {
      const size_t line = data.rfind(U'\n') + 1;  // npos + 1 is 0: no line break in the text
      const bool from_line_start = line > 0 || line_start_;
      if (from_line_start && skip_space_in(data, line) == data.size()) data = data.substr(0, line);
    }
    if (!data.empty()) push(TokenKind::data).text = data;
  }

  static size_t skip_space_in(TextView data, size_t at) {
    while (at < data.size() && is_space(data[at])) ++at;
    return at;
  }

  /// Where a tag ends that closes with `close` ("%}", "#}") at `at`, or npos: "-" takes the white space that
  /// follows, "+" keeps all of it, neither takes one line break.
  size_t closing(TextView close, size_t at) const {
    const char32_t control = at < text_.size() ? text_[at] : char32_t{0};
    const bool controlled = control == U'-' || control == U'+';
    if (!looking_at(close, controlled ? at + 1 : at)) return TextView::npos;
    if (control == U'-') return skip_space(at + 3);
    if (control == U'+') return at + 3;
    return at + 2 < text_.size() && text_[at + 2] == U'\n' ? at + 3 : at + 2;
  }

  void comment(size_t inside) {
    size_t close = text_.find(TextView(U"#}"), inside);
    if (close == TextView::npos) fail_at(line_, "Missing end of comment tag");
    if (close > inside && (text_[close - 1] == U'-' || text_[close - 1] == U'+')) --close;
    advance(closing(U"#}", close));
  }

  /// Where the text of a raw block begins, if `inside` a block tag there stands "raw %}".
  size_t raw_opening(size_t inside) const {
    size_t at = skip_space(inside);
    if (!looking_at(U"raw", at)) return TextView::npos;
    at = skip_space(at + 3);
    if (looking_at(U"-%}", at)) return skip_space(at + 3);
    return looking_at(U"%}", at) ? at + 2 : TextView::npos;
  }

  void raw(size_t body) {
    const uint32_t opened = line_;
    advance(body);
    for (size_t open = text_.find(TextView(U"{%"), at_); open != TextView::npos;
         open = text_.find(TextView(U"{%"), open + 2)) {
      size_t inside = open + 2;
      const char32_t control = inside < text_.size() && (text_[inside] == U'-' || text_[inside] == U'+')
                                   ? text_[inside]
                                   : char32_t{0};
      inside = skip_space(control != 0 ? inside + 1 : inside);
      if (!looking_at(U"endraw", inside)) continue;
      const size_t end = closing(U"%}", skip_space(inside + 6));
      if (end == TextView::npos) continue;
      push_data(text_.substr(at_, open - at_), control, false);
      return advance(end);
    }
    fail_at(opened, "Missing end of raw directive");
  }

  // ---- inside a tag

  void expression(bool print) {
    std::vector<char> open;  // closing brackets still expected
    while (true) {
      advance(skip_space(at_));
      if (at_ >= text_.size()) return;  // the parser reports the end of the template
      if (open.empty() && close_tag(print)) return;
      if (is_ascii_digit(peek())) {
        number();
      } else if (is_identifier_part(peek()) || is_alnum(peek())) {
        name();
      } else if (peek() == U'\'' || peek() == U'"') {
        string();
      } else {
        op(open);
      }
    }
  }

  bool close_tag(bool print) {
    if (print) {
      const size_t end = looking_at(U"-}}", at_)  ? skip_space(at_ + 3)
                         : looking_at(U"}}", at_) ? at_ + 2
                                                  : TextView::npos;
      if (end == TextView::npos) return false;
      push(TokenKind::print_end);
      advance(end);
      return true;
    }
    const size_t end = closing(U"%}", at_);
    if (end == TextView::npos) return false;
    push(TokenKind::block_end);
    advance(end);
    return true;
  }

  void name() {
    size_t end = at_;
    while (end < text_.size() && (is_identifier_part(text_[end]) || is_alnum(text_[end]))) ++end;
    const TextView spelling = text_.substr(at_, end - at_);
    if (!is_identifier_start(spelling[0]) ||
        !std::all_of(spelling.begin(), spelling.end(), is_identifier_part)) {
      fail_at(line_, "Invalid character in identifier");
    }
    push(TokenKind::name).spelling = to_utf8(spelling);
    advance(end);
  }

  /// Past digits of `base` that underscores may separate, each between two digits; `at` itself where none
  /// begin.
  size_t digits(size_t at, int base, std::string& out) const {
    while (true) {
      const size_t digit = at < text_.size() && text_[at] == U'_' && !out.empty() ? at + 1 : at;
      if (digit >= text_.size() || digit_value(text_[digit]) >= base) return at;
      out.push_back(static_cast<char>(text_[digit]));
      at = digit + 1;
    }
  }

  void number() {
    if (real()) return;
    static constexpr std::pair<char32_t, int> kPrefixes[] = {{U'b', 2}, {U'o', 8}, {U'x', 16}};
    std::string spelt;
    size_t end = at_;
    int base = 10;
    for (const auto& [letter, prefix_base] : kPrefixes) {
      std::string prefixed;
      // An underscore may follow the prefix, as if the prefix were a digit.
      const size_t first = peek(2) == U'_' ? at_ + 3 : at_ + 2;
      if (peek() != U'0' || (peek(1) | 0x20) != letter) continue;
      const size_t after = digits(first, prefix_base, prefixed);
      if (prefixed.empty()) continue;
      spelt = prefixed;
      end = after;
      base = prefix_base;
    }
    if (spelt.empty())
      end = digits(at_, peek() == U'0' ? 1 : 10, spelt);  // after a zero only zeros: "007" is not a number
    Token& token = push(TokenKind::integer);
    if (std::from_chars(spelt.data(), spelt.data() + spelt.size(), token.integer, base).ec != std::errc()) {
      fail_at(line_, "an integer literal does not fit in 64 bits");
    }
    advance(end);
  }

  bool real() {
    if (at_ > 0 && text_[at_ - 1] == U'.') return false;
    std::string spelt;
    size_t end = digits(at_, 10, spelt);
    bool found = false;
    if (end < text_.size() && text_[end] == U'.') {
      std::string fraction;
      const size_t after = digits(end + 1, 10, fraction);
      if (!fraction.empty()) {
        spelt += "." + fraction;
        end = after;
        found = true;
      }
    }
    if (end < text_.size() && (text_[end] | 0x20) == U'e') {
      size_t first = end + 1;
      std::string exponent;
      const bool negative = first < text_.size() && text_[first] == U'-';
      if (first < text_.size() && (text_[first] == U'-' || text_[first] == U'+')) ++first;
      const size_t after = digits(first, 10, exponent);
      if (!exponent.empty()) {
        spelt += (negative ? "e-" : "e") + exponent;
        end = after;
        found = true;
      }
    }
    if (!found) return false;
    Token& token = push(TokenKind::real);
    token.real = std::strtod(spelt.c_str(), nullptr);
    advance(end);
    return true;
  }

  void op(std::vector<char>& open) {
    const auto found = std::find_if(kOperators.begin(), kOperators.end(), [&](std::string_view candidate) {
      return looking_at(Text(candidate.begin(), candidate.end()), at_);
    });
    const char32_t c = peek();
    if (found == kOperators.end() && c != U',' && c != U';') {
      fail_at(line_, fmt::format("unexpected char '{}'", to_utf8(text_.substr(at_, 1))));
    }
    if (c == U'{' || c == U'(' || c == U'[') open.push_back(c == U'{' ? '}' : c == U'(' ? ')' : ']');
    if (c == U'}' || c == U')' || c == U']') {
      if (open.empty()) fail_at(line_, fmt::format("unexpected '{}'", static_cast<char>(c)));
      if (open.back() != static_cast<char>(c)) {
        fail_at(line_, fmt::format("unexpected '{}', expected '{}'", static_cast<char>(c), open.back()));
      }
      open.pop_back();
    }
    Token& token = push(TokenKind::op);
    token.spelling = found == kOperators.end() ? std::string(1, static_cast<char>(c)) : std::string(*found);
    advance(at_ + token.spelling.size());
  }

  // ---- string literals

  void string() {
    const char32_t quote = peek();
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == U'\\' ? 2 : 1;
    if (end >= text_.size())
      fail_at(line_, fmt::format("unexpected char '{}': a string is not closed", static_cast<char>(quote)));
    Text value;
    for (size_t i = at_ + 1; i < end;) {
      if (text_[i] == U'\\') {
        i = escape(i + 1, end, value);
      } else {
        value.push_back(text_[i++]);
      }
    }
    push(TokenKind::string).text = std::move(value);
    advance(end + 1);
  }

  /// Appends what the escape after a backslash stands for; returns where it ends.
  size_t escape(size_t at, size_t end, Text& out) const {
    const char32_t c = text_[at];
    static constexpr std::u32string_view kLetters = U"\\'\"abfnrtv";
    static constexpr std::u32string_view kMeanings = U"\\'\"\a\b\f\n\r\t\v";
    if (const size_t i = kLetters.find(c); i != std::u32string_view::npos) {
      out.push_back(kMeanings[i]);
      return at + 1;
    }
    if (c == U'\n') return at + 1;
    if (c >= U'0' && c <= U'7') {
      char32_t octal = 0;
      size_t i = at;
      for (; i < std::min(end, at + 3) && text_[i] >= U'0' && text_[i] <= U'7'; ++i)
        octal = octal * 8 + (text_[i] - U'0');
      out.push_back(octal);
      return i;
    }
    if (c == U'x' || c == U'u' || c == U'U') return hex_escape(at, end, out);
    if (c == U'N') fail_at(line_, "\\N{...} escapes are not supported in chat templates");
    out.push_back(U'\\');  // an unknown escape stays as it is
    if (c < 0x80) {
      out.push_back(c);
    } else {  // Python escapes non-ASCII text before it reads escapes, so this one is spelt out
      const auto p = static_cast<uint32_t>(c);
      for (char digit : p < 0x100     ? fmt::format("x{:02x}", p)
                        : p < 0x10000 ? fmt::format("u{:04x}", p)
                                      : fmt::format("U{:08x}", p)) {
        out.push_back(static_cast<unsigned char>(digit));
      }
    }
    return at + 1;
  }

  size_t hex_escape(size_t at, size_t end, Text& out) const {
    const size_t length = text_[at] == U'x' ? 2 : text_[at] == U'u' ? 4 : 8;
    uint64_t value = 0;
    for (size_t i = at + 1; i <= at + length; ++i) {
      if (i >= end || digit_value(text_[i]) >= 16)
        fail_at(line_, "truncated \\x, \\u or \\U escape in a string");
      value = value * 16 + static_cast<uint64_t>(digit_value(text_[i]));
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
      fail_at(line_, "a \\u escape in a string is not a Unicode character");
    }
    out.push_back(static_cast<char32_t>(value));
    return at + 1 + length;
  }

  Text source_;
  TextView text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_start_ = true;  // whether what was read last ended a line
  std::vector<Token> tokens_;
};

}  // namespace

void fail_at(uint32_t line, const std::string& message) { fail("line {}: {}", line, message); }

std::vector<Token> tokenize(TextView source) { return Lexer(source).run(); }

}  // namespace sluice::text::jinja
