// Pre-tokenizers: cut a text into the words that the model sees one by one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/pattern.h"

namespace sluice::text {

/// A text and the words it is cut into: disjoint ranges of it, in order. Starts as one word.
struct Words {
  std::string text;  // valid UTF-8
  std::vector<TextRange> ranges;
  bool at_start = true;  // the text begins where the whole input begins

  std::string_view word(TextRange range) const {
    return std::string_view(text).substr(range.begin, range.end - range.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual Status apply(Words& words) const = 0;
};
using PreTokenizers = std::vector<std::unique_ptr<PreTokenizer>>;

/// What becomes of the matches of a pattern that cuts words.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

enum class PrependScheme { always, first, never };

using CharPredicate = bool (*)(char32_t);

/// `invert`: what does not match is treated as a match, and the reverse.
std::unique_ptr<PreTokenizer> make_split(Pattern pattern, SplitBehavior behavior, bool invert);
/// Splits at each character that the predicate holds for.
std::unique_ptr<PreTokenizer> make_char_split(CharPredicate predicate, SplitBehavior behavior);
/// The runs of word characters and the runs of others that are no white space.
std::unique_ptr<PreTokenizer> make_whitespace();
/// GPT-2: optionally a space in front of every word, its pattern, and each byte as a character
/// (byte_level.h).
Result<std::unique_ptr<PreTokenizer>> make_byte_level(bool add_prefix_space, bool use_regex);
/// Spaces become `replacement` (one character), which is put in front; words begin at it if `split`.
std::unique_ptr<PreTokenizer> make_metaspace(std::string replacement, PrependScheme prepend, bool split);
/// Words of `length` >= 1 characters.
std::unique_ptr<PreTokenizer> make_fixed_length(size_t length);

}  // namespace sluice::text
