// The two steps from an expression to a deterministic automaton: Thompson's construction, then subsets.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// Counts what one compilation has used.
class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits), deadline_(thread_time() + limits.max_time) {}
  const Limits& limits() const { return limits_; }
  Status use_nfa_states(size_t n);
  Status use_states(size_t n);
  Status check_time() const;

 private:
  Limits limits_;
  /// This thread's time on a CPU: what else runs must not decide what is refused.
  static std::chrono::nanoseconds thread_time();

  std::chrono::nanoseconds deadline_;
  size_t nfa_states_ = 0;
  size_t states_ = 0;
};

struct Nfa {
  struct Edge {
    uint8_t lo, hi;
    uint32_t to;
  };
  struct Call {
    RuleId rule;
    uint32_t to;
  };
  struct State {
    std::vector<uint32_t> epsilon;
    std::vector<Edge> edges;
    std::vector<Call> calls;
    bool free = false;
  };
  std::vector<State> states;
  uint32_t start = 0;
  uint32_t accept = 0;
};

/// A deterministic automaton; state 0 is the start.
struct Dfa {
  struct State {
    std::vector<Nfa::Edge> edges;  // sorted, disjoint
    std::vector<Nfa::Call> calls;  // one for each rule
    bool accept = false;
    bool free = false;
  };
  std::vector<State> states;
};

/// The expression as an NFA. Calls of rules that may be empty get a way around them.
Result<Nfa> build_nfa(const Grammar& grammar, NodeId node, const std::vector<bool>& nullable, Budget& budget);

Result<Dfa> determinise(const Nfa& nfa, Budget& budget);

}  // namespace sluice::text::grammar
