// Numbers and padding as both ways of formatting write them.
#pragma once

#include <optional>
#include <string>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

inline constexpr int64_t kMaxPrecision = 1'000'000;  // Python has no limit; a float has 1075 digits

/// A number as text, in the parts that padding has to tell apart.
struct Number {
  std::string sign;    // "", "-", "+" or " "
  std::string prefix;  // "", "0x", ...
  std::string digits;
};

/// What a format asks for.
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

std::string sign_of(bool negative, char32_t mode);
uint64_t magnitude(int64_t v);
std::string integer_digits(uint64_t n, unsigned base, bool upper = false);
/// Digits of |value| in C's format `type` (e, f, g or their capitals).
std::string real_digits(Arena& arena, double value, int64_t precision, char type, bool alternate);
/// repr(v) with everything but ASCII escaped: Python's ascii().
Value ascii_repr(Arena& arena, const Value& v);
/// The character of an integer, for the format `c`; fails for what is none.
char32_t to_character(const Value& v);
/// Reads decimal digits at `at`; nothing when there are none.
std::optional<int64_t> read_number(TextView text, size_t& at);

void append_padded(TextBuilder& out, TextView text, const Spec& spec, char32_t default_align);
void append_number(TextBuilder& out, const Number& number, const Spec& spec);

}  // namespace sluice::text::jinja
