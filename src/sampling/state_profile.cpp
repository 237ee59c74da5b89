#include "sampling/state_profile.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "sampling/token_mask.h"

namespace sluice::sampling {
namespace {

using text::grammar::Automaton;
using text::grammar::RuleId;
using text::grammar::Stacks;
using text::grammar::StateId;
using text::grammar::Thread;

constexpr size_t kMaxWork = 20'000'000;  // threads visited for one profile
constexpr size_t kMaxStatesOfKey = 20'000;

/// Tokens found to fit, and nodes of the trie where the rule may be finished.
struct Findings {
  TokenMask fits;
  std::vector<const TokenTrie::Node*> exits;
};

// Walks a rule that calls nothing: one state, no stack.
void walk_leaf(const Automaton& automaton, StateId start, const TokenTrie& trie, Findings& found) {
  std::unordered_map<StateId, std::array<StateId, 256>> rows;
  const auto row_of = [&](StateId state) -> const std::array<StateId, 256>& {
    const auto [it, added] = rows.try_emplace(state);
    if (added) {
      it->second.fill(Automaton::kNone);
      for (const Automaton::Edge& e : automaton.edges(automaton.state(state)))
        std::fill(it->second.begin() + e.lo, it->second.begin() + e.hi + 1, e.target);
    }
    return it->second;
  };
  struct Level {
    StateId state;
    const std::array<StateId, 256>* row;
  };
  std::vector<Level> levels(TokenTrie::kMaxBytes + 1);
  levels[0] = {start, &row_of(start)};
  const std::vector<TokenTrie::Node>& nodes = trie.nodes();
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const Level& from = levels[node.depth];
    const StateId next = (*from.row)[node.byte];
    if (next == Automaton::kNone) {
      i = node.skip;
      continue;
    }
    for (int32_t id : trie.tokens_at(node)) found.fits.set(id);
    if (automaton.state(next).accept) found.exits.push_back(&node);
    // References into the map stay where they are when it grows.
    levels[size_t{node.depth} + 1] = next == from.state ? from : Level{next, &row_of(next)};
    ++i;
  }
}

bool walk_any(const Automaton& automaton, StateId start, const TokenTrie& trie, Findings& found) {
  Stacks stacks(automaton);
  std::vector<Thread> threads{{start, Stacks::kBottom}};
  size_t work = 0;
  walk(trie, stacks, threads, [&](const TokenTrie::Node& node, std::span<const Thread> there) {
    for (int32_t id : trie.tokens_at(node)) found.fits.set(id);
    const bool exits =
        std::any_of(there.begin(), there.end(), [](const Thread& t) { return t.state == Stacks::kEnded; });
    if (exits) found.exits.push_back(&node);
    work += there.size();
    return work < kMaxWork && !stacks.overflowed();
  });
  return work < kMaxWork && !stacks.overflowed();
}

}  // namespace

StateProfile make_profile(const Automaton& automaton, StateId id, const Vocabulary& vocabulary) {
  const Automaton::State& state = automaton.state(id);
  const Automaton::RuleInfo& rule = automaton.rule(state.rule);
  StateProfile out;
  Findings found{TokenMask(vocabulary.size()), {}};
  const auto walk_through = [&](const TokenTrie& trie) {
    if (!rule.leaf) return walk_any(automaton, id, trie, found);
    walk_leaf(automaton, id, trie, found);
    return true;
  };
  if (!walk_through(vocabulary.trie())) {
    out.too_ambiguous = true;
    return out;
  }
  std::vector<std::pair<std::string, int32_t>> remains;
  for (const TokenTrie::Node* node : found.exits) {
    if (!rule.called) break;  // nobody goes on
    for (int32_t token : vocabulary.trie().tokens_below(*node).subspan(node->own_tokens)) {
      if (!found.fits.test(token))
        remains.emplace_back(vocabulary.bytes_of(token).substr(size_t{node->depth} + 1), token);
    }
  }
  out.remains = TokenTrie(std::move(remains));
  if (state.free && !walk_through(vocabulary.special_trie())) out.too_ambiguous = true;
  if (found.fits.count() * 128 < vocabulary.size()) {
    for (int32_t token = 0; token < vocabulary.size(); ++token) {
      if (found.fits.test(token)) out.few.push_back(token);
    }
  } else {
    out.words.assign(found.fits.words().begin(), found.fits.words().end());
  }
  return out;
}

std::vector<uint32_t> alike_states(const Automaton& automaton, RuleId id, size_t steps) {
  // Partition refinement (Moore 1956), one round for each byte. After the first rounds a state can change its
  // class only if one that it leads to just did, so that later rounds look at few.
  const Automaton::RuleInfo& rule = automaton.rule(id);
  const size_t n = rule.last - rule.first;
  std::vector<uint32_t> classes(n, 0), dirty(n), changed;
  std::vector<std::vector<uint32_t>> sources(n);
  for (uint32_t s = 0; s < n; ++s) {
    dirty[s] = s;
    for (const Automaton::Edge& e : automaton.edges(automaton.state(rule.first + s))) {
      auto& list = sources[e.target - rule.first];
      if (list.empty() || list.back() != s) list.push_back(s);
    }
  }
  std::vector<uint32_t> members{static_cast<uint32_t>(n)};  // by class
  for (size_t round = 0; round <= steps && !dirty.empty(); ++round) {
    std::map<std::string, std::vector<uint32_t>> groups;  // of what looks the same now, by old class
    for (uint32_t s : dirty) {
      std::string look;
      const auto put = [&](uint32_t v) { look.append(reinterpret_cast<const char*>(&v), sizeof(v)); };
      const Automaton::State& state = automaton.state(rule.first + s);
      put(classes[s]);
      put(uint32_t{state.accept} << 1 | uint32_t{state.free});
      for (const Automaton::Edge& e : automaton.edges(state)) {
        put(uint32_t{e.lo} << 8 | e.hi);
        put(classes[e.target - rule.first]);
      }
      groups[std::move(look)].push_back(s);
    }
    // Whoever is not dirty still looks as the class did; without such members its first group keeps the
    // number.
    std::map<uint32_t, uint32_t> left;
    for (uint32_t s : dirty) left.try_emplace(classes[s], members[classes[s]]).first->second -= 1;
    changed.clear();
    for (const auto& [look, states] : groups) {
      uint32_t& others = left[classes[states[0]]];
      if (others == 0) {
        others = 1;
        continue;
      }
      const auto fresh = static_cast<uint32_t>(members.size());
      members.push_back(static_cast<uint32_t>(states.size()));
      for (uint32_t s : states) {
        --members[classes[s]];
        classes[s] = fresh;
        changed.push_back(s);
      }
    }
    dirty.clear();
    for (uint32_t s : changed) dirty.insert(dirty.end(), sources[s].begin(), sources[s].end());
    std::sort(dirty.begin(), dirty.end());
    dirty.erase(std::unique(dirty.begin(), dirty.end()), dirty.end());
  }
  return classes;
}

RuleProfiles::RuleProfiles(const Automaton& automaton, RuleId id, const Vocabulary& vocabulary)
    : profiles_(automaton.rule(id).last - automaton.rule(id).first) {
  // In small rules few states are alike; with calls it cannot be said from the rule alone.
  if (automaton.rule(id).leaf && profiles_.size() > 64)
    slot_ = alike_states(automaton, id, vocabulary.trie().max_depth());
}

RuleProfiles::~RuleProfiles() {
  for (auto& p : profiles_) delete p.load();
}

const StateProfile& RuleProfiles::get(const Automaton& automaton, StateId state,
                                      const Vocabulary& vocabulary) {
  const size_t index = state - automaton.rule(automaton.state(state).rule).first;
  std::atomic<const StateProfile*>& slot = profiles_[slot_.empty() ? index : slot_[index]];
  if (const StateProfile* known = slot.load(std::memory_order_acquire)) return *known;
  // Two threads may compute the same profile; the first one's stays.
  auto made = std::make_unique<StateProfile>(make_profile(automaton, state, vocabulary));
  const StateProfile* expected = nullptr;
  if (!slot.compare_exchange_strong(expected, made.get(), std::memory_order_acq_rel)) return *expected;
  bytes_ += made->memory_bytes();
  return *made.release();
}

std::shared_ptr<RuleProfiles> ProfileCache::of_rule(const Automaton& automaton, RuleId id,
                                                    const Vocabulary& vocabulary) {
  const Automaton::RuleInfo& rule = automaton.rule(id);
  const size_t size = rule.last - rule.first;
  if (!rule.leaf || size > kMaxStatesOfKey) return std::make_shared<RuleProfiles>(automaton, id, vocabulary);
  // The automaton itself is the key: states count from the rule's first one.
  std::string key(1, rule.called ? 'c' : '-');
  const auto put = [&](uint32_t n) { key.append(reinterpret_cast<const char*>(&n), sizeof(n)); };
  for (StateId s = rule.first; s < rule.last; ++s) {
    const Automaton::State& state = automaton.state(s);
    put(uint32_t{state.num_edges} << 2 | uint32_t{state.accept} << 1 | uint32_t{state.free});
    for (const Automaton::Edge& e : automaton.edges(state)) {
      put(uint32_t{e.lo} << 8 | e.hi);
      put(e.target - rule.first);
    }
  }
  const std::lock_guard lock(mutex_);
  const auto known = index_.find(key);
  if (known != index_.end()) {
    entries_.splice(entries_.begin(), entries_, known->second);
    return known->second->profiles;
  }
  entries_.push_front({std::move(key), std::make_shared<RuleProfiles>(automaton, id, vocabulary)});
  index_[entries_.front().key] = entries_.begin();
  size_t bytes = 0;
  for (auto it = entries_.begin(); it != entries_.end();) {
    bytes += it->key.size() + it->profiles->memory_bytes();
    if (bytes <= max_bytes_ || it == entries_.begin()) {
      ++it;
    } else {
      index_.erase(it->key);
      it = entries_.erase(it);
    }
  }
  return entries_.front().profiles;
}

}  // namespace sluice::sampling
