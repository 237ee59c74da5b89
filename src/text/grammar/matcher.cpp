#include "text/grammar/matcher.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::text::grammar {

void Stacks::clear() {
  frames_.assign(1, {});  // the bottom
  links_.clear();
  overflowed_ = false;
}

void Stacks::release(const Mark& mark) {
  frames_.resize(mark.frames);
  links_.resize(mark.links);
}

void Stacks::add(std::vector<Thread>& out, size_t begin, Thread thread) {
  for (size_t i = begin; i < out.size(); ++i) {
    if (out[i] == thread) return;
  }
  if (out.size() - begin >= kMaxThreads) {
    overflowed_ = true;
    return;
  }
  out.push_back(thread);
}

void Stacks::link(FrameId callee, StateId target, FrameId caller) {
  Frame& frame = frames_[callee];
  size_t count = 0;
  for (uint32_t l = frame.last_link; l != kNoLink; l = links_[l].previous) {
    if (links_[l].target == target && links_[l].caller == caller) return;
    if (++count >= kMaxLinks) {
      overflowed_ = true;
      return;
    }
  }
  links_.push_back({target, caller, frame.last_link});
  frame.last_link = static_cast<uint32_t>(links_.size() - 1);
}

void Stacks::call(const Automaton::Call& c, const Thread& from, std::vector<Thread>& out, size_t begin) {
  FrameId callee = static_cast<FrameId>(place_);
  while (callee < frames_.size() && frames_[callee].rule != c.rule) ++callee;
  if (callee == frames_.size()) {
    frames_.push_back({c.rule, kNoLink});
    add(out, begin, {automaton_->rule(c.rule).start, callee});
  }
  // A last call returns to the caller's callers at once, or recursion to the right would grow without end.
  // A frame of this very place may yet get callers, and that of a tagged rule says the tag: these stay.
  const bool tagged = automaton_->rule(automaton_->state(from.state).rule).tag >= 0;
  if (from.frame < place_ && !tagged && automaton_->state(c.target).final_only()) {
    if (from.frame == kBottom) {
      link(callee, kEnded, kBottom);
      return;
    }
    for (uint32_t l = frames_[from.frame].last_link; l != kNoLink; l = links_[l].previous)
      link(callee, links_[l].target, links_[l].caller);
    return;
  }
  link(callee, c.target, from.frame);
}

// A called rule takes at least one byte, so no frame of this place is left in it: all callers of a frame are
// known when it is left.
void Stacks::close(std::vector<Thread>& out, size_t begin) {
  for (size_t i = begin; i < out.size(); ++i) {
    const Thread thread = out[i];
    if (thread.state == kEnded) continue;
    const Automaton::State& state = automaton_->state(thread.state);
    for (const Automaton::Call& c : automaton_->calls(state)) call(c, thread, out, begin);
    if (!state.accept) continue;
    if (thread.frame == kBottom) add(out, begin, {kEnded, kBottom});
    for (uint32_t l = frames_[thread.frame].last_link; l != kNoLink; l = links_[l].previous)
      add(out, begin, {links_[l].target, links_[l].caller});
  }
}

void Stacks::enter(StateId state, FrameId frame, std::vector<Thread>& out) {
  begin_place();
  const size_t begin = out.size();
  out.push_back({state, frame});
  close(out, begin);
}

void Stacks::leave(FrameId frame, std::vector<Thread>& out) {
  begin_place();
  const size_t begin = out.size();
  if (frame == kBottom) add(out, begin, {kEnded, kBottom});
  for (uint32_t l = frames_[frame].last_link; l != kNoLink; l = links_[l].previous)
    add(out, begin, {links_[l].target, links_[l].caller});
  close(out, begin);
}

void Stacks::advance(size_t first, size_t last, uint8_t byte, std::vector<Thread>& out) {
  begin_place();
  const size_t begin = out.size();
  for (size_t i = first; i < last; ++i) {
    const Thread thread = out[i];
    if (thread.state == kEnded) continue;
    const StateId next = automaton_->step(automaton_->state(thread.state), byte);
    if (next != Automaton::kNone) add(out, begin, {next, thread.frame});
  }
  close(out, begin);
}

void Stacks::collect(const std::vector<std::vector<Thread>*>& roots) {
  std::vector<bool> live(frames_.size());
  std::vector<FrameId> work{kBottom};
  live[kBottom] = true;
  const auto reach = [&](FrameId f) {
    if (!live[f]) work.push_back(f);
    live[f] = true;
  };
  for (const std::vector<Thread>* threads : roots) {
    for (const Thread& t : *threads) reach(t.frame);
  }
  while (!work.empty()) {
    const FrameId f = work.back();
    work.pop_back();
    for (uint32_t l = frames_[f].last_link; l != kNoLink; l = links_[l].previous) reach(links_[l].caller);
  }
  std::vector<FrameId> number(frames_.size());
  std::vector<Frame> frames;
  for (FrameId f = 0; f < frames_.size(); ++f) {
    number[f] = static_cast<FrameId>(frames.size());
    if (live[f]) frames.push_back(frames_[f]);
  }
  std::vector<Link> links;
  for (Frame& frame : frames) {
    uint32_t previous = kNoLink;
    for (uint32_t l = frame.last_link; l != kNoLink; l = links_[l].previous) {
      links.push_back({links_[l].target, number[links_[l].caller], previous});
      previous = static_cast<uint32_t>(links.size() - 1);
    }
    frame.last_link = previous;
  }
  frames_ = std::move(frames);
  links_ = std::move(links);
  for (std::vector<Thread>* threads : roots) {
    for (Thread& t : *threads) t.frame = number[t.frame];
  }
}

int32_t Stacks::tag_of(const Thread& thread) const {
  if (thread.state == kEnded) return -1;
  // Callers of a tagged rule that differ would differ in nothing a tag is for: the first will do.
  RuleId rule = automaton_->state(thread.state).rule;
  FrameId frame = thread.frame;
  while (automaton_->rule(rule).tag < 0) {
    if (frame == kBottom || frames_[frame].last_link == kNoLink) return -1;
    const Link& link = links_[frames_[frame].last_link];
    if (link.target == kEnded) return -1;
    rule = automaton_->state(link.target).rule;
    frame = link.caller;
  }
  return automaton_->rule(rule).tag;
}

Matcher::Matcher(std::shared_ptr<const Automaton> automaton, size_t max_rollback)
    : automaton_(std::move(automaton)), max_rollback_(max_rollback), stacks_(*automaton_) {
  stacks_.enter(automaton_->start(), Stacks::kBottom, threads_);
}

bool Matcher::accept(std::string_view bytes) {
  const Stacks::Mark mark = stacks_.mark();
  scratch_ = threads_;
  size_t begin = 0;
  for (const char c : bytes) {
    const size_t end = scratch_.size();
    stacks_.advance(begin, end, static_cast<uint8_t>(c), scratch_);
    if (scratch_.size() == end || stacks_.overflowed()) {
      stacks_.release(mark);
      return false;
    }
    // Only the last place counts; keep the vector short on long texts.
    scratch_.erase(scratch_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(end));
    begin = 0;
  }
  if (max_rollback_ > 0) {
    if (history_.size() == max_rollback_) history_.pop_front();
    history_.push_back(std::move(threads_));
  }
  threads_ = scratch_;
  if (stacks_.size() > collect_at_) collect();
  return true;
}

void Matcher::rollback(size_t count) {
  SLUICE_CHECK(count <= history_.size(), "rollback {} of {}", count, history_.size());
  if (count == 0) return;
  threads_ = std::move(history_[history_.size() - count]);
  history_.resize(history_.size() - count);
}

void Matcher::collect() {
  std::vector<std::vector<Thread>*> roots{&threads_};
  for (std::vector<Thread>& h : history_) roots.push_back(&h);
  stacks_.collect(roots);
  collect_at_ = std::max<size_t>(4096, 2 * stacks_.size());
  ++collections_;
}

bool Matcher::can_end() const {
  return std::any_of(threads_.begin(), threads_.end(),
                     [](const Thread& t) { return t.state == Stacks::kEnded; });
}

bool Matcher::exhausted() const {
  return std::all_of(threads_.begin(), threads_.end(), [&](const Thread& t) {
    return t.state == Stacks::kEnded || automaton_->state(t.state).num_edges == 0;
  });
}

std::pair<int32_t, int32_t> Matcher::tags_of_next(uint8_t byte) const {
  std::pair<int32_t, int32_t> out{-1, -1};
  bool first = true;
  for (const Thread& t : threads_) {
    if (t.state == Stacks::kEnded) continue;
    if (automaton_->step(automaton_->state(t.state), byte) == Automaton::kNone) continue;
    const int32_t tag = stacks_.tag_of(t);
    out = first ? std::pair(tag, tag) : std::pair(std::min(out.first, tag), std::max(out.second, tag));
    first = false;
  }
  return out;
}

}  // namespace sluice::text::grammar
