#include "text/grammar/grammar.h"

#include <algorithm>

namespace sluice::text::grammar {
namespace {

constexpr CharRange kSurrogates{0xD800, 0xDFFF};

CharSet sorted_and_merged(CharSet set) {
  std::erase_if(set, [](const CharRange& r) { return r.lo > r.hi; });
  std::sort(set.begin(), set.end(), [](const CharRange& a, const CharRange& b) { return a.lo < b.lo; });
  CharSet out;
  for (const CharRange& r : set) {
    if (!out.empty() && r.lo <= out.back().hi + 1) {
      out.back().hi = std::max(out.back().hi, r.hi);
    } else {
      out.push_back(r);
    }
  }
  return out;
}

// What [0, kMaxChar] has besides a sorted set.
CharSet gaps(const CharSet& set) {
  CharSet out;
  char32_t next = 0;
  for (const CharRange& r : set) {
    if (r.lo > next) out.push_back({next, r.lo - 1});
    next = r.hi + 1;
  }
  if (next <= kMaxChar) out.push_back({next, kMaxChar});
  return out;
}

}  // namespace

CharSet complement(const CharSet& set) {
  CharSet with_surrogates = set;
  with_surrogates.push_back(kSurrogates);
  return gaps(sorted_and_merged(std::move(with_surrogates)));
}

CharSet normalised(CharSet set) { return complement(gaps(sorted_and_merged(std::move(set)))); }

CharSet without(const CharSet& set, const CharSet& taken) {
  CharSet rest = complement(set);
  rest.insert(rest.end(), taken.begin(), taken.end());
  return complement(rest);
}

CharSet intersection(const CharSet& a, const CharSet& b) { return without(a, complement(b)); }

NodeId Grammar::add(Node node) {
  nodes_.push_back(std::move(node));
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Grammar::bytes(std::string_view text) {
  return add({.kind = Node::Kind::bytes, .bytes = std::string(text)});
}

NodeId Grammar::chars(CharSet set) {
  return add({.kind = Node::Kind::chars, .chars = normalised(std::move(set))});
}

NodeId Grammar::sequence(std::vector<NodeId> children) {
  if (children.size() == 1) return children[0];
  return add({.kind = Node::Kind::sequence, .children = std::move(children)});
}

NodeId Grammar::choice(std::vector<NodeId> children) {
  if (children.size() == 1) return children[0];
  return add({.kind = Node::Kind::choice, .children = std::move(children)});
}

NodeId Grammar::repeat(NodeId child, int32_t min, int32_t max) {
  return add({.kind = Node::Kind::repeat, .children = {child}, .min = min, .max = max});
}

NodeId Grammar::graph(int32_t vertices, std::vector<GraphEdge> edges) {
  return add({.kind = Node::Kind::graph, .vertices = vertices, .edges = std::move(edges)});
}

NodeId Grammar::intersection(NodeId a, NodeId b) {
  return add({.kind = Node::Kind::intersection, .children = {a, b}});
}

NodeId Grammar::free_text(std::vector<std::string> closing, const std::vector<std::string>& barred) {
  const size_t count = closing.size();
  closing.insert(closing.end(), barred.begin(), barred.end());
  return add({.kind = Node::Kind::free_text, .strings = std::move(closing), .closing = count});
}

NodeId Grammar::free_end(std::vector<std::string> barred) {
  return add({.kind = Node::Kind::free_end, .strings = std::move(barred)});
}

RuleId Grammar::add_rule(std::string name, int32_t tag) {
  rules_.push_back({std::move(name), -1, tag});
  return static_cast<RuleId>(rules_.size() - 1);
}

NodeId Grammar::ref(RuleId rule) { return add({.kind = Node::Kind::rule, .rule = rule}); }

RuleId Grammar::include(const Grammar& other) {
  const auto nodes = static_cast<NodeId>(nodes_.size());
  const auto rules = static_cast<RuleId>(rules_.size());
  for (Node node : other.nodes_) {
    for (NodeId& child : node.children) child += nodes;
    for (GraphEdge& e : node.edges) e.label += e.label == GraphEdge::kEpsilon ? 0 : nodes;
    node.rule += node.kind == Node::Kind::rule ? rules : 0;
    nodes_.push_back(std::move(node));
  }
  for (Rule rule : other.rules_) {
    rule.body += rule.body < 0 ? 0 : nodes;
    rules_.push_back(std::move(rule));
  }
  return rules + other.root_;
}

Status Grammar::within(const Limits& limits) const {
  if (nodes_.size() > limits.max_nodes || rules_.size() > limits.max_rules) {
    return {StatusCode::resource_exhausted,
            fmt::format("the grammar has more than {} expressions or {} rules; simplify it", limits.max_nodes,
                        limits.max_rules)};
  }
  return {};
}

bool is_nullable(const Grammar& grammar, NodeId id, const std::vector<bool>& rules) {
  const Node& node = grammar.node(id);
  const auto nullable = [&](NodeId child) { return is_nullable(grammar, child, rules); };
  switch (node.kind) {
    case Node::Kind::bytes:
      return node.bytes.empty();
    case Node::Kind::chars:
    case Node::Kind::free_text:
      return false;
    case Node::Kind::free_end:
      return true;
    case Node::Kind::sequence:
    case Node::Kind::intersection:
      return std::all_of(node.children.begin(), node.children.end(), nullable);
    case Node::Kind::choice:
      return std::any_of(node.children.begin(), node.children.end(), nullable);
    case Node::Kind::repeat:
      return node.min == 0 || nullable(node.children[0]);
    case Node::Kind::rule:
      return rules[static_cast<size_t>(node.rule)];
    case Node::Kind::graph: {
      std::vector<bool> reached(static_cast<size_t>(node.vertices));
      reached[0] = true;
      std::vector<bool> empty(node.edges.size());
      for (size_t e = 0; e < node.edges.size(); ++e)
        empty[e] = node.edges[e].label == GraphEdge::kEpsilon || nullable(node.edges[e].label);
      for (bool changed = true; changed;) {
        changed = false;
        for (size_t e = 0; e < node.edges.size(); ++e) {
          const auto from = static_cast<size_t>(node.edges[e].from),
                     to = static_cast<size_t>(node.edges[e].to);
          if (empty[e] && reached[from] && !reached[to]) changed = reached[to] = true;
        }
      }
      return reached.back();
    }
  }
  return false;
}

std::vector<bool> nullable_rules(const Grammar& grammar) {
  std::vector<bool> out(grammar.rules().size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t r = 0; r < out.size(); ++r) {
      if (!out[r] && is_nullable(grammar, grammar.rules()[r].body, out)) changed = out[r] = true;
    }
  }
  return out;
}

}  // namespace sluice::text::grammar
