#include "text/grammar/nfa.h"

#include <time.h>

#include <algorithm>
#include <map>

#include "text/aho_corasick.h"
#include "text/grammar/utf8_paths.h"

namespace sluice::text::grammar {

Status Budget::use_nfa_states(size_t n) {
  nfa_states_ += n;
  if (nfa_states_ <= limits_.max_nfa_states) return {};
  return {StatusCode::resource_exhausted,
          fmt::format("written out, the grammar has more than {} states; lower its repetition counts",
                      limits_.max_nfa_states)};
}

Status Budget::use_states(size_t n) {
  states_ += n;
  if (states_ <= limits_.max_states) return {};
  return {StatusCode::resource_exhausted,
          fmt::format("the grammar needs more than {} states; lower its repetition counts or simplify it",
                      limits_.max_states)};
}

std::chrono::nanoseconds Budget::thread_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

Status Budget::check_time() const {
  if (thread_time() < deadline_) return {};
  return {StatusCode::resource_exhausted,
          fmt::format("compiling the grammar took more than {} ms; simplify it", limits_.max_time.count())};
}

namespace {

class NfaBuilder {
 public:
  NfaBuilder(const Grammar& grammar, const std::vector<bool>& nullable, Budget& budget)
      : grammar_(grammar), nullable_(nullable), budget_(budget) {}

  Result<Nfa> build(NodeId node) {
    nfa_.states.resize(2);
    nfa_.start = 0;
    nfa_.accept = 1;
    SLUICE_TRY(add(node, 0, 1));
    return std::move(nfa_);
  }

 private:
  Result<uint32_t> fresh() {
    SLUICE_TRY(budget_.use_nfa_states(1));
    if (nfa_.states.size() % 4096 == 0) SLUICE_TRY(budget_.check_time());
    nfa_.states.emplace_back();
    return static_cast<uint32_t>(nfa_.states.size() - 1);
  }
  Nfa::State& at(uint32_t state) { return nfa_.states[state]; }
  void epsilon(uint32_t from, uint32_t to) { at(from).epsilon.push_back(to); }

  // Ways from `from` to `to`. None is added into `from` or out of `to`, so siblings may share both.
  Status add(NodeId id, uint32_t from, uint32_t to) {
    const Node& node = grammar_.node(id);
    switch (node.kind) {
      case Node::Kind::bytes:
        return add_bytes(node.bytes, from, to);
      case Node::Kind::chars:
        return add_chars(node.chars, from, to);
      case Node::Kind::sequence:
        return add_sequence(node, from, to);
      case Node::Kind::choice:
        for (NodeId child : node.children) SLUICE_TRY(add(child, from, to));
        return {};
      case Node::Kind::repeat:
        return add_repeat(node, from, to);
      case Node::Kind::rule:
        if (is_small(node.rule)) return add(grammar_.rule(node.rule).body, from, to);
        at(from).calls.push_back({node.rule, to});
        if (nullable_[static_cast<size_t>(node.rule)]) epsilon(from, to);
        return {};
      case Node::Kind::graph:
        return add_graph(node, from, to);
      case Node::Kind::intersection:
        return add_intersection(node, from, to);
      case Node::Kind::free_text:
      case Node::Kind::free_end:
        return add_free(node, from, to);
    }
    return {};
  }

  // Rules such as white space are written out where they are used. A token often begins with one and goes on
  // with what follows it, which can be decided ahead only where no return to a caller lies between.
  bool is_small(RuleId rule) const {
    constexpr int kMost = 12;
    return grammar_.rule(rule).tag < 0 && weight(grammar_.rule(rule).body, kMost) <= kMost;
  }

  /// Roughly the states of an expression; more than `most` when it calls rules.
  int weight(NodeId id, int most) const {
    const Node& node = grammar_.node(id);
    const bool simple = node.kind == Node::Kind::bytes || node.kind == Node::Kind::chars ||
                        node.kind == Node::Kind::sequence || node.kind == Node::Kind::choice ||
                        node.kind == Node::Kind::repeat;
    if (!simple) return most + 1;
    int sum = 1 + static_cast<int>(std::min<size_t>(node.bytes.size(), static_cast<size_t>(most)));
    for (NodeId child : node.children) {
      if (sum <= most) sum += weight(child, most);
    }
    const int times = std::min(std::max({1, node.min, node.max}), most + 1);
    return std::min(sum * times, most + 1);
  }

  Status add_bytes(const std::string& bytes, uint32_t from, uint32_t to) {
    if (bytes.empty()) epsilon(from, to);
    for (size_t i = 0; i < bytes.size(); ++i) {
      uint32_t next = to;
      if (i + 1 < bytes.size()) {
        SLUICE_ASSIGN(next, fresh());
      }
      const auto byte = static_cast<uint8_t>(bytes[i]);
      at(from).edges.push_back({byte, byte, next});
      from = next;
    }
    return {};
  }

  Status add_chars(const CharSet& chars, uint32_t from, uint32_t to) {
    std::vector<Utf8Path> paths;
    for (const CharRange& r : chars) append_utf8_paths(r, paths);
    for (const Utf8Path& path : paths) {
      uint32_t state = from;
      for (int i = 0; i < path.length; ++i) {
        uint32_t next = to;
        if (i + 1 < path.length) {
          SLUICE_ASSIGN(next, fresh());
        }
        const ByteRange byte = path.bytes[static_cast<size_t>(i)];
        at(state).edges.push_back({byte.lo, byte.hi, next});
        state = next;
      }
    }
    return {};
  }

  Status add_sequence(const Node& node, uint32_t from, uint32_t to) {
    if (node.children.empty()) epsilon(from, to);
    for (size_t i = 0; i < node.children.size(); ++i) {
      uint32_t next = to;
      if (i + 1 < node.children.size()) {
        SLUICE_ASSIGN(next, fresh());
      }
      SLUICE_TRY(add(node.children[i], from, next));
      from = next;
    }
    return {};
  }

  Status add_repeat(const Node& node, uint32_t from, uint32_t to) {
    const NodeId child = node.children[0];
    for (int32_t i = 0; i < node.min; ++i) {
      SLUICE_ASSIGN(const uint32_t next, fresh());
      SLUICE_TRY(add(child, from, next));
      from = next;
    }
    if (node.max == kUnbounded) {
      // The loop's own state: `from` may be shared with siblings.
      SLUICE_ASSIGN(const uint32_t loop, fresh());
      epsilon(from, loop);
      SLUICE_TRY(add_loop(child, loop));
      epsilon(loop, to);
      return {};
    }
    for (int32_t i = node.min; i < node.max; ++i) {
      epsilon(from, to);
      SLUICE_ASSIGN(const uint32_t next, fresh());
      SLUICE_TRY(add(child, from, next));
      from = next;
    }
    epsilon(from, to);
    return {};
  }

  Status add_loop(NodeId child, uint32_t loop) {
    SLUICE_ASSIGN(const uint32_t begin, fresh());
    SLUICE_ASSIGN(const uint32_t end, fresh());
    epsilon(loop, begin);
    epsilon(end, loop);
    return add(child, begin, end);
  }

  Status add_graph(const Node& node, uint32_t from, uint32_t to) {
    std::vector<uint32_t> vertex(static_cast<size_t>(node.vertices));
    for (uint32_t& v : vertex) {
      SLUICE_ASSIGN(v, fresh());
    }
    epsilon(from, vertex.front());
    epsilon(vertex.back(), to);
    for (const GraphEdge& e : node.edges) {
      const uint32_t a = vertex[static_cast<size_t>(e.from)], b = vertex[static_cast<size_t>(e.to)];
      if (e.label == GraphEdge::kEpsilon) {
        epsilon(a, b);
      } else {
        SLUICE_TRY(add(e.label, a, b));
      }
    }
    return {};
  }

  Result<Dfa> dfa_of(NodeId node) {
    SLUICE_ASSIGN(const Nfa nfa, build_nfa(grammar_, node, nullable_, budget_));
    return determinise(nfa, budget_);
  }

  // Both automata side by side: a state for each pair that is reached.
  Status add_intersection(const Node& node, uint32_t from, uint32_t to) {
    SLUICE_ASSIGN(const Dfa a, dfa_of(node.children[0]));
    SLUICE_ASSIGN(const Dfa b, dfa_of(node.children[1]));
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> seen;
    std::vector<std::pair<uint32_t, uint32_t>> work;
    const auto state_of = [&](uint32_t x, uint32_t y) -> Result<uint32_t> {
      const auto it = seen.find({x, y});
      if (it != seen.end()) return it->second;
      SLUICE_ASSIGN(const uint32_t state, fresh());
      seen.emplace(std::pair(x, y), state);
      work.emplace_back(x, y);
      return state;
    };
    SLUICE_ASSIGN(const uint32_t start, state_of(0, 0));
    epsilon(from, start);
    for (size_t i = 0; i < work.size(); ++i) {
      const auto pair = work[i];
      const Dfa::State &x = a.states[pair.first], &y = b.states[pair.second];
      const uint32_t state = seen[pair];
      if (x.accept && y.accept) epsilon(state, to);
      for (const Nfa::Edge& e : x.edges) {
        for (const Nfa::Edge& f : y.edges) {
          const uint8_t lo = std::max(e.lo, f.lo), hi = std::min(e.hi, f.hi);
          if (lo > hi) continue;
          SLUICE_ASSIGN(const uint32_t next, state_of(e.to, f.to));
          at(state).edges.push_back({lo, hi, next});
        }
      }
    }
    return {};
  }

  Status add_free(const Node& node, uint32_t from, uint32_t to) {
    constexpr int32_t kCloses = 0, kBarred = 1;
    AhoCorasick strings;
    for (size_t i = 0; i < node.strings.size(); ++i)
      strings.add(node.strings[i], i < node.closing ? kCloses : kBarred);
    strings.build();
    std::vector<uint32_t> state(strings.size());
    for (uint32_t& s : state) {
      SLUICE_ASSIGN(s, fresh());
      at(s).free = true;
    }
    epsilon(from, state[AhoCorasick::kRoot]);
    const bool ends = node.kind == Node::Kind::free_end;
    for (uint32_t s = 0; s < state.size(); ++s) {
      if (strings.longest_match(s) != AhoCorasick::kRoot) continue;  // never entered
      if (ends) epsilon(state[s], to);
      for (int byte = 0; byte < 256; ++byte) {
        const uint32_t next = strings.step(s, static_cast<uint8_t>(byte));
        const uint32_t match = strings.longest_match(next);
        const bool matched = match != AhoCorasick::kRoot;
        if (matched && strings.value(match) == kBarred) continue;
        auto& edges = at(state[s]).edges;
        const uint32_t target = matched ? to : state[next];
        if (!edges.empty() && edges.back().to == target && edges.back().hi + 1 == byte) {
          edges.back().hi = static_cast<uint8_t>(byte);
        } else {
          edges.push_back({static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), target});
        }
      }
    }
    return {};
  }

  const Grammar& grammar_;
  const std::vector<bool>& nullable_;
  Budget& budget_;
  Nfa nfa_;
};

using StateSet = std::vector<uint32_t>;  // sorted

class Determiniser {
 public:
  Determiniser(const Nfa& nfa, Budget& budget) : nfa_(nfa), budget_(budget), mark_(nfa.states.size()) {}

  Result<Dfa> run() {
    StateSet start{nfa_.start};
    SLUICE_TRY(state_of(start).status());
    for (size_t i = 0; i < sets_.size(); ++i) {
      SLUICE_TRY(budget_.check_time());
      SLUICE_TRY(expand(i));
    }
    return std::move(dfa_);
  }

 private:
  // Adds everything that epsilon reaches; keeps only states that matter to what follows.
  void close(StateSet& set) {
    ++round_;
    for (uint32_t s : set) mark_[s] = round_;
    for (size_t i = 0; i < set.size(); ++i) {
      for (uint32_t next : nfa_.states[set[i]].epsilon) {
        if (mark_[next] == round_) continue;
        mark_[next] = round_;
        set.push_back(next);
      }
    }
    std::erase_if(set, [&](uint32_t s) {
      const Nfa::State& state = nfa_.states[s];
      return s != nfa_.accept && !state.free && state.edges.empty() && state.calls.empty();
    });
    std::sort(set.begin(), set.end());
  }

  Result<uint32_t> state_of(StateSet& set) {
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    close(set);
    const auto [it, added] = ids_.emplace(set, static_cast<uint32_t>(dfa_.states.size()));
    if (!added) return it->second;
    SLUICE_TRY(budget_.use_states(1));
    Dfa::State state;
    for (uint32_t s : set) {
      state.accept |= s == nfa_.accept;
      state.free |= nfa_.states[s].free;
    }
    dfa_.states.push_back(std::move(state));
    sets_.push_back(&it->first);
    return it->second;
  }

  Status expand(size_t index) {
    for (StateSet& t : targets_) t.clear();
    // Where any range begins or ends: between two of these all bytes act alike.
    std::vector<bool> cut(257);
    cut[0] = true;
    std::vector<std::pair<RuleId, uint32_t>> calls;
    for (uint32_t s : *sets_[index]) {
      for (const Nfa::Edge& e : nfa_.states[s].edges) cut[e.lo] = cut[size_t{e.hi} + 1] = true;
      for (const Nfa::Call& c : nfa_.states[s].calls) calls.emplace_back(c.rule, c.to);
    }
    for (uint32_t s : *sets_[index]) {
      for (const Nfa::Edge& e : nfa_.states[s].edges) {
        for (size_t b = e.lo; b <= e.hi; ++b) {
          if (cut[b]) targets_[b].push_back(e.to);
        }
      }
    }
    for (size_t b = 0; b < 256;) {
      size_t end = b + 1;
      while (end < 256 && !cut[end]) ++end;
      if (!targets_[b].empty()) {
        SLUICE_ASSIGN(const uint32_t to, state_of(targets_[b]));
        auto& edges = dfa_.states[index].edges;
        if (!edges.empty() && edges.back().to == to && edges.back().hi + 1 == static_cast<int>(b)) {
          edges.back().hi = static_cast<uint8_t>(end - 1);
        } else {
          edges.push_back({static_cast<uint8_t>(b), static_cast<uint8_t>(end - 1), to});
        }
      }
      b = end;
    }
    std::sort(calls.begin(), calls.end());
    for (size_t i = 0; i < calls.size();) {
      StateSet targets;
      const RuleId rule = calls[i].first;
      for (; i < calls.size() && calls[i].first == rule; ++i) targets.push_back(calls[i].second);
      SLUICE_ASSIGN(const uint32_t to, state_of(targets));
      dfa_.states[index].calls.push_back({rule, to});
    }
    return {};
  }

  const Nfa& nfa_;
  Budget& budget_;
  std::vector<uint32_t> mark_;
  uint32_t round_ = 0;
  std::map<StateSet, uint32_t> ids_;
  std::vector<const StateSet*> sets_;  // by DFA state
  std::vector<StateSet> targets_ = std::vector<StateSet>(256);
  Dfa dfa_;
};

}  // namespace

Result<Nfa> build_nfa(const Grammar& grammar, NodeId node, const std::vector<bool>& nullable,
                      Budget& budget) {
  return NfaBuilder(grammar, nullable, budget).build(node);
}

Result<Dfa> determinise(const Nfa& nfa, Budget& budget) { return Determiniser(nfa, budget).run(); }

}  // namespace sluice::text::grammar
