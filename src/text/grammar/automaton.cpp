#include "text/grammar/automaton.h"

#include <algorithm>

#include "text/grammar/nfa.h"

namespace sluice::text::grammar {

size_t Automaton::memory_bytes() const {
  return states_.size() * sizeof(State) + edges_.size() * sizeof(Edge) + calls_.size() * sizeof(Call) +
         rules_.size() * sizeof(RuleInfo);
}

/// The rules' automata with global state ids, before what cannot end is taken out.
class AutomatonBuilder {
 public:
  AutomatonBuilder(const Grammar& grammar, const Limits& limits) : grammar_(grammar), budget_(limits) {}

  Result<std::shared_ptr<const Automaton>> build() {
    SLUICE_TRY(grammar_.within(budget_.limits()));
    SLUICE_TRY(check_rules());
    nullable_ = nullable_rules(grammar_);
    find_reachable_rules();
    for (size_t r = 0; r < reachable_.size(); ++r) {
      if (reachable_[r]) SLUICE_TRY(add_rule(static_cast<RuleId>(r)));
    }
    find_productive();
    if (!productive_[start_]) {
      return invalid_argument("the grammar matches no text: rule \"{}\" never ends", name(grammar_.root()));
    }
    SLUICE_TRY(refuse_left_recursion());
    return finish();
  }

 private:
  struct RuleStates {
    uint32_t first = 0, last = 0;
    uint32_t start = 0;  // of a call: not accepting
  };

  std::string name(RuleId rule) const { return grammar_.rule(rule).name.substr(0, 64); }

  Status check_rules() const {
    if (grammar_.rules().empty()) return invalid_argument("the grammar has no rules");
    for (const Rule& rule : grammar_.rules()) {
      if (rule.body < 0)
        return invalid_argument("rule \"{}\" is used and not defined", rule.name.substr(0, 64));
    }
    for (const Node& node : grammar_.nodes()) {
      if (node.kind != Node::Kind::repeat) continue;
      const int32_t limit = budget_.limits().max_repeat;
      if (node.max != kUnbounded && node.min > node.max)
        return invalid_argument("a repetition of at least {} and at most {}", node.min, node.max);
      if (node.min > limit || node.max > limit) {
        return {StatusCode::resource_exhausted,
                fmt::format("a repetition count of {} is more than the limit of {}",
                            std::max(node.min, node.max), limit)};
      }
    }
    return {};
  }

  void find_reachable_rules() {
    reachable_.assign(grammar_.rules().size(), false);
    std::vector<RuleId> work{grammar_.root()};
    reachable_[static_cast<size_t>(grammar_.root())] = true;
    std::vector<bool> seen(grammar_.nodes().size());
    while (!work.empty()) {
      std::vector<NodeId> nodes{grammar_.rule(work.back()).body};
      work.pop_back();
      while (!nodes.empty()) {
        const NodeId id = nodes.back();
        nodes.pop_back();
        if (id < 0 || seen[static_cast<size_t>(id)]) continue;
        seen[static_cast<size_t>(id)] = true;
        const Node& node = grammar_.node(id);
        nodes.insert(nodes.end(), node.children.begin(), node.children.end());
        for (const GraphEdge& e : node.edges) nodes.push_back(e.label);
        if (node.kind != Node::Kind::rule || reachable_[static_cast<size_t>(node.rule)]) continue;
        reachable_[static_cast<size_t>(node.rule)] = true;
        work.push_back(node.rule);
      }
    }
  }

  Status add_rule(RuleId rule) {
    SLUICE_ASSIGN(const Nfa nfa, build_nfa(grammar_, grammar_.rule(rule).body, nullable_, budget_));
    SLUICE_ASSIGN(Dfa dfa, determinise(nfa, budget_));
    rules_.resize(std::max(rules_.size(), static_cast<size_t>(rule) + 1));
    RuleStates& r = rules_[static_cast<size_t>(rule)];
    r.first = static_cast<uint32_t>(states_.size());
    const auto shift = [&](auto& links) {
      for (auto& link : links) link.to += r.first;
    };
    for (Dfa::State& s : dfa.states) {
      shift(s.edges);
      shift(s.calls);
      states_.push_back(std::move(s));
    }
    r.start = r.first;
    if (rule == grammar_.root()) start_ = r.first;
    if (states_[r.first].accept) {  // the same without the empty text
      r.start = static_cast<uint32_t>(states_.size());
      states_.push_back(states_[r.first]);
      states_.back().accept = false;
      SLUICE_TRY(budget_.use_states(1));
    }
    r.last = static_cast<uint32_t>(states_.size());
    return {};
  }

  // Backwards from the accepting states; a call helps once its rule can end and so can what follows it.
  void find_productive() {
    std::vector<std::vector<uint32_t>> by_byte(states_.size());
    std::vector<std::vector<std::pair<uint32_t, RuleId>>> by_call(states_.size());
    for (uint32_t s = 0; s < states_.size(); ++s) {
      for (const Nfa::Edge& e : states_[s].edges) by_byte[e.to].push_back(s);
      for (const Nfa::Call& c : states_[s].calls) by_call[c.to].emplace_back(s, c.rule);
    }
    std::vector<std::vector<uint32_t>> waiting(rules_.size());  // for a rule to be productive
    std::vector<std::vector<RuleId>> rules_starting_at(states_.size());
    for (size_t r = 0; r < rules_.size(); ++r) {
      if (reachable_[r]) rules_starting_at[rules_[r].start].push_back(static_cast<RuleId>(r));
    }
    productive_.assign(states_.size(), false);
    std::vector<uint32_t> work;
    const auto mark = [&](uint32_t s) {
      if (!productive_[s]) work.push_back(s);
      productive_[s] = true;
    };
    for (uint32_t s = 0; s < states_.size(); ++s) {
      if (states_[s].accept) mark(s);
    }
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      for (uint32_t from : by_byte[s]) mark(from);
      for (const auto& [from, rule] : by_call[s]) {
        if (productive_[rules_[static_cast<size_t>(rule)].start]) {
          mark(from);
        } else {
          waiting[static_cast<size_t>(rule)].push_back(from);
        }
      }
      for (RuleId rule : rules_starting_at[s]) {
        for (uint32_t from : waiting[static_cast<size_t>(rule)]) mark(from);
      }
    }
  }

  bool keeps(const Nfa::Call& c) const {
    return productive_[c.to] && productive_[rules_[static_cast<size_t>(c.rule)].start];
  }

  // Depth first over "its first thing may be a call of".
  Status refuse_left_recursion() const {
    enum : uint8_t { kNew, kOpen, kDone };
    std::vector<uint8_t> colour(rules_.size(), kNew);
    struct Frame {
      RuleId rule;
      size_t next;
    };
    for (size_t root = 0; root < rules_.size(); ++root) {
      if (!reachable_[root] || colour[root] != kNew) continue;
      std::vector<Frame> path{{static_cast<RuleId>(root), 0}};
      colour[root] = kOpen;
      while (!path.empty()) {
        Frame& frame = path.back();
        const auto& calls = states_[rules_[static_cast<size_t>(frame.rule)].start].calls;
        if (frame.next == calls.size()) {
          colour[static_cast<size_t>(frame.rule)] = kDone;
          path.pop_back();
          continue;
        }
        const Nfa::Call& call = calls[frame.next++];
        if (!keeps(call)) continue;
        uint8_t& c = colour[static_cast<size_t>(call.rule)];
        if (c == kOpen) {
          return invalid_argument(
              "rule \"{}\" is left-recursive: it may begin with itself; put what it begins with first",
              name(call.rule));
        }
        if (c == kNew) {
          c = kOpen;
          path.push_back({call.rule, 0});
        }
      }
    }
    return {};
  }

  Result<std::shared_ptr<const Automaton>> finish() {
    auto out = std::make_shared<Automaton>();
    std::vector<StateId> number(states_.size(), Automaton::kNone);
    std::vector<uint32_t> kept;
    std::vector<RuleId> new_rule(rules_.size(), -1);
    for (size_t r = 0; r < rules_.size(); ++r) {
      const bool callable = reachable_[r] && productive_[rules_[r].start];
      if (!callable && static_cast<RuleId>(r) != grammar_.root()) continue;
      Automaton::RuleInfo info;
      info.name = grammar_.rules()[r].name;
      info.tag = grammar_.rules()[r].tag;
      info.first = static_cast<StateId>(kept.size());
      for (uint32_t s = rules_[r].first; s < rules_[r].last; ++s) {
        if (!productive_[s]) continue;
        number[s] = static_cast<StateId>(kept.size());
        kept.push_back(s);
      }
      info.last = static_cast<StateId>(kept.size());
      info.start = number[rules_[r].start];
      new_rule[r] = static_cast<RuleId>(out->rules_.size());
      out->rules_.push_back(std::move(info));
    }
    RuleId rule = 0;
    for (uint32_t s : kept) {
      while (out->states_.size() >= out->rules_[static_cast<size_t>(rule)].last) ++rule;
      Automaton::State state;
      state.accept = states_[s].accept;
      state.free = states_[s].free;
      state.rule = rule;
      state.first_edge = static_cast<uint32_t>(out->edges_.size());
      state.first_call = static_cast<uint32_t>(out->calls_.size());
      for (const Nfa::Edge& e : states_[s].edges) {
        if (productive_[e.to]) out->edges_.push_back({e.lo, e.hi, number[e.to]});
      }
      for (const Nfa::Call& c : states_[s].calls) {
        if (keeps(c)) out->calls_.push_back({new_rule[static_cast<size_t>(c.rule)], number[c.to]});
      }
      state.num_edges = static_cast<uint16_t>(out->edges_.size() - state.first_edge);
      state.num_calls = static_cast<uint32_t>(out->calls_.size() - state.first_call);
      if (state.num_calls > 0) out->rules_[static_cast<size_t>(rule)].leaf = false;
      out->states_.push_back(state);
    }
    for (const Automaton::Call& c : out->calls_) out->rules_[static_cast<size_t>(c.rule)].called = true;
    out->start_ = number[start_];
    return std::shared_ptr<const Automaton>(std::move(out));
  }

  const Grammar& grammar_;
  Budget budget_;
  std::vector<bool> nullable_;
  std::vector<bool> reachable_;
  std::vector<RuleStates> rules_;
  std::vector<Dfa::State> states_;
  std::vector<bool> productive_;
  uint32_t start_ = 0;
};

Result<std::shared_ptr<const Automaton>> compile(const Grammar& grammar, const Limits& limits) {
  return AutomatonBuilder(grammar, limits).build();
}

}  // namespace sluice::text::grammar
