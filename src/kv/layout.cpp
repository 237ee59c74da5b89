#include "kv/layout.h"

namespace sluice::kv {

Status Layout::check() const {
  if (page_tokens < 1) return invalid_argument("page_tokens is {}; it must be at least 1", page_tokens);
  if (groups.empty()) return invalid_argument("the KV layout has no group of layers; it needs at least one");
  for (const GroupSpec& group : groups) {
    if (group.window < 0) {
      return invalid_argument("window of group '{}' is {}; use 0 for full attention", group.name,
                              group.window);
    }
    if (group.num_pages < 1) {
      return invalid_argument("num_pages of group '{}' is {}; it must be at least 1", group.name,
                              group.num_pages);
    }
  }
  return {};
}

}  // namespace sluice::kv
