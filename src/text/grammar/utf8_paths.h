// The UTF-8 spellings of a range of code points as sequences of byte ranges (Thompson's construction, as RE2
// and others use it).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

struct ByteRange {
  uint8_t lo = 0;
  uint8_t hi = 0;
};

/// One to four byte ranges, each standing for one byte.
struct Utf8Path {
  std::array<ByteRange, 4> bytes{};
  int length = 0;
};

/// Appends paths that together spell exactly the code points of `range`, which holds no surrogates.
void append_utf8_paths(CharRange range, std::vector<Utf8Path>& out);

}  // namespace sluice::text::grammar
