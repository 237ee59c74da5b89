// A context-free grammar over Unicode text: what regexes, JSON Schemas and GBNF files are turned into.
//
// A grammar is a list of rules; a rule is an expression over bytes, classes of code points (spelt in UTF-8)
// and other rules. It is a plain value: automaton.h compiles it, reference_acceptor.h interprets it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice::text::grammar {

using NodeId = int32_t;
using RuleId = int32_t;
inline constexpr int32_t kUnbounded = -1;
inline constexpr char32_t kMaxChar = 0x10FFFF;

/// Code points [lo, hi].
struct CharRange {
  char32_t lo = 0;
  char32_t hi = 0;
  bool operator==(const CharRange&) const = default;
};

/// Sorted, disjoint, without surrogates (UTF-8 has none).
using CharSet = std::vector<CharRange>;
CharSet normalised(CharSet set);
CharSet complement(const CharSet& set);
CharSet without(const CharSet& set, const CharSet& taken);
CharSet intersection(const CharSet& a, const CharSet& b);

/// What compiling a constraint may cost. Whatever goes beyond is refused with resource_exhausted.
struct Limits {
  size_t max_source_bytes = size_t{1} << 20;  // of a regex, grammar or schema
  int max_depth = 200;                        // of nesting: groups, schemas, expressions
  int32_t max_repeat = 100'000;               // of one {m,n}, minItems, maxLength
  size_t max_nodes = 400'000;                 // of expressions
  size_t max_rules = 5'000;
  size_t max_nfa_states = 1'500'000;
  size_t max_states = 150'000;               // of the automaton
  std::chrono::milliseconds max_time{1500};  // of the compiling thread, on a CPU
};

/// One edge of a graph: from one vertex to another by `label`, an expression; kEpsilon: by nothing.
struct GraphEdge {
  static constexpr NodeId kEpsilon = -1;
  int32_t from = 0;
  int32_t to = 0;
  NodeId label = kEpsilon;
};

struct Node {
  enum class Kind {
    bytes,         // `bytes` as they are
    chars,         // one code point of `chars`
    sequence,      // children, one after the other
    choice,        // one of the children; of none: nothing matches
    repeat,        // children[0], min to max times
    rule,          // whatever `rule` matches
    graph,         // the labels on any path from vertex 0 to vertex `vertices` - 1
    intersection,  // what both children match; neither may contain a rule
    free_text,     // any bytes, valid UTF-8 or not, up to and with the first of `strings`, which must be
                   // one of the first `closing`; of strings that end in one place the longest counts
    free_end,      // any bytes without any of `strings` in them
  };
  Kind kind = Kind::bytes;
  std::string bytes;
  CharSet chars;
  std::vector<NodeId> children;
  int32_t min = 0;
  int32_t max = 0;
  RuleId rule = -1;
  int32_t vertices = 0;
  std::vector<GraphEdge> edges;
  std::vector<std::string> strings;
  size_t closing = 0;
};

struct Rule {
  std::string name;
  NodeId body = -1;  // -1: not defined yet
  int32_t tag = -1;  // what the matcher reports for bytes of this rule; -1: that of the caller
};

class Grammar {
 public:
  NodeId bytes(std::string_view text);
  NodeId chars(CharSet set);
  NodeId sequence(std::vector<NodeId> children);
  NodeId choice(std::vector<NodeId> children);
  NodeId repeat(NodeId child, int32_t min, int32_t max = kUnbounded);
  NodeId optional(NodeId child) { return repeat(child, 0, 1); }
  NodeId graph(int32_t vertices, std::vector<GraphEdge> edges);
  NodeId intersection(NodeId a, NodeId b);
  NodeId free_text(std::vector<std::string> closing, const std::vector<std::string>& barred = {});
  NodeId free_end(std::vector<std::string> barred);
  NodeId empty() { return bytes(""); }

  RuleId add_rule(std::string name, int32_t tag = -1);
  void define(RuleId rule, NodeId body) { rules_[static_cast<size_t>(rule)].body = body; }
  NodeId ref(RuleId rule);
  /// Takes in the rules of another grammar, tags and all; gives what its root is here.
  RuleId include(const Grammar& other);

  void set_root(RuleId root) { root_ = root; }
  RuleId root() const { return root_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Rule>& rules() const { return rules_; }
  const Node& node(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  const Rule& rule(RuleId id) const { return rules_[static_cast<size_t>(id)]; }

  /// resource_exhausted once there are more nodes or rules than allowed; readers ask now and then.
  Status within(const Limits& limits) const;

 private:
  NodeId add(Node node);

  std::vector<Node> nodes_;
  std::vector<Rule> rules_;
  RuleId root_ = 0;
};

/// For each rule, whether it matches the empty text.
std::vector<bool> nullable_rules(const Grammar& grammar);
/// Whether `node` matches the empty text, given that of the rules.
bool is_nullable(const Grammar& grammar, NodeId node, const std::vector<bool>& rules);

}  // namespace sluice::text::grammar
