// Text as a template sees it: Python's str, a sequence of code points, each of which knows whether the
// template or its caller wrote it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/rendered_chat.h"

namespace sluice::text::jinja {

/// Bit 31 of a code point (which needs 21) marks text that came in through a variable. Slicing, splitting,
/// joining and replacing carry the mark along because they copy characters; comparing ignores it.
inline constexpr char32_t kInputMark = char32_t{1} << 31;
constexpr char32_t code_point(char32_t c) { return c & ~kInputMark; }
constexpr char32_t mark_of(char32_t c) { return c & kInputMark; }

struct TextTraits : std::char_traits<char32_t> {
  static constexpr bool eq(char32_t a, char32_t b) noexcept { return code_point(a) == code_point(b); }
  static constexpr bool lt(char32_t a, char32_t b) noexcept { return code_point(a) < code_point(b); }
  static constexpr int compare(const char32_t* a, const char32_t* b, size_t n) {
    for (size_t i = 0; i < n; ++i) {
      if (!eq(a[i], b[i])) return lt(a[i], b[i]) ? -1 : 1;
    }
    return 0;
  }
  static constexpr const char32_t* find(const char32_t* s, size_t n, const char32_t& c) {
    for (; n > 0; ++s, --n) {
      if (eq(*s, c)) return s;
    }
    return nullptr;
  }
};

using Text = std::basic_string<char32_t, TextTraits>;
using TextView = std::basic_string_view<char32_t, TextTraits>;

/// Code points of UTF-8, each with `mark`; a malformed byte becomes U+FFFD.
Text to_text(std::string_view utf8, char32_t mark = 0);
std::string to_utf8(TextView text);
RenderedChat encode_marked(TextView text);

size_t hash_text(TextView text);

/// Finds a needle in linear time whatever both look like (Knuth, Morris, Pratt).
class Searcher {
 public:
  explicit Searcher(TextView needle);
  /// First occurrence at or after `from`; npos when there is none.
  size_t find(TextView text, size_t from) const;

 private:
  TextView needle_;
  std::vector<uint32_t>
      border_;  // length of the longest proper border of each prefix; empty for short needles
};
size_t find_last(TextView text, TextView needle);

// Classes and case of single code points, as Python's str methods see them.
bool is_space(char32_t c);
bool is_line_break(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_printable(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
bool is_identifier_start(char32_t c);
bool is_identifier_part(char32_t c);
inline bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }

/// Full case mapping of a whole text (one code point may become several), final sigma included.
Text to_upper(TextView text);
Text to_lower(TextView text);
Text capitalize(TextView text);
Text to_title(TextView text);
Text swap_case(TextView text);
Text case_fold(TextView text);

enum class Side { left, right, both };
/// Without the characters of `chars` (white space when absent) at the named ends.
TextView strip(TextView text, Side side, const std::optional<TextView>& chars = std::nullopt);

/// Lines without (or with) their ends; "\r\n" is one end and a final end opens no further line.
std::vector<TextView> split_lines(TextView text, bool keep_ends);

}  // namespace sluice::text::jinja
