#include "text/precompiled_charsmap.h"

#include <cstring>

namespace sluice::text {
namespace {

// Fields of a darts-clone unit.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

Result<PrecompiledCharsmap> PrecompiledCharsmap::create(std::string_view blob) {
  uint32_t trie_bytes = 0;
  if (blob.size() >= 4) std::memcpy(&trie_bytes, blob.data(), 4);
  if (trie_bytes < 4 || trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4) {
    return corrupt("precompiled_charsmap of {} bytes states a trie of {} bytes", blob.size(), trie_bytes);
  }
  PrecompiledCharsmap map;
  map.units_.resize(trie_bytes / 4);
  std::memcpy(map.units_.data(), blob.data() + 4, trie_bytes);
  map.replacements_ = blob.substr(4 + size_t{trie_bytes});
  map.replacements_.push_back('\0');
  return map;
}

std::optional<PrecompiledCharsmap::Hit> PrecompiledCharsmap::search(std::string_view text, bool first) const {
  std::optional<Hit> hit;
  uint32_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size() && text[i] != '\0'; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size() || value(units_[node]) >= replacements_.size()) break;
    hit = Hit{replacements_.c_str() + value(units_[node]), i + 1};
    if (first) break;
  }
  return hit;
}

}  // namespace sluice::text
