// The table of tokens: id -> spelling and spelling -> id, flat in memory (one arena, one open-addressing
// table), since a vocabulary of 262,144 tokens is read on the way to the first token.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice::text {

class Vocab {
 public:
  static constexpr int32_t kMaxSize = 1 << 24;        // ids a tokenizer may have
  static constexpr size_t kMaxTokenBytes = 1u << 16;  // of one token

  enum Flag : uint8_t {
    kModel = 1,    // the model (BPE, Unigram, ...) may produce it from text
    kSpecial = 2,  // left out by skip_special, parsed in text only on demand
    kDefined = 4,  // has a spelling; other ids are gaps
  };

  /// Room for ids [0, size) and about `bytes` of spellings.
  void reserve(size_t size, size_t bytes);

  /// Defines `id`. Fails when the id or the spelling is already there, or either is beyond its limit.
  Status add(int32_t id, std::string_view token, uint8_t flags);
  /// Defines `id` with a spelling that another id answers to: find() never gives this one.
  Status add_duplicate(int32_t id, std::string_view token, uint8_t flags);
  /// Flags `id`, which is defined, and every other id of the same spelling.
  void set_special(int32_t id);

  /// One more than the highest id.
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }
  bool contains(int32_t id) const { return id >= 0 && id < size(); }

  std::string_view token(int32_t id) const {
    const Entry& entry = entries_[static_cast<size_t>(id)];
    return {arena_.data() + entry.begin, entry.length};
  }
  uint8_t flags(int32_t id) const { return entries_[static_cast<size_t>(id)].flags; }
  bool is_special(int32_t id) const { return (flags(id) & kSpecial) != 0; }
  bool is_defined(int32_t id) const { return (flags(id) & kDefined) != 0; }

  std::optional<int32_t> find(std::string_view token) const;
  /// Finds only what the model may produce.
  std::optional<int32_t> find_in_model(std::string_view token) const {
    const auto id = find(token);
    return id && (flags(*id) & kModel) ? id : std::nullopt;
  }

  /// Bytes of the longest spelling.
  size_t max_length() const { return max_length_; }
  size_t memory_bytes() const;

 private:
  struct Entry {
    uint64_t begin = 0;
    uint32_t length = 0;
    uint8_t flags = 0;
  };
  Status check_free(int32_t id, std::string_view token);
  void define(int32_t id, std::string_view token, uint8_t flags);
  void grow_table();
  size_t slot_of(std::string_view token, uint32_t tag) const;

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<uint64_t> table_;  // high half: bits of the hash; low half: id + 1, 0 when empty
  std::vector<int32_t> duplicates_;
  size_t count_ = 0;
  size_t max_length_ = 0;
};

}  // namespace sluice::text
