// The methods of str.
#include <algorithm>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"
#include "text/jinja/strings.h"

namespace sluice::text::jinja {
namespace {

bool is_markup(const Value& s) { return s.as<String>().markup; }

/// A part of s, of s's type.
Value part(Arena& arena, const Value& s, TextView piece) { return arena.string(piece, is_markup(s)); }

template <Text (*map)(TextView)>
Value mapped(Arena& arena, const Value& s, const Bound&) {
  arena.work(s.text().size() / 4);  // the tables of Unicode are slow
  return arena.string(map(s.text()), is_markup(s));
}

/// Whether the text is not empty and all its characters are of a class.
template <bool (*is_class)(char32_t)>
Value all_of(Arena& arena, const Value& s, const Bound&) {
  arena.scan(s.text().size());
  return Value::boolean(!s.text().empty() && std::all_of(s.text().begin(), s.text().end(), is_class));
}

/// islower and isupper: some character has the case and none the other.
template <bool (*has)(char32_t), bool (*other)(char32_t)>
Value all_cased(Arena& arena, const Value& s, const Bound&) {
  arena.scan(s.text().size());
  const auto& t = s.text();
  return Value::boolean(std::any_of(t.begin(), t.end(), has) && std::none_of(t.begin(), t.end(), other) &&
                        std::none_of(t.begin(), t.end(), is_title));
}

Value is_title_text(Arena& arena, const Value& s, const Bound&) {
  arena.scan(s.text().size());
  bool cased = false;
  bool inside = false;
  for (char32_t c : s.text()) {
    const bool start = is_upper(c) || is_title(c);
    if ((start && inside) || (is_lower(c) && !inside)) return Value::boolean(false);
    inside = start || is_lower(c);
    cased |= inside;
  }
  return Value::boolean(cased);
}

template <Side side>
Value stripped(Arena& arena, const Value& s, const Bound& a) {
  return strip_text(arena, s, side, a[0]);
}

// ---- searching

/// s[start:end] of find, count, startswith and the like: where it begins, and the text; npos when start is
/// beyond the end, where Python finds not even "".
std::pair<size_t, TextView> window(const Value& s, const Bound& a, size_t first) {
  const auto n = static_cast<int64_t>(s.text().size());
  const auto clamp = [n](int64_t i) { return std::max<int64_t>(i < 0 ? i + n : i, 0); };
  const int64_t start = clamp(a.given(first) ? std::max(a.integer(first, 0), -n) : 0);
  const int64_t stop = std::min(clamp(a.given(first + 1) ? std::max(a.integer(first + 1, n), -n) : n), n);
  if (start > stop) return {TextView::npos, {}};
  return {static_cast<size_t>(start),
          TextView(s.text()).substr(static_cast<size_t>(start), static_cast<size_t>(stop - start))};
}

int64_t position(Arena& arena, const Value& s, const Bound& a, bool last) {
  const TextView needle = a.text(0);
  const auto [offset, text] = window(s, a, 1);
  arena.scan(text.size() + needle.size());
  if (offset == TextView::npos) return -1;
  const size_t at = last ? find_last(text, needle) : Searcher(needle).find(text, 0);
  return at == TextView::npos ? -1 : static_cast<int64_t>(offset + at);
}

template <bool last>
Value find(Arena& arena, const Value& s, const Bound& a) {
  return Value::integer(position(arena, s, a, last));
}

template <bool last>
Value index(Arena& arena, const Value& s, const Bound& a) {
  const int64_t at = position(arena, s, a, last);
  if (at < 0) fail("substring not found");
  return Value::integer(at);
}

Value count(Arena& arena, const Value& s, const Bound& a) {
  const TextView needle = a.text(0);
  const auto [offset, text] = window(s, a, 1);
  arena.scan(text.size() + needle.size());
  if (offset == TextView::npos) return Value::integer(0);
  if (needle.empty()) return Value::integer(static_cast<int64_t>(text.size()) + 1);
  const Searcher searcher(needle);
  int64_t found = 0;
  for (size_t at = searcher.find(text, 0); at != TextView::npos; at = searcher.find(text, at + needle.size()))
    ++found;
  return Value::integer(found);
}

template <bool at_end>
Value starts_or_ends(Arena& arena, const Value& s, const Bound& a) {
  const auto [offset, text] = window(s, a, 1);
  const auto matches = [&, text = text, offset = offset](const Value& affix) {
    if (affix.is(Kind::undefined)) fail_undefined(affix);
    if (!affix.is(Kind::string))
      fail("startswith and endswith need a str or a tuple of str, not {}", type_name(affix));
    arena.scan(affix.text().size());
    if (offset == TextView::npos) return false;
    return at_end ? text.ends_with(affix.text()) : text.starts_with(affix.text());
  };
  if (!a[0].is(Kind::tuple)) return Value::boolean(matches(a[0]));
  return Value::boolean(std::any_of(a[0].items().begin(), a[0].items().end(), matches));
}

// ---- splitting and joining

std::vector<TextView> split_words(Arena& arena, TextView s, int64_t most, bool from_right) {
  std::vector<TextView> out;
  s = strip(s, from_right ? Side::right : Side::left);
  while (!s.empty()) {
    arena.charge_items(1);
    if (most >= 0 && static_cast<int64_t>(out.size()) == most) {
      out.push_back(s);
      break;
    }
    size_t n = 0;
    while (n < s.size() && !is_space(from_right ? s[s.size() - 1 - n] : s[n])) ++n;
    out.push_back(from_right ? s.substr(s.size() - n) : s.substr(0, n));
    s = from_right ? strip(s.substr(0, s.size() - n), Side::right) : strip(s.substr(n), Side::left);
  }
  return out;
}

std::vector<TextView> split_at(Arena& arena, TextView s, TextView separator, int64_t most, bool from_right) {
  if (separator.empty()) fail("empty separator");
  std::vector<size_t> cuts;
  const Searcher searcher(separator);
  const Text backwards = from_right ? Text(s.rbegin(), s.rend()) : Text();
  const Text separator_backwards(separator.rbegin(), separator.rend());
  const Searcher backward_searcher(separator_backwards);
  const TextView searched = from_right ? TextView(backwards) : s;
  for (size_t from = 0; most < 0 || static_cast<int64_t>(cuts.size()) < most;) {
    const size_t at = (from_right ? backward_searcher : searcher).find(searched, from);
    if (at == TextView::npos) break;
    arena.charge_items(2);
    cuts.push_back(from_right ? s.size() - at - separator.size() : at);
    from = at + separator.size();
  }
  if (from_right) std::reverse(cuts.begin(), cuts.end());
  std::vector<TextView> out;
  size_t start = 0;
  for (size_t cut : cuts) {
    out.push_back(s.substr(start, cut - start));
    start = cut + separator.size();
  }
  out.push_back(s.substr(start));
  return out;
}

Value strings(Arena& arena, const Value& s, const std::vector<TextView>& pieces) {
  std::vector<Value> items;
  for (TextView piece : pieces) items.push_back(part(arena, s, piece));
  return arena.list(std::move(items));
}

template <bool from_right>
Value split(Arena& arena, const Value& s, const Bound& a) {
  const int64_t most = a.integer(1, -1);
  arena.scan(s.text().size());
  if (a.given(0)) return strings(arena, s, split_at(arena, s.text(), a.text(0), most, from_right));
  auto words = split_words(arena, s.text(), most, from_right);
  if (from_right) std::reverse(words.begin(), words.end());
  return strings(arena, s, words);
}

Value split_lines_method(Arena& arena, const Value& s, const Bound& a) {
  return strings(arena, s, split_lines(arena, s.text(), a.flag(arena, 0, false)));
}

template <bool last>
Value partition(Arena& arena, const Value& s, const Bound& a) {
  const TextView text = s.text();
  const TextView separator = a.text(0);
  if (separator.empty()) fail("empty separator");
  arena.scan(text.size() + separator.size());
  const size_t at = last ? find_last(text, separator) : Searcher(separator).find(text, 0);
  if (at == TextView::npos) {
    const Value nothing = part(arena, s, {});
    return last ? arena.tuple({nothing, nothing, s}) : arena.tuple({s, nothing, nothing});
  }
  return arena.tuple({part(arena, s, text.substr(0, at)), part(arena, s, separator),
                      part(arena, s, text.substr(at + separator.size()))});
}

Value join(Arena& arena, const Value& s, const Bound& a) {
  if (!is_iterable(a[0])) fail("can only join an iterable");
  TextBuilder out(arena);
  const auto next = iterate(arena, a[0]);
  int64_t i = 0;
  for (Value item = next(); !item.missing(); item = next(), ++i) {
    if (!item.is(Kind::string) && !is_markup(s))
      fail("sequence item {}: expected str instance, {} found", i, type_name(item));
    if (i > 0) out.append(s.text());
    out.append(is_markup(s) ? escape(arena, item).text() : item.text());
  }
  return out.finish(is_markup(s));
}

// ---- padding and replacing

char32_t fill_of(const Bound& a) {
  if (a[1].missing()) return U' ';
  if (a.text(1).size() != 1) fail("The fill character must be exactly one character long");
  return a.text(1)[0];
}

template <bool left>
Value justify(Arena& arena, const Value& s, const Bound& a) {
  const auto width = static_cast<size_t>(std::max<int64_t>(a.integer(0, 0), 0));
  const size_t padding = width > s.text().size() ? width - s.text().size() : 0;
  TextBuilder out(arena);
  if (!left) out.append(padding, fill_of(a));
  out.append(s.text());
  if (left) out.append(padding, fill_of(a));
  return out.finish(is_markup(s));
}

Value zero_fill(Arena& arena, const Value& s, const Bound& a) {
  const TextView text = s.text();
  const auto width = static_cast<size_t>(std::max<int64_t>(a.integer(0, 0), 0));
  const size_t sign = !text.empty() && (text[0] == U'+' || text[0] == U'-') ? 1 : 0;
  TextBuilder out(arena);
  out.append(text.substr(0, sign)).append(width > text.size() ? width - text.size() : 0, U'0');
  return out.append(text.substr(sign)).finish(is_markup(s));
}

Value expand_tabs(Arena& arena, const Value& s, const Bound& a) {
  const int64_t size = a.integer(0, 8);
  TextBuilder out(arena);
  int64_t column = 0;
  for (char32_t c : s.text()) {
    if (code_point(c) == U'\t') {
      const int64_t blanks = size > 0 ? size - column % size : 0;
      out.append(static_cast<size_t>(blanks), U' ' | mark_of(c));
      column += blanks;
    } else {
      out.append(c);
      column = code_point(c) == U'\n' || code_point(c) == U'\r' ? 0 : column + 1;
    }
  }
  return out.finish(is_markup(s));
}

template <bool suffix>
Value remove_affix(Arena& arena, const Value& s, const Bound& a) {
  const TextView text = s.text();
  const TextView affix = a.text(0);
  if (suffix) return text.ends_with(affix) ? part(arena, s, text.substr(0, text.size() - affix.size())) : s;
  return text.starts_with(affix) ? part(arena, s, text.substr(affix.size())) : s;
}

constexpr Builtin kStringMethods[] = {
    {"capitalize", "/", mapped<capitalize>},
    {"casefold", "/", mapped<case_fold>},
    {"center", "/ width fillchar?",
     [](Arena& arena, const Value& s, const Bound& a) {
       return center_text(arena, s.text(), a.integer(0, 0), fill_of(a), is_markup(s));
     }},
    {"count", "/ sub start? end?", count},
    {"endswith", "/ suffix start? end?", starts_or_ends<true>},
    {"expandtabs", "tabsize?", expand_tabs},
    {"find", "/ sub start? end?", find<false>},
    {"format", "*",
     [](Arena& arena, const Value& s, const Bound& a) { return brace_format(arena, s, a.all()); }},
    {"format_map", "/ mapping",
     [](Arena& arena, const Value& s, const Bound& a) { return brace_format_map(arena, s, a[0]); }},
    {"index", "/ sub start? end?", index<false>},
    {"isalnum", "/", all_of<is_alnum>},
    {"isalpha", "/", all_of<is_alpha>},
    {"isascii", "/",
     [](Arena& arena, const Value& s, const Bound&) {
       arena.scan(s.text().size());
       return Value::boolean(
           std::all_of(s.text().begin(), s.text().end(), [](char32_t c) { return code_point(c) < 0x80; }));
     }},
    {"isdecimal", "/", all_of<is_decimal>},
    {"isdigit", "/", all_of<is_digit>},
    {"isidentifier", "/",
     [](Arena& arena, const Value& s, const Bound&) {
       arena.scan(s.text().size());
       const auto& t = s.text();
       return Value::boolean(!t.empty() && is_identifier_start(t[0]) &&
                             std::all_of(t.begin(), t.end(), is_identifier_part));
     }},
    {"islower", "/", all_cased<is_lower, is_upper>},
    {"isnumeric", "/", all_of<is_numeric>},
    {"isprintable", "/",
     [](Arena& arena, const Value& s, const Bound&) {
       arena.scan(s.text().size());
       return Value::boolean(std::all_of(s.text().begin(), s.text().end(), is_printable));
     }},
    {"isspace", "/", all_of<is_space>},
    {"istitle", "/", is_title_text},
    {"isupper", "/", all_cased<is_upper, is_lower>},
    {"join", "/ iterable", join},
    {"ljust", "/ width fillchar?", justify<true>},
    {"lower", "/", mapped<to_lower>},
    {"lstrip", "/ chars?", stripped<Side::left>},
    {"partition", "/ sep", partition<false>},
    {"removeprefix", "/ prefix", remove_affix<false>},
    {"removesuffix", "/ suffix", remove_affix<true>},
    {"replace", "/ old new count?",
     [](Arena& arena, const Value& s, const Bound& a) {
       const TextView replacement = is_markup(s) ? TextView(escape(arena, a[1]).text()) : a.text(1);
       return replace_text(arena, s.text(), a.text(0), replacement, a.integer(2, -1), is_markup(s));
     }},
    {"rfind", "/ sub start? end?", find<true>},
    {"rindex", "/ sub start? end?", index<true>},
    {"rjust", "/ width fillchar?", justify<false>},
    {"rpartition", "/ sep", partition<true>},
    {"rsplit", "sep? maxsplit?", split<true>},
    {"rstrip", "/ chars?", stripped<Side::right>},
    {"split", "sep? maxsplit?", split<false>},
    {"splitlines", "keepends?", split_lines_method},
    {"startswith", "/ prefix start? end?", starts_or_ends<false>},
    {"strip", "/ chars?", stripped<Side::both>},
    {"swapcase", "/", mapped<swap_case>},
    {"title", "/", mapped<to_title>},
    {"upper", "/", mapped<to_upper>},
    {"zfill", "/ width", zero_fill},
};

}  // namespace

std::span<const Builtin> string_methods() { return kStringMethods; }

std::vector<TextView> split_lines(Arena& arena, TextView s, bool keep_ends) {
  arena.scan(s.size());
  arena.charge_items(static_cast<size_t>(std::count_if(s.begin(), s.end(), is_line_break)) + 1);
  return split_lines(s, keep_ends);
}

Value replace_text(Arena& arena, TextView s, TextView old, TextView replacement, int64_t count, bool markup) {
  arena.scan(s.size() + old.size());
  TextBuilder out(arena);
  const Searcher searcher(old);
  size_t copied = 0;
  for (size_t from = 0; count != 0; --count) {
    const size_t at = searcher.find(s, from);
    if (at == TextView::npos) break;
    out.append(s.substr(copied, at - copied)).append(replacement);
    copied = at + old.size();
    from = old.empty() ? at + 1 : copied;
  }
  return out.append(s.substr(std::min(copied, s.size()))).finish(markup);
}

Value center_text(Arena& arena, TextView s, int64_t width, char32_t fill, bool markup) {
  const auto wanted = static_cast<size_t>(std::max<int64_t>(width, 0));
  const size_t padding = wanted > s.size() ? wanted - s.size() : 0;
  const size_t left = padding / 2 + (padding & wanted & 1);  // CPython's way of rounding
  return TextBuilder(arena).append(left, fill).append(s).append(padding - left, fill).finish(markup);
}

Value strip_text(Arena& arena, const Value& s, Side side, const Value& chars) {
  std::optional<TextView> set;
  if (!chars.missing() && !chars.is(Kind::none)) {
    if (!chars.is(Kind::string)) fail("strip arg must be None or str");
    set = chars.text();
    arena.work(s.text().size() * std::min<size_t>(set->size(), 4096) / 64);
  }
  arena.scan(s.text().size());
  return part(arena, s, strip(s.text(), side, set));
}

}  // namespace sluice::text::jinja
