#include "sampling/vocabulary.h"

#include <algorithm>

namespace sluice::sampling {

Vocabulary::Vocabulary(const text::Tokenizer& tokenizer, std::span<const int32_t> end_ids) {
  const auto size = static_cast<size_t>(tokenizer.vocab_size());
  std::vector<std::string> texts(size);
  std::vector<bool> special(size);
  for (size_t i = 0; i < size; ++i) {
    texts[i] = tokenizer.token_bytes(static_cast<int32_t>(i));
    special[i] = tokenizer.is_special(static_cast<int32_t>(i));
  }
  build(texts, special, end_ids);
}

Vocabulary::Vocabulary(std::vector<std::string> texts, std::vector<int32_t> special,
                       std::span<const int32_t> end_ids) {
  std::vector<bool> is_special(texts.size());
  for (int32_t id : special) is_special[static_cast<size_t>(id)] = true;
  build(texts, is_special, end_ids);
}

void Vocabulary::build(const std::vector<std::string>& texts, const std::vector<bool>& special,
                       std::span<const int32_t> end_ids) {
  std::vector<std::pair<std::string, int32_t>> ordinary, others;
  offsets_.push_back(0);
  for (size_t i = 0; i < texts.size(); ++i) {
    bytes_ += texts[i];
    offsets_.push_back(static_cast<uint32_t>(bytes_.size()));
    const auto id = static_cast<int32_t>(i);
    if (std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end()) continue;
    (special[i] ? others : ordinary).emplace_back(texts[i], id);
  }
  trie_ = TokenTrie(std::move(ordinary));
  special_trie_ = TokenTrie(std::move(others));
}

size_t Vocabulary::memory_bytes() const {
  return bytes_.size() + offsets_.size() * sizeof(uint32_t) + trie_.memory_bytes() +
         special_trie_.memory_bytes();
}

}  // namespace sluice::sampling
