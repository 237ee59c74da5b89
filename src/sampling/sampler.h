// What a request's parameters make of a row of logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "ops/sample.h"
#include "sampling/bad_words.h"
#include "sampling/constrained_choice.h"
#include "sampling/token_mask.h"
#include "sluice/sampling.h"

namespace sluice::sampling {

struct TokenLogprobs {
  TokenLogprobs() = default;
  explicit TokenLogprobs(const ops::Logprobs& reported);
  float logprob = 0;                           // of the chosen token, natural logarithm
  int32_t rank = 0;                            // tokens that are more likely
  std::vector<std::pair<int32_t, float>> top;  // the most likely ones, best first, ties by id; or those of
                                               // logprob_token_ids
};

struct Sample {
  int32_t token = -1;
  std::optional<TokenLogprobs> logprobs;
};

/// invalid_argument naming a field whose ids are not all in a vocabulary of `vocab`. (What is added to the
/// logits of others changes nothing.)
Status validate_token_ids(const SamplingParams& params, int64_t vocab);

/// What one sequence's choices depend on besides its logits. The same parameters, seed and tokens give the
/// same choices, whatever else runs.
class Sampler {
 public:
  /// `prompt` matters to the repetition penalty, `outputs` to all penalties and to the place in the random
  /// sequence: a sequence that was interrupted goes on as if it had not been. `end_ids` would end it, and are
  /// not chosen before params.min_tokens outputs. With a constraint nothing else than what it allows is
  /// chosen, with bad words nothing that completes one.
  Sampler(SamplingParams params, std::span<const int32_t> prompt, std::span<const int32_t> outputs,
          std::vector<int32_t> end_ids = {}, std::shared_ptr<const Constraint> constraint = nullptr,
          std::shared_ptr<const BadWords> bad_words = nullptr);

  /// Chooses the next token; `logits` may be changed. Ids at or beyond `vocab_limit` are never chosen. A NaN,
  /// an infinity, or nothing left to choose from, is an error of this sequence.
  Result<Sample> choose(std::span<float> logits, int32_t vocab_limit);

  /// The next choice but `ahead`, where it depends on the row of logits and the past alone: then whoever has
  /// both may make it and tell `take`, -1 standing for a row that `choose` would refuse. Either all of a
  /// sampler's choices are such or none is. The caller sets the row, and the slot that holds the past.
  std::optional<ops::Choice> choice_elsewhere(int ahead = 0) const;
  Result<Sample> take(int32_t token, const ops::Logprobs& reported);
  /// Whether choices made elsewhere depend on the past.
  bool has_past() const { return penalties_ || !biases_.empty(); }
  /// The past so far: all of `seen`, one for each token of the vocabulary, and the first of `biases`.
  void write_past(std::span<ops::Seen> seen, std::span<ops::Bias> biases) const;
  /// Whether logits matter beyond their order: someone who makes tokens up must make logits up too.
  bool needs_logits() const { return params_.logprobs >= 0 || restricted(); }

  /// The constraint allows nothing more: the output is whole, without an end-of-sequence token.
  bool exhausted() const { return constrained_ && constrained_->exhausted(); }

 private:
  bool too_short_to_end(uint64_t index) const {
    return index < static_cast<uint64_t>(params_.min_tokens) && !end_ids_.empty();
  }
  /// Some tokens may not be chosen at all, whatever their logits.
  bool restricted() const { return constrained_ || allowed_ || bad_words_; }
  ops::Choice choice(uint64_t index) const;
  void reshape(std::span<float> logits, const ops::Choice& choice) const;
  TokenLogprobs report(std::span<const float> logits, int32_t token) const;

  SamplingParams params_;
  std::vector<int32_t> end_ids_;
  std::unordered_map<int32_t, ops::Seen> seen_;  // kept only when a penalty needs it
  bool penalties_ = false;
  std::vector<ops::Bias>
      biases_;             // one for each id that has one; then the end tokens', if there are min_tokens
  size_t own_biases_ = 0;  // without the end tokens
  uint64_t seed_ = 0;
  uint64_t drawn_ = 0;
  ops::Candidates candidates_;
  std::unique_ptr<ConstrainedChoice> constrained_;
  std::optional<TokenMask> allowed_;
  std::shared_ptr<const BadWords> bad_words_;
  std::vector<int32_t> outputs_;  // kept only for bad words
};

}  // namespace sluice::sampling
