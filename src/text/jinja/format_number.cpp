#include "text/jinja/format_number.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/print.h"

namespace sluice::text::jinja {

std::string sign_of(bool negative, char32_t mode) {
  if (negative) return "-";
  return mode == U'+' ? "+" : mode == U' ' ? " " : "";
}

uint64_t magnitude(int64_t v) { return v < 0 ? 0 - static_cast<uint64_t>(v) : static_cast<uint64_t>(v); }

std::string integer_digits(uint64_t n, unsigned base, bool upper) {
  std::string out;
  do {
    const auto digit = static_cast<char>(n % base);
    out += static_cast<char>(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10);
    n /= base;
  } while (n != 0);
  std::reverse(out.begin(), out.end());
  return out;
}

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

char32_t to_character(const Value& v) {
  if (!v.is_integral()) fail("%c requires int or char");
  const int64_t c = v.as_integer();
  if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("%c: {} is not a Unicode character", c);
  return static_cast<char32_t>(c);
}

std::optional<int64_t> read_number(TextView text, size_t& at) {
  const size_t start = at;
  int64_t n = 0;
  for (; at < text.size() && code_point(text[at]) >= U'0' && code_point(text[at]) <= U'9'; ++at) {
    n = n * 10 + static_cast<int64_t>(code_point(text[at]) - U'0');
    if (n > INT32_MAX) fail("a width or precision in a format string is too large");
  }
  return at == start ? std::nullopt : std::optional(n);
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

}  // namespace sluice::text::jinja
