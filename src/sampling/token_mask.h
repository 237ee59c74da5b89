// Which tokens may come next: a set of token ids.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::sampling {

class TokenMask {
 public:
  TokenMask() = default;
  /// Empty, for ids in [0, size).
  explicit TokenMask(int32_t size) : size_(size), words_((static_cast<size_t>(size) + 63) / 64) {}

  int32_t size() const { return size_; }
  void clear() { std::fill(words_.begin(), words_.end(), 0); }
  void set(int32_t id) { words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); }
  void reset(int32_t id) { words_[static_cast<size_t>(id) / 64] &= ~(uint64_t{1} << (id % 64)); }
  bool test(int32_t id) const {
    return id >= 0 && id < size_ && (words_[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0;
  }
  void add(std::span<const uint64_t> words) {
    for (size_t i = 0; i < words.size(); ++i) words_[i] |= words[i];
  }
  int64_t count() const {
    int64_t n = 0;
    for (uint64_t w : words_) n += std::popcount(w);
    return n;
  }
  std::span<const uint64_t> words() const { return words_; }

  /// Minus infinity for every logit whose token is not in the set.
  void apply(std::span<float> logits) const;

 private:
  int32_t size_ = 0;
  std::vector<uint64_t> words_;
};

}  // namespace sluice::sampling
