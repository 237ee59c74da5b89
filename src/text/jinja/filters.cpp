// The filters of jinja2 on single values and text, and the table of all.
#include <cmath>
#include <cstdlib>

#include "text/jinja/attributes.h"
#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/from_json.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/sequence_filters.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {
namespace {

/// jinja2's soft_str: strings stay what they are, Markup included; anything else becomes its text.
Value soft(Arena& arena, const Value& v) { return v.is(Kind::string) ? v : to_string(arena, v); }

/// The method of str of the same name, on the text of any value.
Value by_method(Arena& arena, const Value& v, std::string_view method, const Arguments& arguments = {}) {
  return (*find_builtin(string_methods(), method))(arena, soft(arena, v), arguments);
}

Value filter_abs(Arena&, const Value& v, const Bound&) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is_number()) fail("bad operand type for abs(): '{}'", type_name(v));
  if (v.is(Kind::real)) return Value::real(std::fabs(v.as_real()));
  return v.as_integer() < 0 ? negate(v) : Value::integer(v.as_integer());
}

Value filter_attr(Arena& arena, const Value& v, const Bound& a) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  const auto found = find_attribute(arena, v, to_utf8(a.text(0)));
  return found ? *found : arena.no_attribute(v, a[0]);
}

Value filter_default(Arena& arena, const Value& v, const Bound& a) {
  if (!v.is(Kind::undefined) && !(a.flag(arena, 1, false) && !truthy(arena, v))) return v;
  return a[0].missing() ? arena.string(TextView()) : a[0];
}

Value filter_format(Arena& arena, const Value& v, const Bound& a) {
  const auto& [positional, named] = a.all();
  if (named.empty()) return percent_format(arena, soft(arena, v), arena.tuple(positional));
  if (!positional.empty()) fail("can't handle positional and keyword arguments at the same time");
  auto* dict = arena.make<Dict>();
  for (const auto& [name, value] : named) dict->set(arena, arena.string(name), value);
  return percent_format(arena, soft(arena, v), Value(dict));
}

Value filter_from_json(Arena& arena, const Value& v, const Bound&) {
  if (!v.is(Kind::string)) fail("from_json needs a string, not '{}'", type_name(v));
  arena.charge(v.text().size() * 16);
  const auto json = parse_json(to_utf8(v.text()), "from_json");
  if (!json.ok()) fail("{}", json.status().message());
  return from_json(arena, *json, v.text().empty() ? 0 : mark_of(v.text()[0]));
}

Value filter_indent(Arena& arena, const Value& v, const Bound& a) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (!v.is(Kind::string)) fail("indent needs a string, not '{}'", type_name(v));
  Value width = a[0].missing() ? Value::integer(4) : a[0];
  if (!width.is(Kind::string))
    width = arithmetic(arena, Arithmetic::mul, arena.string(TextView(U" ")), width);
  const bool first = a.flag(arena, 1, false);
  const bool blank = a.flag(arena, 2, false);
  TextBuilder out(arena);
  arena.charge(v.text().size() * sizeof(char32_t));
  Text text = v.text();
  text.push_back(U'\n');
  const auto lines = split_lines(arena, text, false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append(U'\n');
    if (i == 0 ? first : blank || !lines[i].empty()) out.append(width.text());
    out.append(lines[i]);
  }
  return out.finish(v.as<String>().markup);
}

// ---- numbers

/// The number a text spells by Python's int() in this base; nothing when it spells none.
std::optional<int64_t> parse_integer(TextView text, int64_t base) {
  std::string s = to_utf8(strip(text, Side::both));
  const bool negative = s.starts_with('-');
  if (negative || s.starts_with('+')) s.erase(0, 1);
  const auto prefixed = [&](char letter) { return s.size() > 2 && s[0] == '0' && (s[1] | 0x20) == letter; };
  const int64_t prefix_base = prefixed('x') ? 16 : prefixed('o') ? 8 : prefixed('b') ? 2 : 0;
  if (prefix_base != 0 && (base == 0 || base == prefix_base)) {
    s.erase(0, s[2] == '_' ? 3 : 2);
    base = prefix_base;
  }
  if (base == 0) {
    if (s.size() > 1 && s[0] == '0' && s.find_first_not_of("0_") != std::string::npos) return std::nullopt;
    base = 10;
  }
  if (base < 2 || base > 36 || s.empty() || s.front() == '_' || s.back() == '_') return std::nullopt;
  Value n = Value::integer(0);
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '_' && s[i - 1] != '_') continue;
    const int digit = s[i] >= '0' && s[i] <= '9'                       ? s[i] - '0'
                      : std::isalpha(static_cast<unsigned char>(s[i])) ? (s[i] | 0x20) - 'a' + 10
                                                                       : 99;
    if (digit >= base) return std::nullopt;
    int64_t next = 0;
    if (__builtin_mul_overflow(n.as_integer(), base, &next) || __builtin_sub_overflow(next, digit, &next)) {
      fail("the integer '{}' does not fit in 64 bits", to_utf8(text));
    }
    n = Value::integer(next);  // kept negative, which has room for one more
  }
  return negative ? n.as_integer() : negate(n).as_integer();
}

/// The number a text spells by Python's float(); nothing when it spells none.
std::optional<double> parse_real(TextView text) {
  const std::string spelt = to_utf8(strip(text, Side::both));
  std::string s;
  for (size_t i = 0; i < spelt.size(); ++i) {
    const auto digit_at = [&](size_t at) {
      return at < spelt.size() && std::isdigit(static_cast<unsigned char>(spelt[at]));
    };
    if (spelt[i] != '_') {
      s += spelt[i];
    } else if (i == 0 || !digit_at(i - 1) || !digit_at(i + 1)) {
      return std::nullopt;
    }
  }
  if (s.empty() || s.find_first_of("xXpP(\0", 0, 6) != std::string::npos)
    return std::nullopt;  // strtod knows more than Python
  char* end = nullptr;
  const double d = std::strtod(s.c_str(), &end);
  if (end != s.c_str() + s.size() || is_space(static_cast<unsigned char>(s[0]))) return std::nullopt;
  return d;
}

int64_t truncate(double d) {
  if (std::isnan(d)) fail("cannot convert float NaN to integer");
  if (!(std::fabs(d) < 9223372036854775808.0)) fail("the number {} does not fit in 64 bits", float_repr(d));
  return static_cast<int64_t>(d);
}

Value filter_int(Arena&, const Value& v, const Bound& a) {
  const Value absent = a[0].missing() ? Value::integer(0) : a[0];
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (v.is_integral()) return Value::integer(v.as_integer());
  if (v.is(Kind::real)) return std::isnan(v.as_real()) ? absent : Value::integer(truncate(v.as_real()));
  if (!v.is(Kind::string)) return absent;
  if (const auto n = parse_integer(v.text(), a.integer(1, 10))) return Value::integer(*n);
  const auto d = parse_real(v.text());
  return d && std::isfinite(*d) ? Value::integer(truncate(*d)) : absent;
}

Value filter_float(Arena&, const Value& v, const Bound& a) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  if (v.is_number()) return Value::real(v.as_real());
  if (v.is(Kind::string)) {
    if (const auto d = parse_real(v.text())) return Value::real(*d);
  }
  return a[0].missing() ? Value::real(0) : a[0];
}

Value filter_round(Arena&, const Value& v, const Bound& a) {
  if (v.is(Kind::undefined)) fail_undefined(v);
  const int64_t precision = a.integer(0, 0);
  const std::string method = a[1].missing() ? "common" : to_utf8(a.text(1));
  if (method != "common" && method != "ceil" && method != "floor")
    fail("method must be common, ceil or floor");
  if (!v.is_number()) fail("type {} doesn't define __round__ method", type_name(v));
  if (method == "common") {
    if (v.is_integral() && precision >= 0) return Value::integer(v.as_integer());
    if (precision < 0 || v.is_integral()) fail_unsupported("rounding to tens is not supported");
    if (precision > 300 || !std::isfinite(v.as_real())) return v;
    char digits[700];  // the shortest way to the correctly rounded decimal is to print it
    std::snprintf(digits, sizeof digits, "%.*f", static_cast<int>(precision), v.as_real());
    return Value::real(std::strtod(digits, nullptr));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = v.as_real() * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

// ---- text

Value filter_replace(Arena& arena, const Value& v, const Bound& a) {
  const Value s = to_string(arena, v);
  const Value old = to_string(arena, a[0]);
  const Value replacement = to_string(arena, a[1]);
  return replace_text(arena, s.text(), old.text(), replacement.text(), a.given(2) ? a.integer(2, -1) : -1);
}

/// Upper case after white space and opening punctuation, lower case elsewhere: not quite str.title.
Value filter_title(Arena& arena, const Value& v, const Bound&) {
  const Value s = soft(arena, v);
  const auto opens_word = [](char32_t c) {
    return is_space(c) || TextView(U"-({[<").find(c) != TextView::npos;
  };
  const TextView text = s.text();
  TextBuilder out(arena);
  for (size_t start = 0; start < text.size();) {
    const bool separator = opens_word(text[start]);
    size_t end = start;
    while (end < text.size() && opens_word(text[end]) == separator) ++end;
    out.append(to_upper(text.substr(start, 1))).append(to_lower(text.substr(start + 1, end - start - 1)));
    start = end;
  }
  return out.finish();
}

Value filter_truncate(Arena& arena, const Value& v, const Bound& a) {
  const int64_t length = a.integer(0, 255);
  const bool kill_words = a.flag(arena, 1, false);
  const TextView end = a[2].missing() ? TextView(U"...") : a.text(2);
  const int64_t leeway = a.given(3) ? a.integer(3, 5) : 5;
  const auto end_size = static_cast<int64_t>(end.size());
  if (length < end_size) fail("expected length >= {}, got {}", end_size, length);
  if (leeway < 0) fail("expected leeway >= 0, got {}", leeway);
  const auto size = length_of(v);
  if (size && *size - leeway <= length) return v;
  if (!v.is(Kind::string)) fail("truncate needs a string, not '{}'", type_name(v));
  TextView kept = TextView(v.text()).substr(0, static_cast<size_t>(length - end_size));
  if (!kill_words) kept = kept.substr(0, kept.find_last_of(U' '));
  return TextBuilder(arena).append(kept).append(end).finish();
}

Value filter_wordcount(Arena& arena, const Value& v, const Bound&) {
  const Value s = soft(arena, v);
  arena.scan(s.text().size());
  int64_t words = 0;
  bool inside = false;
  for (char32_t c : s.text()) {
    const bool word = is_alnum(c) || code_point(c) == U'_';
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::integer(words);
}

Value filter_tojson(Arena& arena, const Value& v, const Bound& a) {
  JsonStyle style;
  style.ensure_ascii = a.flag(arena, 0, false);
  style.sort_keys = a.flag(arena, 3, false);
  if (a.given(1)) {
    style.item_separator = U",";
    if (a[1].is(Kind::string)) {
      style.indent = a.text(1);
    } else {
      const auto width = static_cast<size_t>(std::max<int64_t>(a.integer(1, 0), 0));
      arena.charge(width);
      style.indent = Text(width, U' ');
    }
  }
  if (a.given(2)) {
    const auto separators = collect(arena, a[2]);
    if (separators.size() != 2 || !separators[0].is(Kind::string) || !separators[1].is(Kind::string)) {
      fail("tojson: separators must be two strings");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  return dump_json(arena, v, style);
}

constexpr Builtin kValueFilters[] = {
    {"abs", "/", filter_abs},
    {"attr", "name", filter_attr},
    {"capitalize", "",
     [](Arena& arena, const Value& v, const Bound&) { return by_method(arena, v, "capitalize"); }},
    {"center", "width?",
     [](Arena& arena, const Value& v, const Bound& a) {
       const Value s = soft(arena, v);
       return center_text(arena, s.text(), a.integer(0, 80), U' ', s.as<String>().markup);
     }},
    {"d", "default_value? boolean?", filter_default},
    {"default", "default_value? boolean?", filter_default},
    {"e", "/", [](Arena& arena, const Value& v, const Bound&) { return escape(arena, v); }},
    {"escape", "/", [](Arena& arena, const Value& v, const Bound&) { return escape(arena, v); }},
    {"float", "default?", filter_float},
    {"forceescape", "",
     [](Arena& arena, const Value& v, const Bound&) { return escape(arena, to_string(arena, v)); }},
    {"format", "*", filter_format},
    {"from_json", "", filter_from_json},
    {"indent", "width? first? blank?", filter_indent},
    {"int", "default? base?", filter_int},
    {"lower", "", [](Arena& arena, const Value& v, const Bound&) { return by_method(arena, v, "lower"); }},
    {"replace", "old new count?", filter_replace},
    {"round", "precision? method?", filter_round},
    {"safe", "",
     [](Arena& arena, const Value& v, const Bound&) {
       return arena.string(to_string(arena, v).text(), true);
     }},
    {"string", "/", [](Arena& arena, const Value& v, const Bound&) { return soft(arena, v); }},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
    {"trim", "chars?",
     [](Arena& arena, const Value& v, const Bound& a) {
       return strip_text(arena, soft(arena, v), Side::both, a[0]);
     }},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {"upper", "", [](Arena& arena, const Value& v, const Bound&) { return by_method(arena, v, "upper"); }},
    {"wordcount", "", filter_wordcount},
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const Builtin* found = find_builtin(kValueFilters, name);
  return found != nullptr ? found : find_builtin(sequence_filters(), name);
}

bool is_refused_filter(std::string_view name) {
  static constexpr std::string_view kRefused[] = {"filesizeformat", "pprint", "random",   "striptags",
                                                  "urlencode",      "urlize", "wordwrap", "xmlattr"};
  return std::find(std::begin(kRefused), std::end(kRefused), name) != std::end(kRefused);
}

}  // namespace sluice::text::jinja
