#include "text/aho_corasick.h"

#include <utility>

#include "text/hash.h"

namespace sluice::text {

AhoCorasick::AhoCorasick() : nodes_(1), edges_(64), root_(256, kRoot) {}

size_t AhoCorasick::slot_of(uint32_t node, uint8_t byte) const {
  const size_t mask = edges_.size() - 1;
  size_t slot = hash_mix((uint64_t{node} << 8 | byte) + 1, 0x9E3779B97F4A7C15u) & mask;
  while (edges_[slot].child != 0 && (edges_[slot].node != node || edges_[slot].byte != byte)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

void AhoCorasick::grow() {
  if (nodes_.size() * 2 <= edges_.size()) return;
  const std::vector<Edge> old = std::exchange(edges_, std::vector<Edge>(edges_.size() * 2));
  for (const Edge& edge : old) {
    if (edge.child != 0) edges_[slot_of(edge.node, edge.byte)] = edge;
  }
}

int64_t AhoCorasick::child(uint32_t node, uint8_t byte) const {
  if (node == kRoot) return root_[byte] == kRoot ? int64_t{kNone} : root_[byte];
  const uint32_t found = edges_[slot_of(node, byte)].child;
  return found == 0 ? int64_t{kNone} : found;
}

void AhoCorasick::add(std::string_view pattern, int32_t value) {
  uint32_t node = kRoot;
  for (const char c : pattern) {
    const auto byte = static_cast<uint8_t>(c);
    const int64_t known = child(node, byte);
    if (known != kNone) {
      node = static_cast<uint32_t>(known);
      continue;
    }
    const auto fresh = static_cast<uint32_t>(nodes_.size());
    nodes_.push_back({.depth = nodes_[node].depth + 1, .sibling = nodes_[node].first_child, .byte = byte});
    nodes_[node].first_child = fresh;
    if (node == kRoot) {
      root_[byte] = fresh;
    } else {
      grow();
      edges_[slot_of(node, byte)] = {node, fresh, byte};
    }
    node = fresh;
  }
  if (nodes_[node].value == kNone) nodes_[node].value = value;
}

void AhoCorasick::build() {
  std::vector<uint32_t> order = {kRoot};  // breadth first: a failure link leads to a shallower node
  order.reserve(nodes_.size());
  for (size_t i = 0; i < order.size(); ++i) {
    const uint32_t parent = order[i];
    for (uint32_t node = nodes_[parent].first_child; node != kRoot; node = nodes_[node].sibling) {
      order.push_back(node);
      if (parent == kRoot) continue;
      Node& n = nodes_[node];
      n.fail = step(nodes_[parent].fail, n.byte);
      n.shorter = longest_match(n.fail);
    }
  }
}

uint32_t AhoCorasick::step(uint32_t state, uint8_t byte) const {
  while (state != kRoot) {
    const uint32_t next = edges_[slot_of(state, byte)].child;
    if (next != 0) return next;
    state = nodes_[state].fail;
  }
  return root_[byte];
}

size_t AhoCorasick::memory_bytes() const {
  return nodes_.capacity() * sizeof(Node) + edges_.capacity() * sizeof(Edge) +
         root_.capacity() * sizeof(uint32_t);
}

}  // namespace sluice::text
