// From what a client asks for to a Constraint. Compiling happens on the caller's thread, within the budgets
// of text::grammar::Limits; what was compiled last is kept, up to a bound of memory. Safe from any thread.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "sampling/constraint.h"
#include "sluice/sampling.h"
#include "text/grammar/grammar.h"
#include "text/tokenizer.h"

namespace sluice::sampling {

struct ConstraintCacheLimits {
  size_t max_entries = 128;
  size_t max_bytes = size_t{64} << 20;          // of constraints
  size_t max_profile_bytes = size_t{64} << 20;  // of profiles that constraints share
};

/// The grammar that a request asks for. Errors name the part at fault.
Result<text::grammar::Grammar> grammar_of(const StructuredOutput& asked,
                                          const text::grammar::Limits& limits = {});

/// Equal for what has the same grammar.
std::string constraint_key(const StructuredOutput& asked);

class ConstraintCompiler {
 public:
  using Limits = text::grammar::Limits;
  /// `end_ids`: the model's end-of-sequence tokens, which are part of no text. The vocabulary is sorted when
  /// the first constraint is compiled: some tenths of a second for a quarter of a million tokens.
  ConstraintCompiler(text::Tokenizer tokenizer, std::vector<int32_t> end_ids, Limits limits = {},
                     ConstraintCacheLimits cache_limits = {});

  Result<std::shared_ptr<const Constraint>> compile(const StructuredOutput& asked);
  /// A grammar made otherwise (tool calls); `key` names what it was made from, for the next time.
  Result<std::shared_ptr<const Constraint>> compile(const std::string& key,
                                                    const text::grammar::Grammar& grammar);
  /// What compile() under this key has left, or null.
  std::shared_ptr<const Constraint> find(const std::string& key);

  const Limits& limits() const { return limits_; }
  /// Makes what all constraints need.
  std::shared_ptr<const Vocabulary> vocabulary();
  size_t entries();

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const Constraint> constraint;
  };
  void keep(const std::string& key, std::shared_ptr<const Constraint> constraint);

  text::Tokenizer tokenizer_;
  std::vector<int32_t> end_ids_;
  Limits limits_;
  ConstraintCacheLimits cache_limits_;
  ProfileCache profiles_;
  std::shared_ptr<MaskWorker> worker_;
  std::mutex vocabulary_mutex_;
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // used last first
  std::map<std::string_view, std::list<Entry>::iterator> index_;
};

}  // namespace sluice::sampling
