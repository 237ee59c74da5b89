#include "sampling/constraint_compiler.h"

#include "text/grammar/automaton.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/regex_grammar.h"
#include "text/grammar/structural_tag.h"

namespace sluice::sampling {
namespace {

using Kind = StructuredOutput::Kind;
using text::grammar::Grammar;

Result<Json> parse(const std::string& text, const char* what, const text::grammar::Limits& limits) {
  if (text.size() <= limits.max_source_bytes) return parse_json(text, what);
  return Status(StatusCode::resource_exhausted,
                fmt::format("{}: it has {} bytes; at most {}", what, text.size(), limits.max_source_bytes));
}

}  // namespace

std::string constraint_key(const StructuredOutput& asked) {
  std::string key = fmt::format("{}:", static_cast<int>(asked.kind));
  if (asked.kind != Kind::choice) return key + asked.text;
  for (const std::string& c : asked.choices) key += fmt::format("{}:{}", c.size(), c);
  return key;
}

Result<Grammar> grammar_of(const StructuredOutput& asked, const text::grammar::Limits& limits) {
  switch (asked.kind) {
    case Kind::json_object:
      return text::grammar::json_object_grammar();
    case Kind::json_schema: {
      SLUICE_ASSIGN(const Json schema, parse(asked.text, "schema", limits));
      return text::grammar::schema_grammar(schema, limits);
    }
    case Kind::regex:
      return text::grammar::regex_grammar(asked.text, limits);
    case Kind::choice:
      return text::grammar::choice_grammar(asked.choices, limits);
    case Kind::grammar:
      return text::grammar::parse_gbnf(asked.text, limits);
    case Kind::structural_tag: {
      SLUICE_ASSIGN(const Json tag, parse(asked.text, "structural_tag", limits));
      return text::grammar::structural_tag_grammar(tag, limits);
    }
  }
  return invalid_argument("structured_output: unknown kind {}", static_cast<int>(asked.kind));
}

ConstraintCompiler::ConstraintCompiler(text::Tokenizer tokenizer, std::vector<int32_t> end_ids, Limits limits,
                                       ConstraintCacheLimits cache_limits)
    : tokenizer_(std::move(tokenizer)),
      end_ids_(std::move(end_ids)),
      limits_(limits),
      cache_limits_(cache_limits),
      profiles_(cache_limits.max_profile_bytes),
      worker_(std::make_shared<MaskWorker>()) {}

std::shared_ptr<const Vocabulary> ConstraintCompiler::vocabulary() {
  const std::lock_guard lock(vocabulary_mutex_);
  if (!vocabulary_) vocabulary_ = std::make_shared<const Vocabulary>(tokenizer_, end_ids_);
  return vocabulary_;
}

Result<std::shared_ptr<const Constraint>> ConstraintCompiler::compile(const StructuredOutput& asked) {
  const std::string key = constraint_key(asked);
  if (auto known = find(key)) return known;
  SLUICE_ASSIGN(const Grammar grammar, grammar_of(asked, limits_));
  return compile(key, grammar);
}

Result<std::shared_ptr<const Constraint>> ConstraintCompiler::compile(const std::string& key,
                                                                      const Grammar& grammar) {
  SLUICE_ASSIGN(auto automaton, text::grammar::compile(grammar, limits_));
  SLUICE_ASSIGN(auto constraint, Constraint::create(std::move(automaton), vocabulary(), profiles_, worker_));
  keep(key, constraint);
  return constraint;
}

std::shared_ptr<const Constraint> ConstraintCompiler::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto it = index_.find(key);
  if (it == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->constraint;
}

void ConstraintCompiler::keep(const std::string& key, std::shared_ptr<const Constraint> constraint) {
  const std::lock_guard lock(mutex_);
  if (index_.count(key) > 0) return;
  entries_.push_front({key, std::move(constraint)});
  index_[entries_.front().key] = entries_.begin();
  size_t bytes = 0, count = 0;
  for (auto it = entries_.begin(); it != entries_.end();) {
    bytes += it->key.size() + it->constraint->memory_bytes();
    if (++count <= cache_limits_.max_entries && (bytes <= cache_limits_.max_bytes || count == 1)) {
      ++it;
    } else {
      index_.erase(it->key);
      it = entries_.erase(it);
    }
  }
}

size_t ConstraintCompiler::entries() {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace sluice::sampling
