// A sequence's constraint as its sampler uses it: the mask for the next choice is computed beside the step
// that the choice waits for.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "sampling/constraint.h"
#include "sampling/mask_worker.h"

namespace sluice::sampling {

class ConstrainedChoice {
 public:
  /// `end_ids` may be chosen wherever the text may end, besides what the constraint allows as text. `outputs`
  /// have been chosen already.
  ConstrainedChoice(std::shared_ptr<const Constraint> constraint, std::vector<int32_t> end_ids,
                    std::span<const int32_t> outputs);
  ~ConstrainedChoice();
  ConstrainedChoice(const ConstrainedChoice&) = delete;
  ConstrainedChoice& operator=(const ConstrainedChoice&) = delete;

  Result<bool> allows(int32_t token);
  /// Minus infinity for every token that may not be next.
  Status restrict(std::span<float> logits);
  /// Goes on by a token that is allowed, and begins with the mask behind it.
  Status chosen(int32_t token);
  /// Nothing but the end may follow.
  bool exhausted() const { return exhausted_; }

 private:
  void prepare();
  /// Waits for the mask.
  Status ready();
  bool is_end(int32_t token) const;

  std::shared_ptr<const Constraint> constraint_;
  std::vector<int32_t> end_ids_;
  ConstraintState state_;
  bool exhausted_ = false;
  // Written by the task, read once it is finished.
  std::shared_ptr<MaskWorker::Task> task_;
  Status status_;
  const TokenMask* mask_ = nullptr;
};

}  // namespace sluice::sampling
