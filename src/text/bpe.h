// Byte-pair encoding in its two flavours: merges from a ranked list (GPT-2 and after), and merges ranked by
// the score of the token they make (SentencePiece).
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/merge_queue.h"
#include "text/model.h"

namespace sluice::text {

struct BpeOptions {
  std::optional<int32_t> unk_id;  // for a character without a token; without it the character is dropped
  bool fuse_unk = false;          // one unk for a run of them
  bool byte_fallback = false;  // spell such a character by "<0xXX>" tokens where the vocabulary has them all
  bool ignore_merges = false;  // a word that is a token is taken as it is
  std::string continuing_subword_prefix;  // in front of every character of a word but its first
  std::string end_of_word_suffix;         // behind the last character of a word
};

/// (left id, right id) -> rank and the merged id: one flat table.
class MergeTable {
 public:
  void reserve(size_t merges);
  /// A repeated pair takes the later rank.
  void insert(int32_t left, int32_t right, Merge merge);
  /// id -1 when the pair stays apart.
  Merge find(int32_t left, int32_t right) const;
  size_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  struct Slot {
    uint64_t pair = kFree;
    Merge merge;
  };
  size_t slot_of(uint64_t pair) const;
  void grow();

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

/// Collects the merge list of a vocabulary in order of rank.
class MergeListReader {
 public:
  /// `prefix`: BpeOptions::continuing_subword_prefix, which the right half loses when merged.
  MergeListReader(const Vocab& vocab, size_t merges, std::string_view prefix = {});
  /// Fails when a half or the whole is no token of the model.
  Status add(std::string_view left, std::string_view right);
  /// The merge written as "left right".
  Status add_line(std::string_view line);
  MergeTable take() { return std::move(table_); }

 private:
  const Vocab& vocab_;
  std::string_view prefix_;
  MergeTable table_;
  std::optional<int32_t> find_whole();

  std::string whole_;
  int32_t next_ = 0;  // a guess at the id of the next merge's token
  uint32_t rank_ = 0;
};

/// Where a text may be cut without changing its merges: before SentencePiece's mark for a space, unless some
/// token has the byte before it in front of a mark. Words are merged much faster than a whole text.
class MarkCuts {
 public:
  MarkCuts() = default;
  explicit MarkCuts(const Vocab& vocab);

  /// A token that also stands for characters it does not spell (unk, byte tokens) may be merged with a mark
  /// behind it as its own spelling may: no cut is safe then.
  void stand_in(std::string_view token) { enabled_ &= !joined_[static_cast<uint8_t>(token.back())]; }

  /// Calls fn for the parts of `text`, in order.
  template <typename Fn>
  void for_each_part(std::string_view text, Fn fn) const {
    size_t done = 0;
    if (enabled_) {
      for (size_t at = text.find(kMark, 1); at != std::string_view::npos;
           at = text.find(kMark, at + kMark.size())) {
        if (joined_[static_cast<uint8_t>(text[at - 1])]) continue;
        fn(text.substr(done, at - done));
        done = at;
      }
    }
    fn(text.substr(done));
  }

 private:
  static constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581
  bool enabled_ = false;
  std::bitset<256> joined_;  // bytes that stand before a mark inside some token
};

class RankedBpe final : public Model {
 public:
  /// `vocab` must outlive the model.
  RankedBpe(const Vocab& vocab, MergeTable merges, BpeOptions options);
  Status tokenize(const Words& words, std::vector<int32_t>& ids) const override;
  size_t memory_bytes() const override { return merges_.memory_bytes(); }

 private:
  void tokenize_word(std::string_view word, MergeQueue& queue, std::vector<int32_t>& ids) const;
  void split(std::string_view word, MergeQueue& queue) const;
  std::optional<int32_t> character(std::string_view bytes) const;
  bool push_bytes(std::string_view text, MergeQueue& queue) const;

  const Vocab& vocab_;
  MergeTable merges_;
  BpeOptions options_;
  MarkCuts cuts_;
  std::optional<ByteTokens> bytes_;
  std::array<int32_t, 0x300> low_chars_;  // ids of characters by code point, -1: none
};

class ScoredBpe final : public Model {
 public:
  /// `scores` by id, no NaN among them. Characters without a token become byte tokens if all 256 are there,
  /// else one `unk_id` for a run of them, else nothing. `vocab` must outlive the model.
  ScoredBpe(const Vocab& vocab, const std::vector<float>& scores, std::optional<int32_t> unk_id);
  Status tokenize(const Words& words, std::vector<int32_t>& ids) const override;
  size_t memory_bytes() const override { return ranks_.capacity() * sizeof(uint32_t); }

 private:
  void tokenize_word(std::string_view word, MergeQueue& queue, std::vector<int32_t>& ids) const;

  const Vocab& vocab_;
  std::vector<uint32_t> ranks_;  // by id: a higher score is a lower rank
  MarkCuts cuts_;
  std::optional<int32_t> unk_id_;
  std::optional<ByteTokens> bytes_;
};

}  // namespace sluice::text
