#include "text/bpe.h"

#include <bit>
#include <utility>

#include "text/hash.h"
#include "text/utf8.h"
#include "text/word_memo.h"

namespace sluice::text {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Larger floats get smaller numbers: the bits of a float, made monotonic, then reversed.
uint32_t descending(float score) {
  const auto bits = std::bit_cast<uint32_t>(score == 0 ? 0.0f : score);  // -0 ties with 0
  const uint32_t ascending = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return ~ascending;
}

}  // namespace

MarkCuts::MarkCuts(const Vocab& vocab) : enabled_(vocab.find_in_model(kMark).has_value()) {
  for (int32_t id = 0; enabled_ && id < vocab.size(); ++id) {
    if (!(vocab.flags(id) & Vocab::kModel)) continue;
    const std::string_view token = vocab.token(id);
    for (size_t at = token.find(kMark, 1); at != std::string_view::npos; at = token.find(kMark, at + 1)) {
      joined_.set(static_cast<uint8_t>(token[at - 1]));
    }
  }
}

void MergeTable::reserve(size_t merges) {
  slots_.assign(std::bit_ceil(std::max<size_t>(merges * 3 / 2, 16)), {});
}

size_t MergeTable::slot_of(uint64_t pair) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_mix(pair, 0x9E3779B97F4A7C15u) & mask;
  while (slots_[slot].pair != pair && slots_[slot].pair != kFree) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::grow() {
  if ((count_ + 1) * 3 <= slots_.size() * 2) return;
  const std::vector<Slot> old =
      std::exchange(slots_, std::vector<Slot>(std::max<size_t>(slots_.size() * 2, 16)));
  for (const Slot& slot : old) {
    if (slot.pair != kFree) slots_[slot_of(slot.pair)] = slot;
  }
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  grow();
  Slot& slot = slots_[slot_of(pair_key(left, right))];
  if (slot.pair == kFree) ++count_;
  slot = {pair_key(left, right), merge};
}

Merge MergeTable::find(int32_t left, int32_t right) const {
  if (slots_.empty()) return {};
  return slots_[slot_of(pair_key(left, right))].merge;
}

MergeListReader::MergeListReader(const Vocab& vocab, size_t merges, std::string_view prefix)
    : vocab_(vocab), prefix_(prefix) {
  table_.reserve(merges);
}

Status MergeListReader::add(std::string_view left, std::string_view right) {
  const auto left_id = vocab_.find_in_model(left);
  const auto right_id = vocab_.find_in_model(right);
  whole_.assign(left).append(right.starts_with(prefix_) ? right.substr(prefix_.size()) : right);
  const auto whole_id = find_whole();
  if (!left_id || !right_id || !whole_id) {
    const std::string_view missing = !left_id ? left : !right_id ? right : std::string_view(whole_);
    return corrupt("merge {} (\"{}\" and \"{}\") needs the token \"{}\", which the vocabulary lacks", rank_,
                   left, right, missing);
  }
  table_.insert(*left_id, *right_id, {rank_++, *whole_id});
  return {};
}

// Trainers number tokens as they make them, so the token after the last merge's is the likely answer: looking
// there first saves a third of the random reads.
std::optional<int32_t> MergeListReader::find_whole() {
  const bool guessed =
      vocab_.contains(next_) && vocab_.token(next_) == whole_ && (vocab_.flags(next_) & Vocab::kModel);
  const auto id = guessed ? std::optional(next_) : vocab_.find_in_model(whole_);
  if (id) next_ = *id + 1;
  return id;
}

Status MergeListReader::add_line(std::string_view line) {
  // A token may itself begin with the separator, so the first byte is never one.
  const size_t space = line.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == line.size() ||
      line.find(' ', space + 2) != std::string_view::npos) {
    return corrupt("merge {} (\"{}\") is not two tokens with a space between", rank_, line);
  }
  return add(line.substr(0, space), line.substr(space + 1));
}

RankedBpe::RankedBpe(const Vocab& vocab, MergeTable merges, BpeOptions options)
    : vocab_(vocab), merges_(std::move(merges)), options_(std::move(options)) {
  const bool decorated = !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  if (!decorated && !options_.ignore_merges) cuts_ = MarkCuts(vocab);
  if (options_.unk_id) cuts_.stand_in(vocab.token(*options_.unk_id));
  if (options_.byte_fallback) cuts_.stand_in("<0x00>");
  if (options_.byte_fallback) bytes_ = ByteTokens::find(vocab);
  for (char32_t code = 0; code < low_chars_.size(); ++code) {
    low_chars_[code] = vocab.find_in_model(to_utf8(code)).value_or(-1);
  }
}

std::optional<int32_t> RankedBpe::character(std::string_view bytes) const {
  if (bytes.size() <= 2) {
    const char32_t code = decode_utf8(bytes).code;
    if (code < low_chars_.size()) {
      return low_chars_[code] < 0 ? std::nullopt : std::optional(low_chars_[code]);
    }
  }
  return vocab_.find_in_model(bytes);
}

bool RankedBpe::push_bytes(std::string_view text, MergeQueue& queue) const {
  if (!bytes_) return false;
  for (const char c : text) queue.push(bytes_->ids[static_cast<uint8_t>(c)], 0, 1);
  return true;
}

// Cuts a word into the symbols of its characters.
void RankedBpe::split(std::string_view word, MergeQueue& queue) const {
  queue.clear();
  uint32_t unknown = 0;  // bytes of the unknown characters not yet pushed
  const auto push_unknown = [&] {
    if (unknown > 0) queue.push(*options_.unk_id, 0, unknown);
    unknown = 0;
  };
  std::string decorated;
  for (size_t at = 0; at < word.size();) {
    const uint32_t length = utf8_length(word[at]);
    std::string_view text = word.substr(at, length);
    const bool prefixed = at > 0 && !options_.continuing_subword_prefix.empty();
    const bool suffixed = at + length == word.size() && !options_.end_of_word_suffix.empty();
    if (prefixed || suffixed) {
      decorated.assign(prefixed ? options_.continuing_subword_prefix : "").append(text);
      if (suffixed) decorated += options_.end_of_word_suffix;
      text = decorated;
    }
    at += length;
    if (const auto id = character(text)) {
      push_unknown();
      queue.push(*id, 0, length);
      continue;
    }
    if (bytes_) push_unknown();
    if (push_bytes(text, queue) || !options_.unk_id) continue;
    if (!options_.fuse_unk) push_unknown();
    unknown += length;
  }
  push_unknown();
}

Status RankedBpe::tokenize(const Words& words, std::vector<int32_t>& ids) const {
  MergeQueue queue;
  WordMemo memo;
  for (const TextRange range : words.ranges) {
    cuts_.for_each_part(words.word(range), [&](std::string_view word) {
      if (memo.repeat(word, ids)) return;
      const size_t begin = ids.size();
      tokenize_word(word, queue, ids);
      memo.keep(word, begin, ids);
    });
  }
  return {};
}

void RankedBpe::tokenize_word(std::string_view word, MergeQueue& queue, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto id = vocab_.find_in_model(word)) {
      ids.push_back(*id);
      return;
    }
  }
  split(word, queue);
  queue.run([&](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
  for (const Symbol& symbol : queue.symbols()) {
    if (symbol.length > 0) ids.push_back(symbol.id);
  }
}

ScoredBpe::ScoredBpe(const Vocab& vocab, const std::vector<float>& scores, std::optional<int32_t> unk_id)
    : vocab_(vocab), cuts_(vocab), unk_id_(unk_id), bytes_(ByteTokens::find(vocab)) {
  ranks_.reserve(scores.size());
  for (const float score : scores) ranks_.push_back(descending(score));
}

Status ScoredBpe::tokenize(const Words& words, std::vector<int32_t>& ids) const {
  MergeQueue queue;
  WordMemo memo;
  for (const TextRange range : words.ranges) {
    cuts_.for_each_part(words.word(range), [&](std::string_view word) {
      if (memo.repeat(word, ids)) return;
      const size_t begin = ids.size();
      tokenize_word(word, queue, ids);
      memo.keep(word, begin, ids);
    });
  }
  return {};
}

void ScoredBpe::tokenize_word(std::string_view word, MergeQueue& queue, std::vector<int32_t>& ids) const {
  queue.clear();
  for (size_t at = 0; at < word.size();) {
    const uint32_t length = utf8_length(word[at]);
    queue.push(vocab_.find_in_model(word.substr(at, length)).value_or(-1), static_cast<uint32_t>(at), length);
    at += length;
  }
  queue.run([&](const Symbol& left, const Symbol& right) -> Merge {
    const auto id = vocab_.find_in_model(word.substr(left.begin, left.length + right.length));
    return id ? Merge{ranks_[static_cast<size_t>(*id)], *id} : Merge{};
  });
  bool after_unknown = false;
  for (const Symbol& symbol : queue.symbols()) {
    if (symbol.length == 0) continue;
    const bool unknown = symbol.id < 0;
    if (!unknown) {
      ids.push_back(symbol.id);
    } else if (bytes_) {
      for (const char c : word.substr(symbol.begin, symbol.length)) {
        ids.push_back(bytes_->ids[static_cast<uint8_t>(c)]);
      }
    } else if (unk_id_ && !after_unknown) {
      ids.push_back(*unk_id_);
    }
    after_unknown = unknown;
  }
}

}  // namespace sluice::text
