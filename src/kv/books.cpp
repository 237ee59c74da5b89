#include "kv/books.h"

#include <limits>
#include <utility>

#include "base/check.h"

namespace sluice::kv {

Books::Books(Layout layout) : layout_(std::move(layout)), tree_(layout_.num_groups()) {
  const Status status = layout_.check();
  SLUICE_CHECK(status.ok(), "{}", status.message());
  int64_t pages = 0;
  for (const GroupSpec& group : layout_.groups) {
    pools_.emplace_back(group.num_pages);
    pages += group.num_pages;
  }
  // With a full-attention group there are never more nodes than its pages, and roots. Without one, evicted
  // pages leave bare nodes above the ones that are kept, and only this bounds them.
  max_nodes_ = static_cast<int>(std::min<int64_t>(4 * pages + 64, std::numeric_limits<NodeId>::max() / 2));
}

PageTable Books::open(const std::string& salt) {
  PageTable table;
  table.pages.resize(pools_.size());
  table.first_live.resize(pools_.size(), 0);
  move_pin(table, tree_.root(salt));
  return table;
}

// Walks down from `node`, which is `depth` pages deep. live[g] counts the pages that group g has without a
// gap up to there: a query at the end of a prefix needs them back to its first visible one.
Books::Prefix Books::longest_prefix(NodeId node, int depth, std::vector<int> live,
                                    std::span<const int32_t> tokens, int limit) const {
  const int page_tokens = layout_.page_tokens;
  limit = std::min(limit, static_cast<int>(tokens.size()));
  Prefix path, best{.pages = depth};
  for (path.pages = depth; (path.pages + 1) <= limit / page_tokens;) {
    node = tree_.find(node, tokens.subspan(static_cast<size_t>(path.pages) * static_cast<size_t>(page_tokens),
                                           static_cast<size_t>(page_tokens)));
    if (node == kNoNode) break;
    path.nodes.push_back(node);
    ++path.pages;
    bool enough = true;
    for (size_t g = 0; g < pools_.size(); ++g) {
      live[g] = tree_.at(node).pages[g] == kNoPage ? 0 : live[g] + 1;
      const int first = first_visible_page(layout_.groups[g].window, path.pages * page_tokens, page_tokens);
      enough = enough && live[g] >= path.pages - first;
    }
    if (enough) best.pages = path.pages;
  }
  path.nodes.resize(static_cast<size_t>(best.pages - depth));
  best.nodes = std::move(path.nodes);
  return best;
}

int Books::match(const std::string& salt, std::span<const int32_t> tokens, int limit) const {
  const NodeId root = tree_.find_root(salt);
  if (root == kNoNode) return 0;
  return longest_prefix(root, 0, std::vector<int>(pools_.size(), 0), tokens, limit).pages *
         layout_.page_tokens;
}

int Books::adopt(PageTable& table, std::span<const int32_t> tokens, int limit) {
  SLUICE_CHECK(table.is_open());
  std::vector<int> live(pools_.size());
  for (size_t g = 0; g < pools_.size(); ++g) live[g] = std::max(0, table.published - table.first_live[g]);
  const Prefix prefix = longest_prefix(table.node, table.published, std::move(live), tokens, limit);
  const int end = prefix.pages * layout_.page_tokens;
  if (end <= table.tokens) return table.tokens;

  for (int g = 0; g < layout_.num_groups(); ++g) {
    auto& pages = table.pages[static_cast<size_t>(g)];
    release(table, g, table.published, static_cast<int>(pages.size()));
    pages.resize(static_cast<size_t>(table.published));
    const int first =
        first_visible_page(layout_.groups[static_cast<size_t>(g)].window, end, layout_.page_tokens);
    for (NodeId node : prefix.nodes) {
      const bool visible = static_cast<int>(pages.size()) >= first;
      pages.push_back(visible ? tree_.at(node).pages[static_cast<size_t>(g)] : kNoPage);
      if (visible) pool_of(g).hold(pages.back());
    }
  }
  table.tokens = end;
  table.published = prefix.pages;
  move_pin(table, prefix.nodes.back());
  trim(table, end);
  return end;
}

void Books::trim(PageTable& table, int position) {
  SLUICE_CHECK(position <= table.tokens, "position={} tokens={}", position, table.tokens);
  for (int g = 0; g < layout_.num_groups(); ++g) {
    int& first_live = table.first_live[static_cast<size_t>(g)];
    const int first =
        first_visible_page(layout_.groups[static_cast<size_t>(g)].window, position, layout_.page_tokens);
    if (first <= first_live) continue;
    release(table, g, first_live, std::min(first, table.num_pages()));
    first_live = first;
  }
}

int Books::grow(PageTable& table, int end) {
  SLUICE_CHECK(table.is_open());
  const auto exhausted = [this] {
    for (int g = 0; g < layout_.num_groups(); ++g) {
      if (available(g) == 0) return true;
    }
    return false;
  };
  int slots = table.num_pages();
  for (const int wanted = pages_for(end, layout_.page_tokens); slots < wanted && !exhausted(); ++slots) {
    for (int g = 0; g < layout_.num_groups(); ++g) table.pages[static_cast<size_t>(g)].push_back(take(g));
  }
  const int64_t room = int64_t{slots} * layout_.page_tokens;
  table.tokens = std::max(table.tokens, static_cast<int>(std::min<int64_t>(end, room)));
  return table.tokens;
}

void Books::publish(PageTable& table, std::span<const int32_t> computed) {
  SLUICE_CHECK(table.is_open() && computed.size() <= static_cast<size_t>(table.tokens),
               "computed={} tokens={}", computed.size(), table.tokens);
  const size_t page_tokens = static_cast<size_t>(layout_.page_tokens);
  for (size_t slot = static_cast<size_t>(table.published); (slot + 1) * page_tokens <= computed.size();
       ++slot) {
    if (!make_node_room()) return;
    const NodeId node = tree_.add(table.node, computed.subspan(slot * page_tokens, page_tokens));
    for (size_t g = 0; g < pools_.size(); ++g) {
      PageId& mine = table.pages[g][slot];
      PageId& known = tree_.at(node).pages[g];
      if (mine == kNoPage) continue;  // already out of the window
      if (known == kNoPage) {
        pools_[g].set_node(mine, node);
        known = mine;
      } else {
        pools_[g].hold(known);
        pools_[g].drop(mine);
        mine = known;
      }
    }
    ++table.published;
    move_pin(table, node);
  }
}

void Books::close(PageTable& table) {
  if (!table.is_open()) return;
  for (int g = 0; g < layout_.num_groups(); ++g) release(table, g, 0, table.num_pages());
  move_pin(table, kNoNode);
  table = PageTable{};
}

void Books::drop_cache() {
  for (int g = 0; g < layout_.num_groups(); ++g) {
    while (pool(g).oldest_cached() != kNoPage) evict(g, pool(g).oldest_cached());
  }
}

bool Books::fits(const PageTable& table, int tokens, int spare) const {
  for (int g = 0; g < layout_.num_groups(); ++g) {
    const int live = std::max(0, table.num_pages() - table.first_live[static_cast<size_t>(g)]);
    const int wanted =
        most_pages_held(layout_.groups[static_cast<size_t>(g)].window, tokens, layout_.page_tokens) - live;
    if (int64_t{wanted} + spare > available(g)) return false;
  }
  return true;
}

int64_t Books::capacity() const {
  int64_t tokens = std::numeric_limits<int>::max();
  for (const GroupSpec& group : layout_.groups) {
    const int64_t all = int64_t{group.num_pages} * layout_.page_tokens;
    const bool window_fits =
        group.window > 0 && most_pages_held(group.window, std::numeric_limits<int>::max(),
                                            layout_.page_tokens) <= group.num_pages;
    if (!window_fits) tokens = std::min(tokens, all);
  }
  return tokens;
}

PageId Books::take(int group) {
  if (pool(group).num_free() == 0) evict(group, pool(group).oldest_cached());
  return pool_of(group).take();
}

// Without its page of a full-attention group a node is of no use to anyone, so it goes as a whole. It has no
// children then: whoever holds a page holds those before it too and drops them last, so they are cached later
// and evicted later.
void Books::evict(int group, PageId page) {
  const NodeId id = pool(group).node(page);
  PrefixTree::Node& node = tree_.at(id);
  const bool whole = layout_.groups[static_cast<size_t>(group)].window == 0;
  SLUICE_CHECK(!whole || (node.children.empty() && node.pins == 0), "node={} children={} pins={}", id,
               node.children.size(), node.pins);
  for (int g = 0; g < layout_.num_groups(); ++g) {
    PageId& named = node.pages[static_cast<size_t>(g)];
    if (named == kNoPage || (g != group && !whole)) continue;
    pool_of(g).clear_node(named);
    named = kNoPage;
  }
  tree_.prune(id);
}

bool Books::make_node_room() {
  while (tree_.size() >= max_nodes_) {
    int group = 0;
    while (group < layout_.num_groups() && pool(group).oldest_cached() == kNoPage) ++group;
    if (group == layout_.num_groups()) return false;
    evict(group, pool(group).oldest_cached());
  }
  return true;
}

// From the end, so that what depends on an earlier page is evicted before it.
void Books::release(PageTable& table, int group, int begin, int end) {
  auto& pages = table.pages[static_cast<size_t>(group)];
  for (int slot = end - 1; slot >= begin; --slot) {
    PageId& page = pages[static_cast<size_t>(slot)];
    if (page == kNoPage) continue;
    pool_of(group).drop(page);
    page = kNoPage;
  }
}

void Books::move_pin(PageTable& table, NodeId to) {
  const NodeId from = std::exchange(table.node, to);
  if (to != kNoNode) ++tree_.at(to).pins;
  if (from == kNoNode) return;
  --tree_.at(from).pins;
  tree_.prune(from);
}

}  // namespace sluice::kv
