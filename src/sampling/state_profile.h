// What can be said of every token once for each state of an automaton, whoever called its rule.
//
// A token's bytes from a state on either stay within the rule (and what it calls): then the token fits or
// does not, whatever the stack. Or they finish the rule midway: then only what remains of them depends on the
// callers. Those remains are few and much alike, so that they are kept as a trie of their own. A mask is then
// one set and one short walk for each thread, instead of a walk through the vocabulary. (XGrammar, Dong et
// al. 2024, has the idea of deciding tokens ahead where the stack does not matter.)
#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sampling/vocabulary.h"

namespace sluice::sampling {

struct StateProfile {
  // Tokens that fit whatever the stack; as a list where they are few.
  std::vector<int32_t> few;
  std::vector<uint64_t> words;
  // Of tokens that finish the rule midway and do not fit by another way: what remains.
  TokenTrie remains;
  bool too_ambiguous = false;  // given up; nothing above is filled in

  size_t memory_bytes() const {
    return sizeof(*this) + few.size() * sizeof(int32_t) + words.size() * sizeof(uint64_t) +
           remains.memory_bytes();
  }
};

/// Computes the profile of `state` by its own edges; what the state calls has threads of its own.
StateProfile make_profile(const text::grammar::Automaton& automaton, text::grammar::StateId state,
                          const Vocabulary& vocabulary);

/// For each state of a rule that calls nothing, a number that it shares with those that no `steps` bytes tell
/// apart: they have one profile between them. (In a string of at most a thousand characters, all but those
/// near its end.)
std::vector<uint32_t> alike_states(const text::grammar::Automaton& automaton, text::grammar::RuleId rule,
                                   size_t steps);

/// The profiles of one rule's states, each computed when it is first asked for. Safe from any thread.
class RuleProfiles {
 public:
  RuleProfiles(const text::grammar::Automaton& automaton, text::grammar::RuleId rule,
               const Vocabulary& vocabulary);
  ~RuleProfiles();
  RuleProfiles(const RuleProfiles&) = delete;
  RuleProfiles& operator=(const RuleProfiles&) = delete;

  const StateProfile& get(const text::grammar::Automaton& automaton, text::grammar::StateId state,
                          const Vocabulary& vocabulary);
  size_t memory_bytes() const {
    return profiles_.size() * sizeof(void*) + slot_.size() * sizeof(uint32_t) + bytes_.load();
  }

 private:
  std::vector<uint32_t> slot_;  // by state; empty: each has its own
  std::vector<std::atomic<const StateProfile*>> profiles_;
  std::atomic<size_t> bytes_{0};
};

/// Shares the profiles of equal rules among grammars: JSON's strings and numbers are the same in every
/// schema. Holds on to what was used last, up to about `max_bytes`. Safe from any thread.
class ProfileCache {
 public:
  explicit ProfileCache(size_t max_bytes) : max_bytes_(max_bytes) {}
  std::shared_ptr<RuleProfiles> of_rule(const text::grammar::Automaton& automaton, text::grammar::RuleId rule,
                                        const Vocabulary& vocabulary);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<RuleProfiles> profiles;
  };
  std::mutex mutex_;
  size_t max_bytes_;
  std::list<Entry> entries_;  // used last first
  std::map<std::string_view, std::list<Entry>::iterator> index_;
};

}  // namespace sluice::sampling
