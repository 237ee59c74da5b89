// Which token prefixes have pages: a tree with one node per whole page of tokens.
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kv/page_pool.h"

namespace sluice::kv {

/// The path from a root to a node spells a prefix; there is one root per salt, and prefixes under different
/// salts never meet. Children are found by comparing the tokens themselves: no hash, so no collision can hand
/// one request another one's keys and values, and no crafted prompt makes look-up slow.
///
/// The tree stores structure only. Who may hold or evict the pages that a node names is the affair of Books.
class PrefixTree {
 public:
  explicit PrefixTree(int num_groups) : num_groups_(num_groups) {}
  PrefixTree(PrefixTree&&) =
      default;  // nodes point into their parents' keys: moving keeps these, copying would not
  PrefixTree& operator=(PrefixTree&&) = default;

  /// Lexicographic, and able to look up a span without making a vector of it.
  struct TokensLess {
    using is_transparent = void;
    bool operator()(std::span<const int32_t> a, std::span<const int32_t> b) const {
      return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
    }
  };

  struct Node {
    NodeId parent = kNoNode;
    std::span<const int32_t> tokens;    // of this page: the key in the parent's `children`; empty for a root
    const std::string* salt = nullptr;  // of a root: its key; nullptr for all others
    std::map<std::vector<int32_t>, NodeId, TokensLess> children;
    std::vector<PageId>
        pages;     // (group): the page with this node's keys and values, kNoPage where there is none
    int pins = 0;  // page tables whose published part ends here
    bool alive = false;
  };

  /// The root of `salt`, made when missing.
  NodeId root(const std::string& salt);
  /// The same, kNoNode when missing.
  NodeId find_root(const std::string& salt) const;
  /// The child of `parent` for these tokens, kNoNode when there is none.
  NodeId find(NodeId parent, std::span<const int32_t> tokens) const;
  /// The same, made (without pages) when missing.
  NodeId add(NodeId parent, std::span<const int32_t> tokens);

  Node& at(NodeId node);
  const Node& at(NodeId node) const;

  /// Removes `node`, and then its ancestors, as long as they have no child, no pin and no page.
  void prune(NodeId node);

  /// Nodes alive, roots included.
  int size() const { return size_; }
  /// One past the largest id ever used, for visiting all nodes.
  NodeId id_limit() const { return static_cast<NodeId>(nodes_.size()); }

 private:
  NodeId make(NodeId parent);

  int num_groups_;
  int size_ = 0;
  std::vector<Node> nodes_;
  std::vector<NodeId> unused_ids_;
  std::map<std::string, NodeId> roots_;
};

}  // namespace sluice::kv
