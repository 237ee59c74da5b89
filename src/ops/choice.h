// What is asked of a row of logits.
#pragma once

#include <cstdint>

namespace sluice::ops {

/// How one token is chosen: drawn from the softmax at a temperature, of which top-k, top-p and min-p, in this
/// order, leave a part. Everything is relative to the largest logit: a token's weight is
/// exp((logit - largest) / temperature), none below e^-30. top-k keeps the largest weights, top-p the fewest
/// of those that reach its share of their sum, min-p those of at least so much; of equals the lowest ids come
/// first. The token is the one in whose share of what is left, in order of ids, `place` falls. Backends round
/// weights and sums in their own ways: where `place`, or the end of a cut, falls on the edge between two
/// tokens they may differ.
struct Choice {
  int32_t row = -1;       // of the logits; -1: nothing is asked
  int32_t top_k = 0;      // 0: all
  float temperature = 0;  // 0: the largest logit
  float top_p = 1;
  float min_p = 0;
  double place = 0;  // [0, 1)
};

}  // namespace sluice::ops
