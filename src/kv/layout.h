// How the memory of keys and values is divided: pages of a fixed number of tokens, one pool of pages per
// group of layers, and the arithmetic of which pages a query can see. Everything here is a value or a pure
// function.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace sluice::kv {

/// Index of a page in the pool of its group. The backend maps (group, page) to bytes; the books never do.
using PageId = int32_t;
inline constexpr PageId kNoPage = -1;

/// Layers that see the same positions share one page table and one pool: a page holds `page_tokens` tokens of
/// all of them. Gemma 3, for example, has two groups: its full-attention layers and its sliding-window
/// layers.
struct GroupSpec {
  std::string name;   // for people: "full", "window1024"
  int window = 0;     // tokens; a query at position p sees the positions > p - window. 0: it sees all of them
  int num_pages = 0;  // pages in the pool
};

/// The whole division. Two things will be further kinds of group, and need no new book-keeping: recurrent
/// state (one page is one state, a table has one slot, a snapshot at a page boundary is a page of a tree
/// node) and tiers (a second pool behind a group; StepPlan then also lists the copies between the two).
struct Layout {
  int page_tokens = 32;
  std::vector<GroupSpec> groups;

  int num_groups() const { return static_cast<int>(groups.size()); }

  /// invalid_argument naming the field, unless every size is positive and there is a group.
  Status check() const;
};

/// Pages that `tokens` tokens fill or begin.
constexpr int pages_for(int tokens, int page_tokens) {
  return tokens / page_tokens + (tokens % page_tokens != 0 ? 1 : 0);
}

/// The first page that a query at `position` sees: whatever lies before it is never read again.
constexpr int first_visible_page(int window, int position, int page_tokens) {
  return window == 0 ? 0 : std::max(0, position - window + 1) / page_tokens;
}

/// The most pages that a sequence of `tokens` tokens must hold at once in a group, run one token at a time:
/// all of them, or as many as a window can touch, which is one more than it fills when it straddles.
constexpr int most_pages_held(int window, int tokens, int page_tokens) {
  const int all = pages_for(tokens, page_tokens);
  if (window == 0 || window >= tokens) return all;
  return std::min(all, (window - 1) / page_tokens + ((window - 1) % page_tokens != 0 ? 2 : 1));
}

}  // namespace sluice::kv
