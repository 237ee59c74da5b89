#include "kv/page_pool.h"

#include "base/check.h"

namespace sluice::kv {

PagePool::PagePool(int num_pages) : pages_(static_cast<size_t>(num_pages)) {
  free_.reserve(pages_.size());
  for (PageId page = num_pages - 1; page >= 0; --page)
    free_.push_back(page);  // so that page 0 is taken first
}

PagePool::Page& PagePool::at(PageId page) {
  SLUICE_CHECK(page >= 0 && page < num_pages(), "page={} num_pages={}", page, num_pages());
  return pages_[static_cast<size_t>(page)];
}

const PagePool::Page& PagePool::at(PageId page) const { return const_cast<PagePool*>(this)->at(page); }

PageId PagePool::take() {
  SLUICE_CHECK(!free_.empty(), "cached={} used={}", num_cached(), num_used());
  const PageId page = free_.back();
  free_.pop_back();
  at(page).refs = 1;
  return page;
}

void PagePool::hold(PageId page) {
  Page& p = at(page);
  SLUICE_CHECK(p.refs > 0 || p.node != kNoNode, "page {} is free", page);
  if (p.refs++ == 0) unlink(page);
}

void PagePool::drop(PageId page) {
  Page& p = at(page);
  SLUICE_CHECK(p.refs > 0, "page {} has no holder", page);
  if (--p.refs > 0) return;
  if (p.node == kNoNode) {
    free_.push_back(page);
  } else {
    link_newest(page);
  }
}

void PagePool::set_node(PageId page, NodeId node) {
  Page& p = at(page);
  SLUICE_CHECK(p.refs > 0 && p.node == kNoNode, "page={} refs={} node={}", page, p.refs, p.node);
  p.node = node;
}

void PagePool::clear_node(PageId page) {
  Page& p = at(page);
  SLUICE_CHECK(p.node != kNoNode, "page {} has no node", page);
  p.node = kNoNode;
  if (p.refs > 0) return;
  unlink(page);
  free_.push_back(page);
}

void PagePool::link_newest(PageId page) {
  Page& p = at(page);
  p.older = newest_;
  p.newer = kNoPage;
  (newest_ == kNoPage ? oldest_ : at(newest_).newer) = page;
  newest_ = page;
  ++num_cached_;
}

void PagePool::unlink(PageId page) {
  Page& p = at(page);
  (p.older == kNoPage ? oldest_ : at(p.older).newer) = p.newer;
  (p.newer == kNoPage ? newest_ : at(p.newer).older) = p.older;
  p.older = p.newer = kNoPage;
  --num_cached_;
}

}  // namespace sluice::kv
