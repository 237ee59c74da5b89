// 'text %s' % values
#include <algorithm>
#include <cmath>

#include "text/jinja/format.h"
#include "text/jinja/format_number.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {
namespace {

double to_real(const Value& v, const char* where) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_number()) fail("{} a number is required, not {}", where, type_name(v));
  return v.as_real();
}

int64_t truncate_real(double d) {
  if (!(std::fabs(d) < 9.2e18)) fail("the number {} does not fit in 64 bits", float_repr(d));
  return static_cast<int64_t>(d);
}

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
    if (found == nullptr) fail("the format key '{}' is not in the mapping", to_utf8(name.text()));
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
        fail("unsupported format character '{}'", to_utf8(TextView(&spec.type, 1)));
    }
  }

  void write_text(const Spec& spec, const Value& text) {
    const auto precision = static_cast<size_t>(spec.precision.value_or(INT64_MAX));
    append_padded(out_, TextView(text.text()).substr(0, precision), spec, U'>');
  }

  void write_character(const Spec& spec, const Value& v) {
    if (v.is(Kind::string) && v.text().size() == 1) return append_padded(out_, v.text(), spec, U'>');
    append_padded(out_, Text(1, to_character(v)), spec, U'>');
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

}  // namespace

Value percent_format(Arena& arena, const Value& format, const Value& values) {
  return PercentFormatter(arena, format, values).run();
}

}  // namespace sluice::text::jinja
