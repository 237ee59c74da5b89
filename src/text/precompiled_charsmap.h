// SentencePiece's precompiled normalisation: a double-array trie (darts-clone) from strings to their
// replacements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice::text {

class PrecompiledCharsmap {
 public:
  /// `blob`: u32 size of the trie in bytes (little endian), the trie's units (u32), then NUL-terminated
  /// replacements.
  static Result<PrecompiledCharsmap> create(std::string_view blob);

  struct Hit {
    std::string_view replacement;
    size_t length = 0;  // bytes of the text that it replaces
  };
  /// The longest key that `text` starts with: SentencePiece's rule.
  std::optional<Hit> longest(std::string_view text) const { return search(text, false); }
  /// The shortest key that `text` starts with: what Hugging Face's tokenizers looks at.
  std::optional<Hit> shortest(std::string_view text) const { return search(text, true); }

 private:
  std::optional<Hit> search(std::string_view text, bool first) const;

  std::vector<uint32_t> units_;
  std::string replacements_;  // ends in NUL
};

}  // namespace sluice::text
