// What is asked of a row of logits, what it depends on besides, and what is reported.
#pragma once

#include <cstdint>

namespace sluice::ops {

/// How one token is chosen.
///
/// First the past of its sequence changes the logits: penalties those of tokens that were seen (Seen), then
/// biases are added.
///
/// Then it is drawn from the softmax at a temperature, of which top-k, top-p and min-p, in this order, leave
/// a part. Everything is relative to the largest logit: a token's weight is
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
  float repetition_penalty = 1;  // logits of tokens that were seen: divided by it, multiplied where negative
  float presence_penalty = 0;    // subtracted from those of tokens that the output has,
  float frequency_penalty = 0;   // and this for each time
  int32_t slot = -1;             // of the sequence, where its past matters
  int32_t biases = 0;            // the first so many of the slot's apply
  int32_t logprobs = -1;  // report the chosen token and this many of the most likely; -1: nothing is reported
  double place = 0;       // [0, 1)

  bool penalises() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

/// A token's past in one sequence: how often the output has it, and, with kInPrompt, that the prompt has it.
using Seen = uint32_t;
constexpr Seen kInPrompt = Seen{1} << 31;

struct Bias {
  int32_t id = 0;
  float value = 0;  // added to the id's logit; -infinity: never chosen
};
constexpr int64_t kMostBiases = 512;  // of a slot; ids may repeat only where one value is an infinity

/// Log-probabilities (natural) by the model's own distribution, before its past changed it.
struct Logprobs {
  static constexpr int32_t kMost = 20;
  float chosen = 0;
  int32_t rank = 0;  // tokens that are more likely
  int32_t count =
      0;  // of those that follow: the most likely ones, best first, of equals the lowest ids first
  int32_t ids[kMost] = {};
  float values[kMost] = {};
};

}  // namespace sluice::ops
