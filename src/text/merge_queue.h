// Byte-pair merging in O(n log n): a heap of candidate pairs over a linked list of symbols. Both flavours of
// BPE use it: pairs ranked by a merge list, and pairs ranked by the score of the token they make.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace sluice::text {

struct Symbol {
  int32_t id = -1;      // -1: no token of its own
  uint32_t begin = 0;   // bytes of the word
  uint32_t length = 0;  // 0: merged into the symbol before it
  int32_t previous = -1;
  int32_t next = -1;
};

struct Merge {
  uint32_t rank = 0;  // lower merges first
  int32_t id = -1;    // the token that the pair becomes
};

/// The merging of one word after another; keeps its memory between them.
class MergeQueue {
 public:
  /// The word, cut into characters: fill it, then call run().
  std::vector<Symbol>& symbols() { return symbols_; }
  void clear() { symbols_.clear(); }
  /// Appends a symbol to the word.
  void push(int32_t id, uint32_t begin, uint32_t length) {
    const auto index = static_cast<int32_t>(symbols_.size());
    if (index > 0) symbols_.back().next = index;
    symbols_.push_back({id, begin, length, index - 1, -1});
  }

  /// Merges until no pair is left that `merge_of` knows: the lowest rank first, of equal ranks the leftmost.
  /// merge_of(left, right) -> Merge, with id -1 for a pair that stays apart.
  template <typename MergeOf>
  void run(MergeOf merge_of) {
    heap_.clear();
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) consider(static_cast<int32_t>(i), merge_of);
    std::make_heap(heap_.begin(), heap_.end(), later);
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const Candidate top = heap_.back();
      heap_.pop_back();
      Symbol& left = symbols_[static_cast<size_t>(top.left)];
      if (left.length == 0 || left.next < 0) continue;
      Symbol& right = symbols_[static_cast<size_t>(left.next)];
      if (left.length + right.length != top.length) continue;
      left.id = top.id;
      left.length = top.length;
      left.next = right.next;
      right.length = 0;
      if (left.next >= 0) {
        symbols_[static_cast<size_t>(left.next)].previous = top.left;
        if (consider(top.left, merge_of)) std::push_heap(heap_.begin(), heap_.end(), later);
      }
      if (left.previous >= 0 && consider(left.previous, merge_of)) {
        std::push_heap(heap_.begin(), heap_.end(), later);
      }
    }
  }

 private:
  struct Candidate {
    uint32_t rank;
    int32_t left;
    uint32_t length;  // of both symbols together: if it is another by now, the candidate is stale
    int32_t id;
  };
  static bool later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
  template <typename MergeOf>
  bool consider(int32_t left, MergeOf& merge_of) {
    const Symbol& l = symbols_[static_cast<size_t>(left)];
    const Symbol& r = symbols_[static_cast<size_t>(l.next)];
    const Merge merge = merge_of(l, r);
    if (merge.id < 0) return false;
    heap_.push_back({merge.rank, left, l.length + r.length, merge.id});
    return true;
  }

  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace sluice::text
