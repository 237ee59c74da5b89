#include "text/jinja/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/attributes.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

constexpr int64_t kMaxPrecision = 1'000'000;  // Python has no limit; a float has 1075 digits

/// A number as text, in the parts that padding has to tell apart.
struct Number {
  std::string sign;    // "", "-", "+" or " "
  std::string prefix;  // "", "0x", ...
  std::string digits;
};

struct Spec {
  char32_t fill = 0;   // 0: not given
  char32_t align = 0;  // one of < > = ^, 0: not given
  char32_t sign = U'-';
  bool alternate = false;
  bool zero = false;
  size_t width = 0;
  char32_t grouping = 0;
  std::optional<int64_t> precision;
  char32_t type = 0;
};

std::string sign_of(bool negative, char32_t mode) {
  if (negative) return "-";
  return mode == U'+' ? "+" : mode == U' ' ? " " : "";
}

std::string integer_digits(uint64_t magnitude, unsigned base, bool upper = false) {
  std::string out;
  do {
    const auto digit = static_cast<char>(magnitude % base);
    out += static_cast<char>(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10);
    magnitude /= base;
  } while (magnitude != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

uint64_t magnitude(int64_t v) { return v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v); }

/// Digits of |value| in C's format `type` (e, f, g or their capitals).
std::string real_digits(Arena& arena, double value, int64_t precision, char type, bool alternate) {
  if (precision > kMaxPrecision) fail("the precision {} of a format is too large", precision);
  const double absolute = std::fabs(value);
  const std::string format = std::string(alternate ? "%#.*" : "%.*") + type;
  arena.charge(static_cast<size_t>(precision) + 400);
  std::string out(static_cast<size_t>(precision) + 400, '\0');
  const int n = std::snprintf(out.data(), out.size(), format.c_str(), static_cast<int>(precision), absolute);
  out.resize(static_cast<size_t>(n));
  return out;
}

void group_digits(std::string& digits, char separator, size_t every) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (size_t at = whole; at > every;) {
    at -= every;
    digits.insert(at, 1, separator);
  }
}

double to_real(const Value& v, const char* where) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_number()) fail("{} a number is required, not {}", where, type_name(v));
  return v.as_real();
}

int64_t truncate_real(double d) {
  if (!(std::fabs(d) < 9.2e18)) fail("the number {} does not fit in 64 bits", float_repr(d));
  return static_cast<int64_t>(d);
}

/// Only ASCII, with everything else escaped: Python's ascii().
Value ascii_repr(Arena& arena, const Value& v) {
  TextBuilder repr(arena);
  append_repr(arena, repr, v);
  TextBuilder out(arena);
  for (char32_t c : repr.text()) {
    const auto p = static_cast<uint32_t>(code_point(c));
    if (p < 0x80) {
      out.append(c);
    } else {
      out.append_ascii(p < 0x100     ? fmt::format("\\x{:02x}", p)
                       : p < 0x10000 ? fmt::format("\\u{:04x}", p)
                                     : fmt::format("\\U{:08x}", p),
                       mark_of(c));
    }
  }
  return out.finish();
}

void append_padded(TextBuilder& out, TextView text, const Spec& spec, char32_t default_align) {
  const size_t missing = spec.width > text.size() ? spec.width - text.size() : 0;
  const char32_t align = spec.align != 0 ? spec.align : default_align;
  const char32_t fill = spec.fill != 0 ? spec.fill : U' ';
  const size_t left = align == U'<' ? 0 : align == U'^' ? missing / 2 : missing;
  out.append(left, fill).append(text).append(missing - left, fill);
}

void append_number(TextBuilder& out, const Number& number, const Spec& spec) {
  const bool inside = spec.align == U'=' || (spec.align == 0 && spec.zero);
  if (!inside) {
    const std::string whole = number.sign + number.prefix + number.digits;
    append_padded(out, Text(whole.begin(), whole.end()), spec, U'>');
    return;
  }
  const size_t length = number.sign.size() + number.prefix.size() + number.digits.size();
  out.append_ascii(number.sign).append_ascii(number.prefix);
  const char32_t fill = spec.fill != 0 ? spec.fill : spec.zero ? U'0' : U' ';
  out.append(spec.width > length ? spec.width - length : 0, fill).append_ascii(number.digits);
}

/// Reads decimal digits at `at`; nothing when there are none.
std::optional<int64_t> read_number(TextView text, size_t& at) {
  const size_t start = at;
  int64_t n = 0;
  for (; at < text.size() && code_point(text[at]) >= U'0' && code_point(text[at]) <= U'9'; ++at) {
    n = n * 10 + static_cast<int64_t>(code_point(text[at]) - U'0');
    if (n > INT32_MAX) fail("a width or precision in a format string is too large");
  }
  return at == start ? std::nullopt : std::optional(n);
}

// ---- 'text %s' % values

class PercentFormatter {
 public:
  PercentFormatter(Arena& arena, const Value& format, const Value& values)
      : arena_(arena),
        text_(format.text()),
        markup_(format.as<String>().markup),
        values_(values),
        out_(arena) {}

  Value run() {
    while (at_ < text_.size()) {
      const char32_t c = text_[at_++];
      if (code_point(c) == U'%') {
        conversion();
      } else {
        out_.append(c);
      }
    }
    const bool used_up =
        values_.is(Kind::tuple) ? used_ == values_.items().size() : used_ > 0 || is_mapping();
    if (!used_up) fail("not all arguments converted during string formatting");
    return out_.finish(markup_);
  }

 private:
  bool is_mapping() const {
    return values_.is(Kind::dict) || values_.is(Kind::list) || values_.is(Kind::undefined) ||
           values_.is(Kind::range);
  }

  Value next_value() {
    if (keyed_) {
      keyed_ = false;
      return key_value_;
    }
    if (values_.is(Kind::tuple)) {
      if (used_ >= values_.items().size()) fail("not enough arguments for format string");
      return values_.items()[used_++];
    }
    if (used_++ > 0) fail("not enough arguments for format string");
    return values_;
  }

  char32_t peek() const {
    if (at_ >= text_.size()) fail("incomplete format");
    return code_point(text_[at_]);
  }

  void key() {
    if (!values_.is(Kind::dict)) fail("format requires a mapping");
    const size_t start = ++at_;
    for (int open = 1; open > 0; ++at_) {
      if (at_ >= text_.size()) fail("incomplete format key");
      open += peek() == U'(' ? 1 : peek() == U')' ? -1 : 0;
    }
    const Value name = arena_.string(text_.substr(start, at_ - 1 - start));
    const Value* found = values_.as<Dict>().find(arena_, name);
    if (found == nullptr) fail("the format key '{}' is not in the mapping", encode_utf8(name.text()));
    key_value_ = *found;
    keyed_ = true;
  }

  int64_t star_or_number() {
    if (at_ < text_.size() && peek() == U'*') {
      ++at_;
      const int64_t n = to_index(next_value(), "* in a format");
      if (n < INT32_MIN || n > INT32_MAX) fail("a width or precision in a format string is too large");
      return n;
    }
    return read_number(text_, at_).value_or(0);
  }

  void conversion() {
    Spec spec;
    keyed_ = false;
    if (peek() == U'(') key();
    bool left = false;
    for (;; ++at_) {
      if (peek() == U'-') {
        left = true;
      } else if (peek() == U'+') {
        spec.sign = U'+';
      } else if (peek() == U' ') {
        if (spec.sign != U'+') spec.sign = U' ';
      } else if (peek() == U'#') {
        spec.alternate = true;
      } else if (peek() == U'0') {
        spec.zero = true;
      } else {
        break;
      }
    }
    const int64_t width = star_or_number();
    if (width < 0) left = true;
    spec.width = static_cast<size_t>(std::abs(width));
    if (left) {
      spec.align = U'<';
      spec.zero = false;
    }
    if (peek() == U'.') {
      ++at_;
      spec.precision = std::max<int64_t>(star_or_number(), 0);
    }
    if (peek() == U'h' || peek() == U'l' || peek() == U'L') ++at_;
    spec.type = peek();
    ++at_;
    if (spec.type == U'%') {
      out_.append(U'%');
      return;
    }
    write(spec, next_value());
  }

  void write(const Spec& spec, const Value& v) {
    switch (spec.type) {
      case U's':
        return write_text(spec, markup_ ? escape(arena_, v) : to_string(arena_, v));
      case U'r': {
        TextBuilder repr(arena_);
        append_repr(arena_, repr, v);
        const Value text = repr.finish();
        return write_text(spec, markup_ ? escape(arena_, text) : text);
      }
      case U'a':
        return write_text(spec, ascii_repr(arena_, v));
      case U'c':
        return write_character(spec, v);
      case U'd':
      case U'i':
      case U'u':
        return write_integer(spec, v, 10, "");
      case U'x':
        return write_integer(spec, v, 16, "0x");
      case U'X':
        return write_integer(spec, v, 16, "0X");
      case U'o':
        return write_integer(spec, v, 8, "0o");
      case U'e':
      case U'E':
      case U'f':
      case U'F':
      case U'g':
      case U'G':
        return write_real(spec, to_real(v, "a float format:"));
      default:
        fail("unsupported format character '{}'", encode_utf8(TextView(&spec.type, 1)));
    }
  }

  void write_text(const Spec& spec, const Value& text) {
    const auto precision = static_cast<size_t>(spec.precision.value_or(INT64_MAX));
    append_padded(out_, TextView(text.text()).substr(0, precision), spec, U'>');
  }

  void write_character(const Spec& spec, const Value& v) {
    if (v.is(Kind::string) && v.text().size() == 1) return append_padded(out_, v.text(), spec, U'>');
    if (!v.is_integral() || v.as_integer() < 0 || v.as_integer() > 0x10FFFF) fail("%c requires int or char");
    append_padded(out_, Text(1, static_cast<char32_t>(v.as_integer())), spec, U'>');
  }

  void write_integer(const Spec& spec, const Value& v, unsigned base, const char* prefix) {
    const auto type = static_cast<char>(spec.type);
    if (v.is(Kind::undefined)) fail_undefined(v);
    if (base == 10 ? !v.is_number() : !v.is_integral()) {
      fail("%{} format: {} is required, not {}", type, base == 10 ? "a real number" : "an integer",
           type_name(v));
    }
    const int64_t n = v.is(Kind::real) ? truncate_real(v.as_real()) : v.as_integer();
    Number number{sign_of(n < 0, spec.sign), spec.alternate ? prefix : "",
                  integer_digits(magnitude(n), base, type == 'X')};
    const auto digits = static_cast<size_t>(std::min(spec.precision.value_or(0), kMaxPrecision));
    if (number.digits.size() < digits) {
      arena_.charge(digits);
      number.digits.insert(0, digits - number.digits.size(), '0');
    }
    append_number(out_, number, spec);
  }

  void write_real(const Spec& spec, double d) {
    const auto type = static_cast<char>(spec.type);
    append_number(out_,
                  {sign_of(std::signbit(d) && !std::isnan(d), spec.sign), "",
                   real_digits(arena_, d, spec.precision.value_or(6), type, spec.alternate)},
                  spec);
  }

  Arena& arena_;
  TextView text_;
  bool markup_;
  const Value& values_;
  TextBuilder out_;
  size_t at_ = 0;
  size_t used_ = 0;  // positional values taken
  bool keyed_ = false;
  Value key_value_;
};

// ---- '{}'.format(values)

Spec parse_spec(TextView text) {
  const auto is_align = [](char32_t c) { return TextView(U"<>=^").find(c) != TextView::npos; };
  Spec spec;
  size_t at = 0;
  const auto peek = [&] { return at < text.size() ? code_point(text[at]) : char32_t{0}; };
  if (text.size() >= 2 && is_align(text[1])) {
    spec.fill = text[0];
    at = 1;
  }
  if (is_align(peek()) && at < text.size()) spec.align = code_point(text[at++]);
  if (peek() == U'+' || peek() == U'-' || peek() == U' ') spec.sign = code_point(text[at++]);
  if (peek() == U'#') spec.alternate = ++at > 0;
  if (peek() == U'0') {
    spec.zero = ++at > 0;
    if (spec.fill == 0) spec.fill = U'0';
  }
  spec.width = static_cast<size_t>(read_number(text, at).value_or(0));
  if (peek() == U',' || peek() == U'_') spec.grouping = code_point(text[at++]);
  if (peek() == U'.') {
    ++at;
    spec.precision = read_number(text, at);
    if (!spec.precision) fail("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = code_point(text[at++]);
  if (at != text.size()) fail("Invalid format specifier '{}'", encode_utf8(text));
  if (spec.zero && spec.grouping != 0 && spec.width > 0) {
    fail_unsupported("zero padding together with digit grouping is not supported in a format specifier");
  }
  return spec;
}

[[noreturn]] void fail_type(const Spec& spec, const Value& v) {
  fail("Unknown format code '{}' for object of type '{}'", encode_utf8(TextView(&spec.type, 1)),
       type_name(v));
}

void format_text(TextBuilder& out, const Value& v, Spec spec) {
  if (spec.type != 0 && spec.type != U's') fail_type(spec, v);
  if (spec.align == U'=' || spec.sign != U'-' || spec.alternate || spec.grouping != 0) {
    fail("a number format is not allowed for a string");
  }
  const auto precision = static_cast<size_t>(spec.precision.value_or(INT64_MAX));
  append_padded(out, TextView(v.text()).substr(0, precision), spec, U'<');
}

void format_real(Arena& arena, TextBuilder& out, double d, const Value& v, const Spec& spec) {
  const bool percent = spec.type == U'%';
  std::string digits;
  switch (spec.type) {
    case 0:
      if (!spec.precision) {
        digits = float_repr(std::fabs(d));
      } else {
        digits = real_digits(arena, d, std::max<int64_t>(*spec.precision, 1), 'g', false);
        // Without a type a float keeps a digit after the point; an exponent one digit earlier makes room for
        // it.
        if (std::isfinite(d) && digits.find_first_of(".e") == std::string::npos) {
          if (static_cast<int64_t>(digits.size()) >= std::max<int64_t>(*spec.precision, 1)) {
            fail_unsupported("a float format with a precision needs a type such as 'f' or 'g'");
          }
          digits += ".0";
        }
      }
      break;
    case U'n':
      digits = real_digits(arena, d, spec.precision.value_or(6), 'g', spec.alternate);
      break;
    case U'%':
      digits = real_digits(arena, d * 100, spec.precision.value_or(6), 'f', spec.alternate);
      break;
    case U'e':
    case U'E':
    case U'f':
    case U'F':
    case U'g':
    case U'G':
      digits =
          real_digits(arena, d, spec.precision.value_or(6), static_cast<char>(spec.type), spec.alternate);
      break;
    default:
      fail_type(spec, v);
  }
  if (spec.grouping != 0) group_digits(digits, static_cast<char>(spec.grouping), 3);
  append_number(
      out, {sign_of(std::signbit(d) && !std::isnan(d), spec.sign), "", digits + (percent ? "%" : "")}, spec);
}

void format_integer(Arena& arena, TextBuilder& out, const Value& v, const Spec& spec) {
  unsigned base = 10;
  switch (spec.type) {
    case 0:
    case U'd':
    case U'n':
      break;
    case U'b':
      base = 2;
      break;
    case U'o':
      base = 8;
      break;
    case U'x':
    case U'X':
      base = 16;
      break;
    case U'c':
      if (v.as_integer() < 0 || v.as_integer() > 0x10FFFF) fail("%c arg not in range(0x110000)");
      return append_padded(out, Text(1, static_cast<char32_t>(v.as_integer())), spec, U'<');
    default:
      return format_real(arena, out, v.as_real(), v, spec);
  }
  if (spec.precision) fail("Precision not allowed in integer format specifier");
  const auto type = static_cast<char>(spec.type);
  Number number{sign_of(v.as_integer() < 0, spec.sign), "",
                integer_digits(magnitude(v.as_integer()), base, type == 'X')};
  if (spec.alternate && base != 10) number.prefix = {'0', type};
  if (spec.grouping != 0) group_digits(number.digits, static_cast<char>(spec.grouping), base == 10 ? 3 : 4);
  append_number(out, number, spec);
}

class BraceFormatter {
 public:
  BraceFormatter(Arena& arena, bool markup, const Arguments& arguments, const Value& mapping)
      : arena_(arena), markup_(markup), arguments_(arguments), mapping_(mapping) {}

  void write(TextBuilder& out, TextView text, int depth) {
    if (depth > 2) fail("Max string recursion exceeded");
    for (size_t at = 0; at < text.size(); ++at) {
      const char32_t c = code_point(text[at]);
      if (c != U'{' && c != U'}') {
        out.append(text[at]);
      } else if (at + 1 < text.size() && code_point(text[at + 1]) == c) {
        out.append(text[at++]);
      } else if (c == U'}') {
        fail("Single '}}' encountered in format string");
      } else {
        const size_t end = closing(text, at + 1);
        field(out, text.substr(at + 1, end - at - 1), depth);
        at = end;
      }
    }
  }

 private:
  static size_t closing(TextView text, size_t at) {
    for (int open = 1; at < text.size(); ++at) {
      if (code_point(text[at]) == U'{') ++open;
      if (code_point(text[at]) == U'}' && --open == 0) return at;
    }
    fail("expected '}}' before end of string");
  }

  void field(TextBuilder& out, TextView text, int depth) {
    size_t name_end = 0;
    for (bool bracket = false; name_end < text.size(); ++name_end) {
      const char32_t c = code_point(text[name_end]);
      if (c == U'[') bracket = true;
      if (c == U']') bracket = false;
      if (!bracket && (c == U'!' || c == U':')) break;
    }
    Value v = lookup(text.substr(0, name_end));
    size_t at = name_end;
    if (at < text.size() && code_point(text[at]) == U'!') {
      if (at + 1 >= text.size()) fail("end of string while looking for conversion specifier");
      v = convert(v, code_point(text[at + 1]));
      at += 2;
      if (at < text.size() && code_point(text[at]) != U':') fail("expected ':' after conversion specifier");
    }
    TextBuilder spec(arena_);
    if (at < text.size()) write(spec, text.substr(at + 1), depth + 1);
    if (!markup_) return format_value(out, v, spec.text());
    TextBuilder formatted(arena_);
    format_value(formatted, v, spec.text());
    out.append(escape(arena_, formatted.finish(v.is(Kind::string) && v.as<String>().markup)).text());
  }

  Value convert(const Value& v, char32_t conversion) {
    if (conversion == U's') return to_string(arena_, v);
    if (conversion == U'a') return ascii_repr(arena_, v);
    if (conversion != U'r') fail("Unknown conversion specifier '{}'", encode_utf8(TextView(&conversion, 1)));
    TextBuilder repr(arena_);
    append_repr(arena_, repr, v);
    return repr.finish();
  }

  void format_value(TextBuilder& out, const Value& v, TextView spec_text) {
    if (spec_text.empty()) return append_string(arena_, out, v);
    const Spec spec = parse_spec(spec_text);
    if (v.is(Kind::string)) return format_text(out, v, spec);
    if (v.is_integral()) return format_integer(arena_, out, v, spec);
    if (v.is(Kind::real)) return format_real(arena_, out, v.as_real(), v, spec);
    fail("unsupported format string passed to {}.__format__", type_name(v));
  }

  Value lookup(TextView name) {
    size_t at = std::min(name.find_first_of(U".["), name.size());
    Value v = argument(name.substr(0, at));
    while (at < name.size()) {
      const bool attribute = code_point(name[at]) == U'.';
      const size_t end =
          attribute ? std::min(name.find_first_of(U".[", at + 1), name.size()) : name.find(U']', at);
      if (end == TextView::npos) fail("Missing ']' in format string");
      const TextView part = name.substr(at + 1, end - at - 1);
      if (part.empty()) fail("Empty attribute in format string");
      v = attribute ? get_attribute(arena_, v, arena_.string(part)) : get_item(arena_, v, index(part));
      at = attribute ? end : end + 1;
      if (!attribute && at < name.size() && code_point(name[at]) != U'.' && code_point(name[at]) != U'[') {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return v;
  }

  Value index(TextView part) {
    size_t at = 0;
    const auto n = read_number(part, at);
    return n && at == part.size() ? Value::integer(*n) : arena_.string(part);
  }

  Value argument(TextView name) {
    size_t at = 0;
    std::optional<int64_t> position = read_number(name, at);
    if (at != name.size()) position.reset();
    if (name.empty()) {
      if (numbered_) fail("cannot switch from manual field specification to automatic field numbering");
      position = automatic_++;
    } else if (position) {
      if (automatic_ > 0) fail("cannot switch from automatic field numbering to manual field specification");
      numbered_ = true;
    }
    if (position) {
      if (static_cast<size_t>(*position) >= arguments_.positional.size()) {
        fail("Replacement index {} out of range for positional args tuple", *position);
      }
      return arguments_.positional[static_cast<size_t>(*position)];
    }
    if (mapping_.is(Kind::dict)) {
      if (const Value* found = mapping_.as<Dict>().find(arena_, arena_.string(name))) return *found;
    }
    const std::string key = encode_utf8(name);
    for (const auto& [named, value] : arguments_.named) {
      if (named == key) return value;
    }
    fail("the format string names '{}', which is not among the arguments", key);
  }

  Arena& arena_;
  bool markup_;
  const Arguments& arguments_;
  const Value& mapping_;
  int64_t automatic_ = 0;
  bool numbered_ = false;
};

}  // namespace

Value percent_format(Arena& arena, const Value& format, const Value& values) {
  return PercentFormatter(arena, format, values).run();
}

Value brace_format(Arena& arena, const Value& format, const Arguments& arguments) {
  const bool markup = format.as<String>().markup;
  TextBuilder out(arena);
  BraceFormatter(arena, markup, arguments, Value()).write(out, format.text(), 1);
  return out.finish(markup);
}

Value brace_format_map(Arena& arena, const Value& format, const Value& mapping) {
  if (!mapping.is(Kind::dict)) fail("format_map() argument must be a mapping, not {}", type_name(mapping));
  const bool markup = format.as<String>().markup;
  TextBuilder out(arena);
  BraceFormatter(arena, markup, {}, mapping).write(out, format.text(), 1);
  return out.finish(markup);
}

}  // namespace sluice::text::jinja
