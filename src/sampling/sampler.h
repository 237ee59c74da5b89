// From a row of logits to a token. No row is ever sorted: greedy and plain sampling pass over it, top-k and
// top-p select.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "sampling/constrained_choice.h"
#include "sluice/sampling.h"

namespace sluice::sampling {

struct TokenLogprobs {
  float logprob = 0;                           // of the chosen token, natural logarithm
  int32_t rank = 0;                            // tokens that are more likely
  std::vector<std::pair<int32_t, float>> top;  // the most likely ones, best first; ties by id
};

struct Sample {
  int32_t token = -1;
  std::optional<TokenLogprobs> logprobs;
};

/// What one sequence's choices depend on besides its logits. The same parameters, seed and tokens give the
/// same choices, whatever else runs.
class Sampler {
 public:
  /// `prompt` matters to the repetition penalty, `outputs` to all penalties and to the place in the random
  /// sequence: a sequence that was interrupted goes on as if it had not been. `end_ids` would end it, and are
  /// not chosen before params.min_tokens outputs. With a constraint nothing else than what it allows is
  /// chosen.
  Sampler(SamplingParams params, std::span<const int32_t> prompt, std::span<const int32_t> outputs,
          std::vector<int32_t> end_ids = {}, std::shared_ptr<const Constraint> constraint = nullptr);

  /// Chooses the next token; `logits` may be changed. Ids at or beyond `vocab_limit` are never chosen. A NaN,
  /// an infinity, or nothing left to choose from, is an error of this sequence.
  Result<Sample> choose(std::span<float> logits, int32_t vocab_limit);

  /// Whether the next choice is the largest logit and nothing else of the row is asked for: then whoever
  /// found it may say so instead, -1 standing for a row that `choose` would refuse.
  bool takes_argmax() const {
    return params_.temperature == 0 && !penalties_ && params_.logit_bias.empty() && params_.logprobs < 0 &&
           !too_short_to_end() && !constrained_;
  }
  Result<Sample> take_argmax(int32_t token);
  /// Whether logits matter beyond their order: someone who makes tokens up must make logits up too.
  bool needs_logits() const { return params_.logprobs >= 0 || constrained_; }

  /// The constraint allows nothing more: the output is whole, without an end-of-sequence token.
  bool exhausted() const { return constrained_ && constrained_->exhausted(); }

 private:
  bool too_short_to_end() const {
    return drawn_ < static_cast<uint64_t>(params_.min_tokens) && !end_ids_.empty();
  }
  void penalise(std::span<float> logits) const;
  void add_bias(std::span<float> logits) const;
  int32_t draw(std::span<const float> logits, float max);

  SamplingParams params_;
  std::vector<int32_t> end_ids_;
  struct Seen {
    int32_t outputs = 0;
    bool in_prompt = false;
  };
  std::unordered_map<int32_t, Seen> seen_;  // kept only when a penalty needs it
  bool penalties_ = false;
  uint64_t seed_ = 0;
  uint64_t drawn_ = 0;
  std::vector<std::pair<float, int32_t>> candidates_;
  std::unique_ptr<ConstrainedChoice> constrained_;
};

/// Log of the sum of exponentials of a row, in double.
double log_sum_exp(std::span<const float> logits);

/// Log-probabilities of `token` and of the `count` most likely tokens.
TokenLogprobs logprobs_of(std::span<const float> logits, int32_t token, int32_t count);

}  // namespace sluice::sampling
