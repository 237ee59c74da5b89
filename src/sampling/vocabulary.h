// The tokens of a model as bytes: what masks are computed over.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sampling/token_trie.h"
#include "text/tokenizer.h"

namespace sluice::sampling {

class Vocabulary {
 public:
  /// `end_ids` end a text and are part of none.
  Vocabulary(const text::Tokenizer& tokenizer, std::span<const int32_t> end_ids);
  /// For tests: token i is texts[i].
  Vocabulary(std::vector<std::string> texts, std::vector<int32_t> special, std::span<const int32_t> end_ids);

  int32_t size() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  std::string_view bytes_of(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return std::string_view(bytes_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
  }
  /// Ordinary tokens.
  const TokenTrie& trie() const { return trie_; }
  /// Special tokens by their spelling: text only where the text is free.
  const TokenTrie& special_trie() const { return special_trie_; }
  size_t memory_bytes() const;

 private:
  void build(const std::vector<std::string>& texts, const std::vector<bool>& special,
             std::span<const int32_t> end_ids);

  std::string bytes_;
  std::vector<uint32_t> offsets_;
  TokenTrie trie_, special_trie_;
};

}  // namespace sluice::sampling
