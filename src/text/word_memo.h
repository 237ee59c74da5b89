// What one call of a model has already found out: the ids of words that come again. Texts repeat few words
// often.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/hash.h"

namespace sluice::text {

/// A small direct-mapped table from words of the call's text to where their ids stand in the call's output.
/// The words must stay in memory.
class WordMemo {
 public:
  /// Longer words seldom repeat.
  static constexpr size_t kMaxWordBytes = 32;

  /// Appends the ids of `word` as found before, or returns false.
  bool repeat(std::string_view word, std::vector<int32_t>& ids) {
    if (word.size() > kMaxWordBytes) return false;
    const Entry& entry = slot(word);
    if (entry.word != word) return false;
    for (uint32_t i = entry.begin; i < entry.end; ++i) ids.push_back(ids[i]);
    return true;
  }

  /// Keeps that `word` has become ids[begin ...].
  void keep(std::string_view word, size_t begin, const std::vector<int32_t>& ids) {
    if (word.size() > kMaxWordBytes) return;
    slot(word) = {word, static_cast<uint32_t>(begin), static_cast<uint32_t>(ids.size())};
  }

 private:
  struct Entry {
    std::string_view word;
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  Entry& slot(std::string_view word) { return entries_[hash_bytes(word) % entries_.size()]; }

  std::vector<Entry> entries_ = std::vector<Entry>(4096);
};

}  // namespace sluice::text
