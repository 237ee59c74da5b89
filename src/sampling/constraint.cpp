#include "sampling/constraint.h"

namespace sluice::sampling {

using text::grammar::Stacks;
using text::grammar::Thread;

namespace {

constexpr size_t kMaxWork = 5'000'000;  // threads visited for one mask

Status too_ambiguous() {
  return {StatusCode::resource_exhausted,
          "the grammar is too ambiguous to follow: too many ways lead to this text; rewrite it with fewer"};
}

}  // namespace

Result<std::shared_ptr<const Constraint>> Constraint::create(
    std::shared_ptr<const text::grammar::Automaton> automaton, std::shared_ptr<const Vocabulary> vocabulary,
    ProfileCache& cache, std::shared_ptr<MaskWorker> worker) {
  std::shared_ptr<Constraint> out(new Constraint);
  if (text::grammar::Matcher(automaton).exhausted())
    return invalid_argument("only the empty text matches; there is nothing to write");
  for (size_t r = 0; r < automaton->rules().size(); ++r)
    out->rules_.push_back(cache.of_rule(*automaton, static_cast<text::grammar::RuleId>(r), *vocabulary));
  out->automaton_ = std::move(automaton);
  out->vocabulary_ = std::move(vocabulary);
  out->worker_ = std::move(worker);
  return std::shared_ptr<const Constraint>(std::move(out));
}

const StateProfile& Constraint::profile(text::grammar::StateId state) const {
  return rules_[static_cast<size_t>(automaton_->state(state).rule)]->get(*automaton_, state, *vocabulary_);
}

size_t Constraint::memory_bytes() const {
  size_t bytes = sizeof(*this) + automaton_->memory_bytes();
  for (size_t r = 0; r < rules_.size(); ++r) {
    if (!automaton_->rules()[r].leaf) bytes += rules_[r]->memory_bytes();
  }
  return bytes;
}

ConstraintState::ConstraintState(std::shared_ptr<const Constraint> constraint, size_t max_rollback)
    : constraint_(std::move(constraint)),
      matcher_(constraint_->automaton(), max_rollback),
      mask_(constraint_->vocabulary().size()) {}

bool ConstraintState::accept(int32_t token) {
  if (token < 0 || token >= constraint_->vocabulary().size()) return false;
  const std::string_view bytes = constraint_->vocabulary().bytes_of(token);
  return !bytes.empty() && matcher_.accept(bytes);
}

Result<const TokenMask*> ConstraintState::mask() {
  // Inside a string, say, a token leads back to where it began.
  if (has_mask_ && masked_collections_ == matcher_.collections() && masked_ == matcher_.threads())
    return &mask_;
  has_mask_ = false;
  SLUICE_TRY(compute());
  has_mask_ = true;
  masked_ = matcher_.threads();
  masked_collections_ = matcher_.collections();
  return &mask_;
}

Status ConstraintState::compute() {
  mask_.clear();
  Stacks& stacks = matcher_.stacks();
  size_t work = 0;
  for (const Thread& thread : matcher_.threads()) {
    if (thread.state == Stacks::kEnded || constraint_->automaton()->state(thread.state).num_edges == 0)
      continue;
    const StateProfile& profile = constraint_->profile(thread.state);
    if (profile.too_ambiguous) return too_ambiguous();
    for (int32_t token : profile.few) mask_.set(token);
    mask_.add(profile.words);
    if (profile.remains.empty()) continue;
    const Stacks::Mark mark = stacks.mark();
    scratch_.clear();
    stacks.leave(thread.frame, scratch_);
    walk(profile.remains, stacks, scratch_, [&](const TokenTrie::Node& node, std::span<const Thread> there) {
      for (int32_t token : profile.remains.tokens_at(node)) mask_.set(token);
      work += there.size();
      return work < kMaxWork;
    });
    stacks.release(mark);
    if (work >= kMaxWork || stacks.overflowed()) return too_ambiguous();
  }
  return {};
}

}  // namespace sluice::sampling
