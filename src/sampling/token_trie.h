// Texts sorted into a trie, laid out flat in the order of a walk through it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/grammar/matcher.h"

namespace sluice::sampling {

class TokenTrie {
 public:
  struct Node {
    uint32_t skip = 0;         // the next node in this order that is not below this one
    uint32_t first_token = 0;  // of the tokens that end here or below
    uint16_t own_tokens = 0;   // of those, the first so many end here
    uint16_t depth = 0;        // bytes before this one
    uint8_t byte = 0;
  };
  /// Tokens with more bytes, and more tokens of one text, are left out: nothing a model was trained to write.
  static constexpr size_t kMaxBytes = 1024, kMaxSame = 1024;

  TokenTrie() = default;
  /// Texts may repeat; empty ones are left out.
  explicit TokenTrie(std::vector<std::pair<std::string, int32_t>> texts);

  const std::vector<Node>& nodes() const { return nodes_; }
  bool empty() const { return nodes_.empty(); }
  /// Bytes of the longest text.
  size_t max_depth() const { return max_depth_; }
  /// Tokens that end at `node`; at it or below.
  std::span<const int32_t> tokens_at(const Node& node) const {
    return {tokens_.data() + node.first_token, node.own_tokens};
  }
  std::span<const int32_t> tokens_below(const Node& node) const {
    const uint32_t end =
        node.skip < nodes_.size() ? nodes_[node.skip].first_token : static_cast<uint32_t>(tokens_.size());
    return {tokens_.data() + node.first_token, end - node.first_token};
  }
  size_t memory_bytes() const { return nodes_.size() * sizeof(Node) + tokens_.size() * sizeof(int32_t); }

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  size_t max_depth_ = 0;
};

/// Walks the trie with the threads of a matcher. `threads` holds where the walk begins and serves as its
/// stack. For each node that the threads can reach: visit(node, threads there). Frames are released again.
template <typename Visit>
void walk(const TokenTrie& trie, text::grammar::Stacks& stacks, std::vector<text::grammar::Thread>& threads,
          Visit visit) {
  using text::grammar::Stacks;
  struct Level {
    size_t begin, end;
    Stacks::Mark mark;
  };
  std::vector<Level> levels{{0, threads.size(), stacks.mark()}};
  const std::vector<TokenTrie::Node>& nodes = trie.nodes();
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    levels.resize(size_t{node.depth} + 1);
    const Level level = levels.back();
    threads.resize(level.end);
    stacks.release(level.mark);
    stacks.advance(level.begin, level.end, node.byte, threads);
    if (threads.size() == level.end) {
      i = node.skip;
      continue;
    }
    if (!visit(node, std::span<const text::grammar::Thread>(threads).subspan(level.end))) break;
    levels.push_back({level.end, threads.size(), stacks.mark()});
    ++i;
  }
  stacks.release(levels.front().mark);
}

}  // namespace sluice::sampling
