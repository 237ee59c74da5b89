#include "kv/prefix_tree.h"

#include <gtest/gtest.h>

namespace sluice::kv {
namespace {

using Tokens = std::vector<int32_t>;

TEST(PrefixTree, FindsWhatWasAddedUnderTheSameParentOnly) {
  PrefixTree tree(1);
  const NodeId root = tree.root("a"), other = tree.root("b");
  const NodeId node = tree.add(root, Tokens{1, 2});
  EXPECT_EQ(tree.add(root, Tokens{1, 2}), node);
  EXPECT_EQ(tree.find(root, Tokens{1, 2}), node);
  EXPECT_EQ(tree.find(root, Tokens{1, 3}), kNoNode);
  EXPECT_EQ(tree.find(other, Tokens{1, 2}), kNoNode);
  EXPECT_EQ(tree.find(node, Tokens{1, 2}), kNoNode);
  EXPECT_EQ(tree.find_root("c"), kNoNode);
  EXPECT_EQ(tree.size(), 3);
}

TEST(PrefixTree, PruneTakesBareAncestorsAlong) {
  PrefixTree tree(2);
  const NodeId a = tree.add(tree.root("s"), Tokens{1}), b = tree.add(a, Tokens{2}),
               c = tree.add(b, Tokens{3});
  tree.at(c).pages[1] = 5;
  tree.prune(c);
  EXPECT_EQ(tree.size(), 4);  // it has a page
  tree.at(c).pages[1] = kNoPage;
  tree.at(b).pins = 1;
  tree.prune(c);
  EXPECT_EQ(tree.size(), 3);  // its parent is pinned
  tree.at(b).pins = 0;
  tree.prune(b);
  EXPECT_EQ(tree.size(), 0);
  EXPECT_EQ(tree.find_root("s"), kNoNode);
}

TEST(PrefixTree, GrowthKeepsTheKeysThatNodesPointTo) {
  PrefixTree tree(1);
  NodeId node = tree.root("");
  for (int32_t i = 0; i < 1000; ++i) node = tree.add(node, Tokens{i, i});
  for (int32_t i = 999; i >= 0; --i, node = tree.at(node).parent) EXPECT_EQ(tree.at(node).tokens[0], i);
}

TEST(PrefixTree, ALongChainGoesWithoutRecursion) {
  PrefixTree tree(1);
  NodeId node = tree.root("");
  for (int32_t i = 0; i < 300'000; ++i) node = tree.add(node, Tokens{i});
  tree.prune(node);
  EXPECT_EQ(tree.size(), 0);
}

}  // namespace
}  // namespace sluice::kv
