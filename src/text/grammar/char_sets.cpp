#include "text/grammar/char_sets.h"

#include <utf8proc.h>

#include <map>
#include <mutex>
#include <string>

namespace sluice::text::grammar {

std::optional<CharSet> class_escape(char letter) {
  static const CharSet kDigits{{'0', '9'}};
  static const CharSet kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  static const CharSet kSpace{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                              {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                              {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  switch (letter) {
    case 'd':
      return kDigits;
    case 'D':
      return complement(kDigits);
    case 'w':
      return kWord;
    case 'W':
      return complement(kWord);
    case 's':
      return kSpace;
    case 'S':
      return complement(kSpace);
    default:
      return std::nullopt;
  }
}

CharSet not_line_terminators() { return complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}); }

std::optional<CharSet> general_category(std::string_view name) {
  // One pass over all code points finds every category; kept for good, it is a few kilobytes each.
  static std::once_flag once;
  static std::map<std::string, CharSet, std::less<>> sets;
  std::call_once(once, [] {
    const auto append = [](CharSet& set, char32_t c) {
      if (!set.empty() && set.back().hi + 1 == c) {
        set.back().hi = c;
      } else {
        set.push_back({c, c});
      }
    };
    for (char32_t c = 0; c <= kMaxChar; ++c) {
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      const std::string category = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
      append(sets[category], c);
      append(sets[category.substr(0, 1)], c);
    }
  });
  const auto it = sets.find(name);
  if (it == sets.end()) return std::nullopt;
  return it->second;
}

}  // namespace sluice::text::grammar
