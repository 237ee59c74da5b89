// The pages of one group: who holds them, which are cached, which are free.
#pragma once

#include <vector>

#include "kv/layout.h"

namespace sluice::kv {

/// Index of a node of the prefix tree.
using NodeId = int32_t;
inline constexpr NodeId kNoNode = -1;

/// A page is always exactly one of
///   free    nobody holds it and the tree does not know it;
///   used    refs > 0: that many page tables hold it (the tree may know it too);
///   cached  refs == 0 and a tree node names it: it can be shared again, or evicted, oldest first.
class PagePool {
 public:
  explicit PagePool(int num_pages);

  int num_pages() const { return static_cast<int>(pages_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }
  int num_cached() const { return num_cached_; }
  int num_used() const { return num_pages() - num_free() - num_cached(); }

  /// A free page, held once by the caller. There must be one.
  PageId take();
  /// One more holder of a used or cached page.
  void hold(PageId page);
  /// One holder less. The last one leaves the page cached (as the most recently used) or free.
  void drop(PageId page);

  /// The tree names this used page from now on.
  void set_node(PageId page, NodeId node);
  /// The tree names it no more; a cached page becomes free.
  void clear_node(PageId page);

  int refs(PageId page) const { return at(page).refs; }
  NodeId node(PageId page) const { return at(page).node; }
  /// The cached page that was dropped longest ago, kNoPage when none is cached.
  PageId oldest_cached() const { return oldest_; }

  /// Free pages and cached pages oldest first, for the validator.
  const std::vector<PageId>& free_pages() const { return free_; }
  PageId next_cached(PageId page) const { return at(page).newer; }

 private:
  struct Page {
    int refs = 0;
    NodeId node = kNoNode;
    PageId older = kNoPage, newer = kNoPage;  // links of the list of cached pages
  };
  Page& at(PageId page);
  const Page& at(PageId page) const;
  void link_newest(PageId page);
  void unlink(PageId page);

  std::vector<Page> pages_;
  std::vector<PageId> free_;  // a stack: the page freed last is the warmest
  PageId oldest_ = kNoPage, newest_ = kNoPage;
  int num_cached_ = 0;
};

}  // namespace sluice::kv
