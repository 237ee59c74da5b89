// What Python's str knows about characters and utf8proc does not: full upper-case mappings, digits that are
// not decimal. Everything else is asked of utf8proc.
#include <utf8proc.h>

#include <algorithm>

#include "text/char_class.h"
#include "text/jinja/text.h"

namespace sluice::text::jinja {
namespace {

struct Expansion {
  char32_t from;
  char32_t to[3];  // zero-terminated when shorter
};

// The code points whose upper case is more than one (Unicode SpecialCasing, unconditional), in order.
// clang-format off
constexpr Expansion kUpperExpansions[] = {
    {0x00DF, {0x53, 0x53}}, {0x0149, {0x2BC, 0x4E}}, {0x01F0, {0x4A, 0x30C}}, {0x0390, {0x399, 0x308,
    0x301}}, {0x03B0, {0x3A5, 0x308, 0x301}}, {0x0587, {0x535, 0x552}}, {0x1E96, {0x48, 0x331}}, {0x1E97,
    {0x54, 0x308}}, {0x1E98, {0x57, 0x30A}}, {0x1E99, {0x59, 0x30A}}, {0x1E9A, {0x41, 0x2BE}}, {0x1F50,
    {0x3A5, 0x313}}, {0x1F52, {0x3A5, 0x313, 0x300}}, {0x1F54, {0x3A5, 0x313, 0x301}}, {0x1F56, {0x3A5,
    0x313, 0x342}}, {0x1F80, {0x1F08, 0x399}}, {0x1F81, {0x1F09, 0x399}}, {0x1F82, {0x1F0A, 0x399}},
    {0x1F83, {0x1F0B, 0x399}}, {0x1F84, {0x1F0C, 0x399}}, {0x1F85, {0x1F0D, 0x399}}, {0x1F86, {0x1F0E,
    0x399}}, {0x1F87, {0x1F0F, 0x399}}, {0x1F88, {0x1F08, 0x399}}, {0x1F89, {0x1F09, 0x399}}, {0x1F8A,
    {0x1F0A, 0x399}}, {0x1F8B, {0x1F0B, 0x399}}, {0x1F8C, {0x1F0C, 0x399}}, {0x1F8D, {0x1F0D, 0x399}},
    {0x1F8E, {0x1F0E, 0x399}}, {0x1F8F, {0x1F0F, 0x399}}, {0x1F90, {0x1F28, 0x399}}, {0x1F91, {0x1F29,
    0x399}}, {0x1F92, {0x1F2A, 0x399}}, {0x1F93, {0x1F2B, 0x399}}, {0x1F94, {0x1F2C, 0x399}}, {0x1F95,
    {0x1F2D, 0x399}}, {0x1F96, {0x1F2E, 0x399}}, {0x1F97, {0x1F2F, 0x399}}, {0x1F98, {0x1F28, 0x399}},
    {0x1F99, {0x1F29, 0x399}}, {0x1F9A, {0x1F2A, 0x399}}, {0x1F9B, {0x1F2B, 0x399}}, {0x1F9C, {0x1F2C,
    0x399}}, {0x1F9D, {0x1F2D, 0x399}}, {0x1F9E, {0x1F2E, 0x399}}, {0x1F9F, {0x1F2F, 0x399}}, {0x1FA0,
    {0x1F68, 0x399}}, {0x1FA1, {0x1F69, 0x399}}, {0x1FA2, {0x1F6A, 0x399}}, {0x1FA3, {0x1F6B, 0x399}},
    {0x1FA4, {0x1F6C, 0x399}}, {0x1FA5, {0x1F6D, 0x399}}, {0x1FA6, {0x1F6E, 0x399}}, {0x1FA7, {0x1F6F,
    0x399}}, {0x1FA8, {0x1F68, 0x399}}, {0x1FA9, {0x1F69, 0x399}}, {0x1FAA, {0x1F6A, 0x399}}, {0x1FAB,
    {0x1F6B, 0x399}}, {0x1FAC, {0x1F6C, 0x399}}, {0x1FAD, {0x1F6D, 0x399}}, {0x1FAE, {0x1F6E, 0x399}},
    {0x1FAF, {0x1F6F, 0x399}}, {0x1FB2, {0x1FBA, 0x399}}, {0x1FB3, {0x391, 0x399}}, {0x1FB4, {0x386,
    0x399}}, {0x1FB6, {0x391, 0x342}}, {0x1FB7, {0x391, 0x342, 0x399}}, {0x1FBC, {0x391, 0x399}}, {0x1FC2,
    {0x1FCA, 0x399}}, {0x1FC3, {0x397, 0x399}}, {0x1FC4, {0x389, 0x399}}, {0x1FC6, {0x397, 0x342}},
    {0x1FC7, {0x397, 0x342, 0x399}}, {0x1FCC, {0x397, 0x399}}, {0x1FD2, {0x399, 0x308, 0x300}}, {0x1FD3,
    {0x399, 0x308, 0x301}}, {0x1FD6, {0x399, 0x342}}, {0x1FD7, {0x399, 0x308, 0x342}}, {0x1FE2, {0x3A5,
    0x308, 0x300}}, {0x1FE3, {0x3A5, 0x308, 0x301}}, {0x1FE4, {0x3A1, 0x313}}, {0x1FE6, {0x3A5, 0x342}},
    {0x1FE7, {0x3A5, 0x308, 0x342}}, {0x1FF2, {0x1FFA, 0x399}}, {0x1FF3, {0x3A9, 0x399}}, {0x1FF4, {0x38F,
    0x399}}, {0x1FF6, {0x3A9, 0x342}}, {0x1FF7, {0x3A9, 0x342, 0x399}}, {0x1FFC, {0x3A9, 0x399}}, {0xFB00,
    {0x46, 0x46}}, {0xFB01, {0x46, 0x49}}, {0xFB02, {0x46, 0x4C}}, {0xFB03, {0x46, 0x46, 0x49}}, {0xFB04,
    {0x46, 0x46, 0x4C}}, {0xFB05, {0x53, 0x54}}, {0xFB06, {0x53, 0x54}}, {0xFB13, {0x544, 0x546}},
    {0xFB14, {0x544, 0x535}}, {0xFB15, {0x544, 0x53B}}, {0xFB16, {0x54E, 0x546}}, {0xFB17, {0x544, 0x53D}}
};
// clang-format on

struct Range {
  char32_t first, last;
};
// Numeric_Type=Digit outside category Nd: superscripts, subscripts, circled and other dressed-up digits.
constexpr Range kDressedDigits[] = {
    {0xB2, 0xB3},     {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
    {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
    {0x24EA, 0x24EA}, {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
    {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point(c)));
}

const Expansion* upper_expansion(char32_t c) {
  const auto* it = std::lower_bound(std::begin(kUpperExpansions), std::end(kUpperExpansions), code_point(c),
                                    [](const Expansion& e, char32_t key) { return e.from < key; });
  return it != std::end(kUpperExpansions) && it->from == code_point(c) ? it : nullptr;
}

char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point(c))));
}

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return TextView(U"'.:\u00B7\u2018\u2019\u2024\u2027").find(c) != TextView::npos;
  }
}

/// A capital sigma ends a word when a cased letter precedes it and none follows.
bool is_final_sigma(TextView text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_upper(Text& out, char32_t c) {
  if (const Expansion* e = upper_expansion(c)) {
    for (char32_t to : e->to) {
      if (to != 0) out.push_back(to | mark_of(c));
    }
    return;
  }
  const auto upper = utf8proc_toupper(static_cast<utf8proc_int32_t>(code_point(c)));
  out.push_back(static_cast<char32_t>(upper) | mark_of(c));
}

void append_lower(Text& out, TextView text, size_t at) {
  const char32_t c = text[at];
  switch (code_point(c)) {
    case 0x130:  // capital I with dot keeps its dot
      out.push_back(U'i' | mark_of(c));
      out.push_back(0x307 | mark_of(c));
      break;
    case 0x3A3:
      out.push_back((is_final_sigma(text, at) ? 0x3C2 : 0x3C3) | mark_of(c));
      break;
    default:
      out.push_back(simple_lower(c) | mark_of(c));
  }
}

void append_title(Text& out, char32_t c) {
  const auto title = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code_point(c))));
  // utf8proc knows a capital sharp s, with which no word begins.
  const bool expands = (title == code_point(c) && !is_title(c)) || title == 0x1E9E;
  const Expansion* e = expands ? upper_expansion(c) : nullptr;
  out.push_back((e == nullptr ? title : e->to[0]) | mark_of(c));
  for (size_t i = 1; e != nullptr && i < 3 && e->to[i] != 0; ++i) {
    out.push_back((is_cased(e->to[0]) ? simple_lower(e->to[i]) : e->to[i]) | mark_of(c));
  }
}

}  // namespace

bool is_space(char32_t marked) {
  const char32_t c = code_point(marked);
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_line_break(char32_t marked) {
  const char32_t c = code_point(marked);
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_alpha(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_digit(char32_t c) {
  return is_decimal(c) ||
         std::any_of(std::begin(kDressedDigits), std::end(kDressedDigits),
                     [p = code_point(c)](const Range& r) { return p >= r.first && p <= r.last; });
}
bool is_numeric(char32_t c) { return text::is_numeric(code_point(c)); }

bool is_printable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code_point(c) == U' ';
    default:
      return true;
  }
}

bool is_upper(char32_t c) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(code_point(c))) != 0; }
bool is_lower(char32_t c) { return utf8proc_islower(static_cast<utf8proc_int32_t>(code_point(c))) != 0; }
bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }

bool is_identifier_start(char32_t c) {
  return code_point(c) == U'_' || is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}
bool is_identifier_part(char32_t c) {
  const auto k = category(c);
  return is_identifier_start(c) || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_MN ||
         k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_PC;
}

Text to_upper(TextView text) {
  Text out;
  out.reserve(text.size());
  for (char32_t c : text) append_upper(out, c);
  return out;
}

Text to_lower(TextView text) {
  Text out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) append_lower(out, text, i);
  return out;
}

Text capitalize(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == 0) {
      append_title(out, text[i]);
    } else {
      append_lower(out, text, i);
    }
  }
  return out;
}

Text to_title(TextView text) {
  Text out;
  bool inside_word = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (inside_word) {
      append_lower(out, text, i);
    } else {
      append_title(out, text[i]);
    }
    inside_word = is_cased(text[i]);
  }
  return out;
}

Text swap_case(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_upper(text[i])) {
      append_lower(out, text, i);
    } else if (is_lower(text[i])) {
      append_upper(out, text[i]);
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

Text case_fold(TextView text) {
  Text out;
  for (char32_t c : text) {
    utf8proc_int32_t folded[4];
    int boundary = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point(c)), folded, 4,
                                           UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < std::min<utf8proc_ssize_t>(n, 4); ++i) {
      out.push_back(static_cast<char32_t>(folded[i]) | mark_of(c));
    }
  }
  return out;
}

}  // namespace sluice::text::jinja
