// Follows a text through an automaton, byte by byte, with all its ambiguities at once.
//
// Where the text may be is a set of threads: a state, and the call it stands in. Calls of one rule at one
// place share a frame that links to all its callers (the graph-structured stack of Tomita 1985 and of GLL
// parsers), so threads do not multiply with the ways to get there. Frames never change once their place has
// passed: taking tokens back is remembering older threads, and trying a token costs no copy.
#pragma once

#include <deque>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "text/grammar/automaton.h"

namespace sluice::text::grammar {

using FrameId = uint32_t;

struct Thread {
  StateId state = 0;  // Stacks::kEnded: the whole text has matched
  FrameId frame = 0;
  bool operator==(const Thread&) const = default;
};

/// The frames of all threads.
class Stacks {
 public:
  static constexpr StateId kEnded = Automaton::kNone;
  static constexpr FrameId kBottom = 0;  // returning from it ends the text
  static constexpr size_t kMaxThreads = 256, kMaxLinks = 1024;

  explicit Stacks(const Automaton& automaton) : automaton_(&automaton) { clear(); }
  void clear();

  /// Appends to `out` where `state` in `frame` may be before the next byte: itself, and inside what it calls
  /// and returns to.
  void enter(StateId state, FrameId frame, std::vector<Thread>& out);
  /// Appends where the callers of `frame` go on.
  void leave(FrameId frame, std::vector<Thread>& out);
  /// Appends where out[first, last) may be after `byte`; nothing: it does not fit.
  void advance(size_t first, size_t last, uint8_t byte, std::vector<Thread>& out);

  /// More threads or callers than allowed were needed and left out: what matches from here on is wrong.
  bool overflowed() const { return overflowed_; }

  struct Mark {
    size_t frames = 0, links = 0;
  };
  Mark mark() const { return {frames_.size(), links_.size()}; }
  /// Forgets frames made since `mark`.
  void release(const Mark& mark);

  size_t size() const { return frames_.size(); }
  /// Drops frames that no thread of `roots` reaches; renumbers.
  void collect(const std::vector<std::vector<Thread>*>& roots);

  /// The tag of the innermost tagged rule that `thread` stands in; -1: none.
  int32_t tag_of(const Thread& thread) const;

 private:
  static constexpr uint32_t kNoLink = ~uint32_t{0};
  struct Frame {
    RuleId rule = 0;
    uint32_t last_link = kNoLink;
  };
  struct Link {
    StateId target = 0;  // state of the caller to go on in
    FrameId caller = 0;
    uint32_t previous = kNoLink;
  };
  void begin_place() { place_ = frames_.size(); }
  void add(std::vector<Thread>& out, size_t begin, Thread thread);
  void close(std::vector<Thread>& out, size_t begin);
  void call(const Automaton::Call& call, const Thread& from, std::vector<Thread>& out, size_t begin);
  void link(FrameId callee, StateId target, FrameId caller);

  const Automaton* automaton_;
  std::vector<Frame> frames_;
  std::vector<Link> links_;
  size_t place_ = 0;  // frames from here on belong to the place that is being entered
  bool overflowed_ = false;
};

class Matcher {
 public:
  /// Remembers `max_rollback` calls of accept().
  explicit Matcher(std::shared_ptr<const Automaton> automaton, size_t max_rollback = 0);

  /// Goes on by `bytes`. False, and nothing has changed, when they do not fit or the grammar is too ambiguous
  /// to follow (overflowed()).
  bool accept(std::string_view bytes);
  /// Takes the last `count` accepted pieces back; at most max_rollback of them.
  void rollback(size_t count);

  /// The text may end here.
  bool can_end() const;
  /// Nothing but the end may follow.
  bool exhausted() const;
  bool overflowed() const { return stacks_.overflowed(); }

  /// The least and the greatest of the tags that the next byte would have in the ways to take it; -1: none.
  std::pair<int32_t, int32_t> tags_of_next(uint8_t byte) const;

  const Automaton& automaton() const { return *automaton_; }
  const std::vector<Thread>& threads() const { return threads_; }
  /// How often frames were renumbered: threads of different numbers cannot be compared.
  uint64_t collections() const { return collections_; }
  /// For trying bytes: what is added must be released again.
  Stacks& stacks() { return stacks_; }

 private:
  void collect();

  std::shared_ptr<const Automaton> automaton_;
  size_t max_rollback_;
  Stacks stacks_;
  std::vector<Thread> threads_;
  std::vector<Thread> scratch_;
  std::deque<std::vector<Thread>> history_;
  size_t collect_at_ = 4096;
  uint64_t collections_ = 0;
};

}  // namespace sluice::text::grammar
