// Books::validate: what must always hold, in one place.
#include <fmt/format.h>

#include "kv/books.h"

namespace sluice::kv {
namespace {

using Violations = std::vector<std::string>;

// Each page is free, used or cached, and counted as such; refs equal the number of tables that hold it.
void check_pool(const PagePool& pool, const std::string& name, const std::vector<int>& holders,
                Violations& out) {
  enum class Where { nowhere, free, cached };
  std::vector<Where> where(static_cast<size_t>(pool.num_pages()), Where::nowhere);
  const auto place = [&](PageId page, Where to) {
    Where& at = where[static_cast<size_t>(page)];
    if (at != Where::nowhere)
      out.push_back(fmt::format("{}: page {} is listed twice as free or cached", name, page));
    at = to;
  };
  for (PageId page : pool.free_pages()) place(page, Where::free);
  int cached = 0;
  for (PageId page = pool.oldest_cached(); page != kNoPage && cached <= pool.num_pages(); ++cached) {
    place(page, Where::cached);
    page = pool.next_cached(page);
  }
  if (cached != pool.num_cached()) {
    out.push_back(
        fmt::format("{}: {} pages are listed as cached, {} counted", name, cached, pool.num_cached()));
  }
  for (PageId page = 0; page < pool.num_pages(); ++page) {
    const int held = holders[static_cast<size_t>(page)];
    const Where at = where[static_cast<size_t>(page)];
    if (pool.refs(page) != held) {
      out.push_back(fmt::format("{}: page {} has {} refs and {} holders", name, page, pool.refs(page), held));
    }
    const Where expected = held > 0                     ? Where::nowhere
                           : pool.node(page) == kNoNode ? Where::free
                                                        : Where::cached;
    if (at != expected) {
      out.push_back(fmt::format("{}: page {} (refs {}, node {}) is {}", name, page, pool.refs(page),
                                pool.node(page),
                                at == Where::free     ? "free"
                                : at == Where::cached ? "cached"
                                                      : "lost"));
    }
  }
}

// Tables have the slots and pages that their length and window ask for, and agree with the tree where
// published.
void check_table(const PageTable& table, const Layout& layout, const PrefixTree& tree, Violations& out) {
  const std::string name = fmt::format("table of {} tokens", table.tokens);
  const int slots = pages_for(table.tokens, layout.page_tokens);
  for (size_t g = 0; g < table.pages.size(); ++g) {
    const auto& pages = table.pages[g];
    if (static_cast<int>(pages.size()) != slots) {
      out.push_back(fmt::format("{}, group {}: {} slots instead of {}", name, g, pages.size(), slots));
    }
    if (table.first_live[g] > first_visible_page(layout.groups[g].window, table.tokens, layout.page_tokens)) {
      out.push_back(fmt::format("{}, group {}: a page that the next token sees is gone", name, g));
    }
    for (size_t slot = 0; slot < pages.size(); ++slot) {
      const bool live = static_cast<int>(slot) >= table.first_live[g];
      if (live != (pages[slot] != kNoPage)) {
        out.push_back(fmt::format("{}, group {}: slot {} holds {} though live slots begin at {}", name, g,
                                  slot, pages[slot], table.first_live[g]));
      }
    }
  }
  NodeId node = table.node;
  for (int slot = table.published - 1; slot >= 0 && node != kNoNode; --slot, node = tree.at(node).parent) {
    for (size_t g = 0; g < table.pages.size(); ++g) {
      const PageId mine = table.pages[g][static_cast<size_t>(slot)];
      if (mine != kNoPage && mine != tree.at(node).pages[g]) {
        out.push_back(fmt::format("{}, group {}: published slot {} holds page {}, the tree names {}", name, g,
                                  slot, mine, tree.at(node).pages[g]));
      }
    }
  }
  if (node == kNoNode || tree.at(node).parent != kNoNode) {
    out.push_back(fmt::format("{}: its node is not {} pages deep", name, table.published));
  }
}

}  // namespace

std::vector<std::string> Books::validate(std::span<const PageTable* const> tables) const {
  Violations out;
  std::vector<std::vector<int>> holders;
  for (const PagePool& pool : pools_) holders.emplace_back(static_cast<size_t>(pool.num_pages()));
  std::vector<int> pins(static_cast<size_t>(tree_.id_limit()));
  for (const PageTable* table : tables) {
    if (!table->is_open()) continue;
    ++pins[static_cast<size_t>(table->node)];
    for (size_t g = 0; g < pools_.size(); ++g) {
      for (PageId page : table->pages[g]) {
        if (page != kNoPage) ++holders[g][static_cast<size_t>(page)];
      }
    }
    check_table(*table, layout_, tree_, out);
  }
  for (size_t g = 0; g < pools_.size(); ++g) check_pool(pools_[g], layout_.groups[g].name, holders[g], out);

  int alive = 0;
  std::vector<int> named(pools_.size());
  for (NodeId id = 0; id < tree_.id_limit(); ++id) {
    const PrefixTree::Node& node = tree_.at(id);
    if (!node.alive) continue;
    ++alive;
    bool useful = node.pins > 0 || !node.children.empty();
    if (node.pins != pins[static_cast<size_t>(id)]) {
      out.push_back(
          fmt::format("node {} has {} pins and {} tables", id, node.pins, pins[static_cast<size_t>(id)]));
    }
    for (size_t g = 0; g < pools_.size(); ++g) {
      const PageId page = node.pages[g];
      if (page == kNoPage && node.parent != kNoNode && layout_.groups[g].window == 0) {
        out.push_back(
            fmt::format("node {} has no page of the full-attention group {}", id, layout_.groups[g].name));
      }
      if (page == kNoPage) continue;
      useful = true;
      ++named[g];
      if (pools_[g].node(page) != id) {
        out.push_back(fmt::format("node {} names page {} of {}, which belongs to node {}", id, page,
                                  layout_.groups[g].name, pools_[g].node(page)));
      }
    }
    if (!useful) out.push_back(fmt::format("node {} has no page, child or pin", id));
  }
  if (alive != tree_.size())
    out.push_back(fmt::format("the tree counts {} nodes and has {}", tree_.size(), alive));
  for (size_t g = 0; g < pools_.size(); ++g) {
    int with_node = 0;
    for (PageId page = 0; page < pools_[g].num_pages(); ++page) with_node += pools_[g].node(page) != kNoNode;
    if (with_node != named[g]) {
      out.push_back(fmt::format("{}: {} pages point to a node, nodes name {}", layout_.groups[g].name,
                                with_node, named[g]));
    }
  }
  return out;
}

}  // namespace sluice::kv
