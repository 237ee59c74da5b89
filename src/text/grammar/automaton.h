// A grammar compiled to a pushdown automaton over bytes: each rule a deterministic automaton whose edges are
// byte ranges or calls of other rules.
//
// Three properties keep the matcher simple. A called rule never matches the empty text (where it may be empty
// the caller has a way around it), so nothing returns where it was called. No rule reaches itself without a
// byte before it (left recursion is refused), so following calls ends. Every state can reach the end of the
// text, so whatever has matched so far can be completed.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

using StateId = uint32_t;

class Automaton {
 public:
  struct Edge {
    uint8_t lo = 0;
    uint8_t hi = 0;
    StateId target = 0;
  };
  struct Call {
    RuleId rule = 0;
    StateId target = 0;  // where to go on when it has matched
  };
  struct State {
    uint32_t first_edge = 0;
    uint32_t first_call = 0;
    uint16_t num_edges = 0;  // sorted, disjoint: at most 256
    bool accept = false;
    bool free = false;  // inside free text: special tokens count as text
    uint32_t num_calls = 0;
    RuleId rule = 0;

    /// Nothing follows in its rule: whoever calls a rule to come back here need not come back.
    bool final_only() const { return accept && num_edges == 0 && num_calls == 0; }
  };
  struct RuleInfo {
    std::string name;
    StateId start = 0;  // of a call
    StateId first = 0;  // its states are [first, last)
    StateId last = 0;
    int32_t tag = -1;
    bool leaf = true;     // calls nothing
    bool called = false;  // by any rule
  };

  StateId start() const { return start_; }
  const State& state(StateId id) const { return states_[id]; }
  size_t num_states() const { return states_.size(); }
  const std::vector<RuleInfo>& rules() const { return rules_; }
  const RuleInfo& rule(RuleId id) const { return rules_[static_cast<size_t>(id)]; }
  std::span<const Edge> edges(const State& s) const { return {edges_.data() + s.first_edge, s.num_edges}; }
  std::span<const Call> calls(const State& s) const { return {calls_.data() + s.first_call, s.num_calls}; }

  static constexpr StateId kNone = ~StateId{0};
  /// The state after `byte`, or kNone.
  StateId step(const State& s, uint8_t byte) const {
    for (const Edge& e : edges(s)) {
      if (byte <= e.hi) return byte >= e.lo ? e.target : kNone;
    }
    return kNone;
  }

  size_t memory_bytes() const;

 private:
  friend class AutomatonBuilder;
  std::vector<State> states_;
  std::vector<Edge> edges_;
  std::vector<Call> calls_;
  std::vector<RuleInfo> rules_;
  StateId start_ = 0;
};

/// Compiles. invalid_argument where a rule is missing, left-recursive, or the grammar matches no text;
/// resource_exhausted beyond `limits`.
Result<std::shared_ptr<const Automaton>> compile(const Grammar& grammar, const Limits& limits = {});

}  // namespace sluice::text::grammar
