#include "kv/prefix_tree.h"

#include <type_traits>

#include "base/check.h"

namespace sluice::kv {

static_assert(std::is_nothrow_move_constructible_v<PrefixTree::Node>,
              "a growing vector must move nodes, see tokens");

PrefixTree::Node& PrefixTree::at(NodeId node) {
  SLUICE_CHECK(node >= 0 && node < id_limit(), "node={} of {}", node, id_limit());
  return nodes_[static_cast<size_t>(node)];
}

const PrefixTree::Node& PrefixTree::at(NodeId node) const { return const_cast<PrefixTree*>(this)->at(node); }

NodeId PrefixTree::make(NodeId parent) {
  if (unused_ids_.empty()) {
    unused_ids_.push_back(id_limit());
    nodes_.emplace_back();
  }
  const NodeId id = unused_ids_.back();
  unused_ids_.pop_back();
  at(id) = Node{.parent = parent,
                .pages = std::vector<PageId>(static_cast<size_t>(num_groups_), kNoPage),
                .alive = true};
  ++size_;
  return id;
}

NodeId PrefixTree::find_root(const std::string& salt) const {
  const auto found = roots_.find(salt);
  return found == roots_.end() ? kNoNode : found->second;
}

NodeId PrefixTree::root(const std::string& salt) {
  const auto [it, missing] = roots_.try_emplace(salt, kNoNode);
  if (missing) {
    it->second = make(kNoNode);
    at(it->second).salt = &it->first;
  }
  return it->second;
}

NodeId PrefixTree::find(NodeId parent, std::span<const int32_t> tokens) const {
  const auto& children = at(parent).children;
  const auto found = children.find(tokens);
  return found == children.end() ? kNoNode : found->second;
}

NodeId PrefixTree::add(NodeId parent, std::span<const int32_t> tokens) {
  if (const NodeId known = find(parent, tokens); known != kNoNode) return known;
  const NodeId id = make(parent);  // may move the nodes: `at(parent)` only after it
  const auto it = at(parent).children.emplace(std::vector<int32_t>(tokens.begin(), tokens.end()), id).first;
  at(id).tokens = it->first;
  return id;
}

void PrefixTree::prune(NodeId node) {
  while (node != kNoNode) {
    Node& n = at(node);
    const bool has_page =
        std::any_of(n.pages.begin(), n.pages.end(), [](PageId page) { return page != kNoPage; });
    if (has_page || n.pins > 0 || !n.children.empty()) return;
    const NodeId parent = n.parent;
    if (parent == kNoNode) {
      roots_.erase(*n.salt);
    } else {
      auto& siblings = at(parent).children;
      siblings.erase(siblings.find(n.tokens));
    }
    n = Node{};
    unused_ids_.push_back(node);
    --size_;
    node = parent;
  }
}

}  // namespace sluice::kv
