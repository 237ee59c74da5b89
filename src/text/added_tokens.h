// Added tokens: spellings that are cut out of a text before the model sees it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/aho_corasick.h"
#include "text/tokenizer.h"

namespace sluice::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // matched only when special tokens are parsed
  bool normalized = false;   // matched in the normalised text, by the normalised content
  bool lstrip = false;       // takes the white space to its left
  bool rstrip = false;       // takes the white space to its right
  bool single_word = false;  // not inside a word
};

/// A part of a text: an added token, or text for the model.
struct Segment {
  static constexpr int32_t kText = -1;
  TextRange range;
  int32_t id = kText;
};

/// Where special tokens count.
struct SpecialFilter {
  bool parse = false;
  std::span<const TextRange> literal = {};  // sorted, disjoint: never inside or across these
};

/// Finds added tokens in a text: the one that begins first, of those the longest. Linear in the text.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  /// `tokens` with the spellings to look for; those that are empty or no valid UTF-8 are never found.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  /// The segments of `text` in order, covering all of it.
  std::vector<Segment> split(std::string_view text, const SpecialFilter& filter) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  size_t memory_bytes() const;

 private:
  struct Match {
    TextRange range;
    int32_t token = AhoCorasick::kNone;  // index in tokens_
  };
  Match find(std::string_view text, size_t from, const SpecialFilter& filter) const;
  uint32_t allowed_match(uint32_t state, size_t end, const SpecialFilter& filter) const;

  std::vector<AddedToken> tokens_;
  AhoCorasick automaton_;
  std::vector<uint32_t> plain_;  // state -> the longest pattern ending there that is not special, or the root
};

}  // namespace sluice::text
