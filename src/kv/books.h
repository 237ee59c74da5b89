// The books of paged keys and values: page tables, sharing of equal prefixes, windows, eviction.
//
// A sequence's life in the books:
//
//   open     a table for a salt, with no page
//   adopt    share the pages of the longest prefix that the tree knows         at admission, and between
//   chunks trim     give up the pages that no later query sees                        \  before each step
//   grow     get pages for the tokens of the step                              /
//   publish  name the pages that are filled, so that equal prefixes share them  after each step
//   close    give everything up; what the tree names stays cached until evicted
//
// No device, no lock, no clock: one thread owns the books. They decide; the backend moves bytes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kv/layout.h"
#include "kv/page_pool.h"
#include "kv/prefix_tree.h"

namespace sluice::kv {

/// Where the keys and values of one sequence are. Only Books changes it.
struct PageTable {
  std::vector<std::vector<PageId>> pages;  // (group, position / page_tokens); kNoPage below first_live[group]
  std::vector<int> first_live;             // (group): slots before this one are out of the window for good
  int tokens = 0;         // positions [0, tokens) have had a slot: pages_for(tokens) slots per group
  int published = 0;      // the first pages, which the tree names along the path to `node`
  NodeId node = kNoNode;  // pinned; kNoNode: closed

  bool is_open() const { return node != kNoNode; }
  int num_pages() const { return pages.empty() ? 0 : static_cast<int>(pages[0].size()); }
};

class Books {
 public:
  /// `layout.check()` must be ok.
  explicit Books(Layout layout);

  const Layout& layout() const { return layout_; }

  /// An empty table. Sequences share pages only under equal salts: whatever else changes keys and values
  /// (model, adapter, tenant) belongs into it.
  PageTable open(const std::string& salt);

  /// Extends `table` by the longest known prefix of `tokens`, at most `limit` tokens of it, if that reaches
  /// beyond table.tokens; the pages that were not published yet are given up for it. Lengths are whole pages
  /// at which every group has what a query there sees. No step that uses `table` may be in flight. Returns
  /// table.tokens.
  int adopt(PageTable& table, std::span<const int32_t> tokens, int limit);

  /// How long a prefix adopt() would find with an empty table. Changes nothing.
  int match(const std::string& salt, std::span<const int32_t> tokens, int limit) const;

  /// Gives up the pages that a query at `position` or later cannot see.
  void trim(PageTable& table, int position);

  /// Makes room for the positions below `end`, evicting cached pages where the free ones run out. Every group
  /// gets the same slots: where one pool is exhausted, no group grows further. Returns table.tokens, which is
  /// `end` or less.
  int grow(PageTable& table, int end);

  /// The keys and values of `computed` (all tokens from position 0) are written: every whole page of them
  /// becomes visible to others. Where the tree already names an equal page, the table takes that one and
  /// frees its own.
  void publish(PageTable& table, std::span<const int32_t> computed);

  /// Gives up everything. Closing a closed table does nothing.
  void close(PageTable& table);

  /// Evicts every cached page: after a failure that may have spoilt them, or when the weights change.
  void drop_cache();

  /// Pages of a group that grow() can still hand out: free or cached.
  int available(int group) const { return pool(group).num_free() + pool(group).num_cached(); }
  const PagePool& pool(int group) const { return pools_[static_cast<size_t>(group)]; }

  /// Whether the pools could now give `table` what it must hold at `tokens` tokens, and `spare` pages more.
  bool fits(const PageTable& table, int tokens, int spare) const;
  /// The largest number of tokens that one sequence alone can have.
  int64_t capacity() const;

  /// Every broken invariant, one sentence each; empty when all is well. `tables` are all open tables.
  std::vector<std::string> validate(std::span<const PageTable* const> tables) const;

 private:
  struct Prefix {
    int pages = 0;              // whole pages, from position 0
    std::vector<NodeId> nodes;  // those beyond the part that the table has published
  };
  Prefix longest_prefix(NodeId node, int depth, std::vector<int> live, std::span<const int32_t> tokens,
                        int limit) const;
  PagePool& pool_of(int group) { return pools_[static_cast<size_t>(group)]; }
  PageId take(int group);
  void evict(int group, PageId page);
  bool make_node_room();
  void release(PageTable& table, int group, int begin, int end);
  void move_pin(PageTable& table, NodeId to);

  Layout layout_;
  std::vector<PagePool> pools_;  // (group)
  PrefixTree tree_;
  int max_nodes_;
};

}  // namespace sluice::kv
