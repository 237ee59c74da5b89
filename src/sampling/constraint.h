// What an output must match, compiled for a vocabulary; and one sequence's place in it.
#pragma once

#include <memory>
#include <vector>

#include "sampling/mask_worker.h"
#include "sampling/state_profile.h"
#include "sampling/token_mask.h"
#include "text/grammar/matcher.h"

namespace sluice::sampling {

/// Immutable but for profiles that fill in as they are used; shared by all requests with the same constraint.
class Constraint {
 public:
  /// invalid_argument when nothing but the empty text matches.
  static Result<std::shared_ptr<const Constraint>> create(
      std::shared_ptr<const text::grammar::Automaton> automaton, std::shared_ptr<const Vocabulary> vocabulary,
      ProfileCache& cache, std::shared_ptr<MaskWorker> worker);

  const std::shared_ptr<const text::grammar::Automaton>& automaton() const { return automaton_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  const StateProfile& profile(text::grammar::StateId state) const;
  /// Where masks of this constraint are computed ahead.
  MaskWorker& worker() const { return *worker_; }
  /// Without the vocabulary, and without profiles that other constraints may share.
  size_t memory_bytes() const;

 private:
  Constraint() = default;
  std::shared_ptr<const text::grammar::Automaton> automaton_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::vector<std::shared_ptr<RuleProfiles>> rules_;
  std::shared_ptr<MaskWorker> worker_;
};

/// Where one output stands: takes its tokens, says which may follow. Of one thread at a time.
class ConstraintState {
 public:
  explicit ConstraintState(std::shared_ptr<const Constraint> constraint, size_t max_rollback = 0);

  /// False, and nothing has changed, for a token that does not fit. A token of no bytes fits nowhere.
  bool accept(int32_t token);
  void rollback(size_t count) { matcher_.rollback(count); }
  bool can_end() const { return matcher_.can_end(); }
  /// Nothing but the end may follow.
  bool exhausted() const { return matcher_.exhausted(); }

  /// The tokens that may follow, the end apart. resource_exhausted when the grammar is too ambiguous to tell.
  Result<const TokenMask*> mask();

 private:
  Status compute();

  std::shared_ptr<const Constraint> constraint_;
  text::grammar::Matcher matcher_;
  TokenMask mask_;
  bool has_mask_ = false;  // mask_ is that of `masked_`
  std::vector<text::grammar::Thread> masked_, scratch_;
  uint64_t masked_collections_ = 0;
};

}  // namespace sluice::sampling
