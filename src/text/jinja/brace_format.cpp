// '{}'.format(values)
#include <algorithm>
#include <cmath>

#include "text/jinja/attributes.h"
#include "text/jinja/format.h"
#include "text/jinja/format_number.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

void group_digits(std::string& digits, char separator, size_t every) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  for (size_t at = whole; at > every;) {
    at -= every;
    digits.insert(at, 1, separator);
  }
}

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
  if (at != text.size()) fail("Invalid format specifier '{}'", to_utf8(text));
  if (spec.zero && spec.grouping != 0 && spec.width > 0) {
    fail_unsupported("zero padding together with digit grouping is not supported in a format specifier");
  }
  return spec;
}

[[noreturn]] void fail_type(const Spec& spec, const Value& v) {
  fail("Unknown format code '{}' for object of type '{}'", to_utf8(TextView(&spec.type, 1)), type_name(v));
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
      return append_padded(out, Text(1, to_character(v)), spec, U'<');
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
    if (conversion != U'r') fail("Unknown conversion specifier '{}'", to_utf8(TextView(&conversion, 1)));
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
    const std::string key = to_utf8(name);
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
