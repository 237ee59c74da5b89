// Many strings searched at once (Aho and Corasick 1975), over bytes. The trie is one flat hash table of
// edges, so that a hundred thousand patterns build in a fraction of a second.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice::text {

class AhoCorasick {
 public:
  static constexpr uint32_t kRoot = 0;
  static constexpr int32_t kNone = -1;

  AhoCorasick();

  /// Adds a pattern that is not empty; `value` >= 0. A repeated pattern keeps the first value.
  void add(std::string_view pattern, int32_t value);
  /// Computes the failure links; needed before step(), not before child().
  void build();

  bool empty() const { return nodes_.size() == 1; }
  /// Number of states; they are 0 (the root) to size() - 1.
  size_t size() const { return nodes_.size(); }

  /// The node below `node` by `byte` in the plain trie, or kNone.
  int64_t child(uint32_t node, uint8_t byte) const;
  /// The value of the pattern that ends exactly at `node`, or kNone.
  int32_t value(uint32_t node) const { return nodes_[node].value; }

  /// The state after `byte`: the longest suffix of the text so far that begins a pattern.
  uint32_t step(uint32_t state, uint8_t byte) const;
  /// Bytes of that suffix.
  uint32_t depth(uint32_t state) const { return nodes_[state].depth; }
  /// The state itself if a pattern ends in it, else the longest pattern that is a proper suffix, else kRoot.
  uint32_t longest_match(uint32_t state) const {
    return nodes_[state].value != kNone ? state : nodes_[state].shorter;
  }
  /// The next shorter pattern that ends where the pattern `state` ends, or kRoot.
  uint32_t shorter_match(uint32_t state) const { return nodes_[state].shorter; }

  /// True where a pattern may begin with `byte`: at the root everything else can be skipped.
  bool starts(uint8_t byte) const { return root_[byte] != kRoot; }

  size_t memory_bytes() const;

 private:
  struct Node {
    int32_t value = kNone;
    uint32_t depth = 0;
    uint32_t fail = kRoot;
    uint32_t shorter = kRoot;      // longest proper suffix that is a whole pattern
    uint32_t first_child = kRoot;  // children as a list, for build()
    uint32_t sibling = kRoot;
    uint8_t byte = 0;
  };
  struct Edge {
    uint32_t node = 0;
    uint32_t child = 0;  // 0: free
    uint8_t byte = 0;
  };
  size_t slot_of(uint32_t node, uint8_t byte) const;
  void grow();

  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::vector<uint32_t> root_;  // children of the root by byte
};

}  // namespace sluice::text
