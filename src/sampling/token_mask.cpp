#include "sampling/token_mask.h"

#include <cmath>

namespace sluice::sampling {

void TokenMask::apply(std::span<float> logits) const {
  const size_t known = std::min(logits.size(), static_cast<size_t>(size_));
  for (size_t w = 0; w < words_.size(); ++w) {
    const size_t begin = std::min(w * 64, known), end = std::min(begin + 64, known);
    // Words are mostly all ones or all zeros.
    if (words_[w] == ~uint64_t{0}) continue;
    if (words_[w] == 0) {
      std::fill(logits.begin() + static_cast<std::ptrdiff_t>(begin),
                logits.begin() + static_cast<std::ptrdiff_t>(end), -INFINITY);
      continue;
    }
    for (size_t i = begin; i < end; ++i) {
      if ((words_[w] >> (i - w * 64) & 1) == 0) logits[i] = -INFINITY;
    }
  }
  std::fill(logits.begin() + static_cast<std::ptrdiff_t>(known), logits.end(), -INFINITY);
}

}  // namespace sluice::sampling
