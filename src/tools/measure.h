// Measurements and how they are shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fields.h"

namespace sluice::tools {

/// Of several measurements of one thing.
struct Spread {
  double min = 0, median = 0, max = 0;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("min", s.min), v("median", s.median), v("max", s.max);
  }
};

/// `values` must not be empty. The median of an even number is the mean of the middle two.
Spread spread_of(std::vector<double> values);

/// The most memory that this process has had resident at once, file mappings included. Bytes.
uint64_t peak_rss_bytes();

/// Text in columns: the first ones flush left, the others, which hold numbers, flush right.
class Table {
 public:
  Table(size_t left_columns, std::vector<std::string> header)
      : left_columns_(left_columns), rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// Header and rows, one line each.
  std::string text() const;

 private:
  size_t left_columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// "41.3%"
std::string percent(double share);

}  // namespace sluice::tools
