#include "sampling/token_trie.h"

#include <algorithm>

namespace sluice::sampling {

TokenTrie::TokenTrie(std::vector<std::pair<std::string, int32_t>> texts) {
  std::sort(texts.begin(), texts.end());
  std::vector<uint32_t> path;  // open nodes, by depth
  std::string previous;
  const auto close_to = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back())
      nodes_[path.back()].skip = static_cast<uint32_t>(nodes_.size());
  };
  for (const auto& [text, id] : texts) {
    if (text.empty() || text.size() > kMaxBytes) continue;
    const size_t common = static_cast<size_t>(
        std::mismatch(text.begin(), text.end(), previous.begin(), previous.end()).first - text.begin());
    close_to(common);
    for (size_t d = common; d < text.size(); ++d) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<uint32_t>(tokens_.size()), 0, static_cast<uint16_t>(d),
                        static_cast<uint8_t>(text[d])});
    }
    if (nodes_[path.back()].own_tokens < kMaxSame) {
      ++nodes_[path.back()].own_tokens;
      tokens_.push_back(id);
    }
    max_depth_ = std::max(max_depth_, text.size());
    previous = text;
  }
  close_to(0);
}

}  // namespace sluice::sampling
