// How far two names are apart: for messages that name the nearest known one.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

/// Single-character insertions, deletions and replacements from `a` to `b` (Levenshtein). Time
/// a.size() * b.size(): cut what comes from outside first.
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace sluice
