// From rows of logits to tokens.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "ops/choice.h"
#include "ops/kernel.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// out[i] = the token that choices[i] makes of x[choices[i].row - first_row, 0:limit]; -1 where x has no such
/// row, the largest logit is not finite or a logit is NaN. Where there is a token and the choice has a slot,
/// the slot's `seen` counts it; where the choice has logprobs, logprobs[i] is written. No two choices of a
/// call have one slot.
struct Sample {
  static constexpr std::string_view kName = "sample";
  struct Desc {
    int64_t dim = 0;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("dim", s.dim);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix x;               // (m, dim) f32
    int64_t first_row = 0;  // x is a slice of all rows of logits
    int64_t limit = 0;      // at most dim
    const Choice* choices = nullptr;
    int64_t count = 0;
    int32_t* out = nullptr;        // (count)
    Seen* seen = nullptr;          // (slots, dim)
    const Bias* biases = nullptr;  // (slots, kMostBiases)
    Logprobs* logprobs = nullptr;  // (count)
  };
  static Cost cost(const Desc& d, int64_t m) { return {4.0 * static_cast<double>(m * d.dim), 0}; }
};

// ---- the same on the host, in parts

struct Largest {
  float value = 0;
  int32_t place = -1;  // the first of equals; -1: the largest is not finite, or a logit is NaN
  bool nan = false;
};
Largest largest_logit(std::span<const float> logits);

/// A logit after the penalties of a choice.
inline float penalised(float logit, Seen seen, const Choice& choice) {
  if (seen == 0) return logit;
  logit = logit > 0 ? logit / choice.repetition_penalty : logit * choice.repetition_penalty;
  const Seen outputs = seen & ~kInPrompt;
  if (outputs == 0) return logit;
  return logit - (choice.presence_penalty + choice.frequency_penalty * static_cast<float>(outputs));
}

/// Log of the sum of exponentials of a row, in double.
double log_sum_exp(std::span<const float> logits);

/// What is reported of a choice; `count` is at most Logprobs::kMost.
Logprobs logprobs_of(std::span<const float> logits, int32_t token, int32_t count);

/// Weights of tokens, or logits.
using Candidates = std::vector<std::pair<float, int32_t>>;
/// Whether a goes before b where the best are taken.
inline bool better(const Candidates::value_type& a, const Candidates::value_type& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

/// What a choice by temperature leaves, in order of ids; returns the sum of the weights.
double candidates(std::span<const float> logits, float largest, const Choice& choice, Candidates& out);

/// The token in whose share of `sum` a place falls.
int32_t token_at(const Candidates& candidates, double sum, double place);

}  // namespace sluice::ops
