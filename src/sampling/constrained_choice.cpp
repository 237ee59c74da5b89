#include "sampling/constrained_choice.h"

#include <algorithm>
#include <exception>

namespace sluice::sampling {

ConstrainedChoice::ConstrainedChoice(std::shared_ptr<const Constraint> constraint,
                                     std::vector<int32_t> end_ids, std::span<const int32_t> outputs)
    : constraint_(std::move(constraint)), end_ids_(std::move(end_ids)), state_(constraint_) {
  for (int32_t token : outputs) {
    if (!state_.accept(token)) status_ = internal_error("output token {} does not fit the grammar", token);
  }
  exhausted_ = state_.exhausted();
  prepare();
}

ConstrainedChoice::~ConstrainedChoice() {
  if (task_) task_->finish();
}

void ConstrainedChoice::prepare() {
  if (exhausted_ || !status_.ok()) return;
  task_ = constraint_->worker().submit([this] {
    try {
      auto mask = state_.mask();
      if (mask.ok()) {
        mask_ = *mask;
      } else {
        status_ = mask.status();
      }
    } catch (const std::exception& e) {
      status_ = internal_error("a token mask could not be computed: {}", e.what());
    }
  });
}

Status ConstrainedChoice::ready() {
  if (task_) task_->finish();
  SLUICE_TRY(status_);
  if (exhausted_) return internal_error("the output is whole; nothing may be chosen behind it");
  return {};
}

bool ConstrainedChoice::is_end(int32_t token) const {
  return std::find(end_ids_.begin(), end_ids_.end(), token) != end_ids_.end() && state_.can_end();
}

Result<bool> ConstrainedChoice::allows(int32_t token) {
  SLUICE_TRY(ready());
  return mask_->test(token) || is_end(token);
}

Status ConstrainedChoice::restrict(std::span<float> logits) {
  SLUICE_TRY(ready());
  std::vector<std::pair<size_t, float>> ends;
  if (state_.can_end()) {
    for (int32_t id : end_ids_) {
      if (static_cast<size_t>(id) < logits.size()) ends.emplace_back(id, logits[static_cast<size_t>(id)]);
    }
  }
  mask_->apply(logits);
  for (const auto& [id, logit] : ends) logits[id] = logit;
  return {};
}

Status ConstrainedChoice::chosen(int32_t token) {
  if (task_) task_->finish();
  task_.reset();
  if (!state_.accept(token)) {
    // An end of text; the sequence has no more choices to make, unless its end is no end after all
    // (min_tokens).
    if (is_end(token)) return {};
    return status_ = internal_error("token {} was chosen and does not fit the grammar", token);
  }
  exhausted_ = state_.exhausted();
  prepare();
  return {};
}

}  // namespace sluice::sampling
