// What a grammar means, by interpreting its expressions: slow, and sharing nothing with the automaton that it
// is the measure of. For tests and fuzz targets; grammars that compile() accepts.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "text/grammar/grammar.h"
#include "text/utf8.h"

namespace sluice::text::grammar {

class ReferenceAcceptor {
 public:
  explicit ReferenceAcceptor(const Grammar& grammar) : g_(grammar) {
    productive_.assign(g_.rules().size(), false);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t r = 0; r < productive_.size(); ++r) {
        if (!productive_[r] && productive(g_.rules()[r].body)) changed = productive_[r] = true;
      }
    }
  }

  bool matches(std::string_view text) {
    begin(text);
    return at(root(), 0).ends.count(text.size()) > 0;
  }
  /// Whether some text that the grammar matches begins with `text`. Where the grammar has an intersection,
  /// true may be wrong, false never.
  bool viable(std::string_view text) {
    begin(text);
    return at(root(), 0).viable;
  }

 private:
  struct Found {
    std::set<size_t> ends;  // where the node may end
    bool viable = false;    // the node may take all that is left, and perhaps want more
  };

  NodeId root() const { return g_.rule(g_.root()).body; }
  void begin(std::string_view text) {
    text_ = text;
    memo_.clear();
    open_.clear();
  }

  bool productive(NodeId id) const {
    const Node& node = g_.node(id);
    const auto is = [&](NodeId child) { return productive(child); };
    switch (node.kind) {
      case Node::Kind::sequence:
        return std::all_of(node.children.begin(), node.children.end(), is);
      case Node::Kind::choice:
        return std::any_of(node.children.begin(), node.children.end(), is);
      case Node::Kind::repeat:
        return node.min == 0 || is(node.children[0]);
      case Node::Kind::rule:
        return productive_[static_cast<size_t>(node.rule)];
      case Node::Kind::chars:
        return !node.chars.empty();
      case Node::Kind::graph:
        return reaches_end(node, 0);
      default:
        return true;
    }
  }

  bool reaches_end(const Node& graph, int32_t from) const {
    std::set<int32_t> seen{from};
    for (size_t before = 0; before != seen.size();) {
      before = seen.size();
      for (const GraphEdge& e : graph.edges) {
        if (seen.count(e.from) > 0 && (e.label == GraphEdge::kEpsilon || productive(e.label)))
          seen.insert(e.to);
      }
    }
    return seen.count(graph.vertices - 1) > 0;
  }

  const Found& at(NodeId id, size_t from) {
    static const Found kNothing;
    const auto key = std::pair(id, from);
    const auto it = memo_.find(key);
    if (it != memo_.end()) return it->second;
    if (!open_.insert(key).second) return kNothing;  // a cycle that compile() has found to be unproductive
    Found found = find(g_.node(id), from);
    open_.erase(key);
    return memo_[key] = std::move(found);
  }

  Found find(const Node& node, size_t from) {
    Found out;
    const std::string_view rest = text_.substr(from);
    switch (node.kind) {
      case Node::Kind::bytes:
        if (rest.substr(0, node.bytes.size()) == node.bytes) out.ends.insert(from + node.bytes.size());
        out.viable = std::string_view(node.bytes).substr(0, rest.size()) == rest;
        return out;
      case Node::Kind::chars:
        return find_char(node.chars, from);
      case Node::Kind::sequence:
        return find_sequence(node, from);
      case Node::Kind::choice:
        for (NodeId child : node.children) merge(out, at(child, from));
        return out;
      case Node::Kind::repeat:
        return find_repeat(node, from);
      case Node::Kind::rule:
        return at(g_.rule(node.rule).body, from);
      case Node::Kind::graph:
        return find_graph(node, from);
      case Node::Kind::intersection: {
        const Found a = at(node.children[0], from);
        const Found& b = at(node.children[1], from);
        std::set_intersection(a.ends.begin(), a.ends.end(), b.ends.begin(), b.ends.end(),
                              std::inserter(out.ends, out.ends.end()));
        out.viable = a.viable && b.viable;
        return out;
      }
      case Node::Kind::free_text:
      case Node::Kind::free_end:
        return find_free(node, from);
    }
    return out;
  }

  static void merge(Found& into, const Found& other) {
    into.ends.insert(other.ends.begin(), other.ends.end());
    into.viable |= other.viable;
  }

  Found find_char(const CharSet& chars, size_t from) const {
    Found out;
    const std::string_view rest = text_.substr(from, 4);
    for (const CharRange& r : chars) {
      out.viable |= rest.empty();
      if (rest.empty()) continue;
      const Utf8Char c = decode_utf8(rest);
      if (c.valid && c.code >= r.lo && c.code <= r.hi) {
        out.ends.insert(from + c.length);
        out.viable |= from + c.length == text_.size();
      }
      if (!c.valid && c.truncated && from + rest.size() == text_.size()) out.viable |= may_begin(rest, r);
    }
    return out;
  }

  // Whether an unfinished character may become one of the range: its lowest and highest completions.
  static bool may_begin(std::string_view part, const CharRange& range) {
    const auto lead = static_cast<uint8_t>(part[0]);
    const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char32_t lo = lead & (0xFF >> (length + 1)), hi = lo;
    for (size_t i = 1; i < length; ++i) {
      const bool known = i < part.size();
      lo = lo << 6 | (known ? static_cast<uint8_t>(part[i]) & 0x3F : 0);
      hi = hi << 6 | (known ? static_cast<uint8_t>(part[i]) & 0x3F : 0x3F);
    }
    static constexpr char32_t kFirst[] = {0x80, 0x800, 0x10000};  // of this length; less would be overlong
    return range.lo <= hi && range.hi >= std::max(lo, kFirst[length - 2]);
  }

  Found find_sequence(const Node& node, size_t from) {
    Found out;
    std::set<size_t> places{from};
    for (size_t c = 0; c < node.children.size(); ++c) {
      const bool rest = std::all_of(node.children.begin() + static_cast<std::ptrdiff_t>(c) + 1,
                                    node.children.end(), [&](NodeId n) { return productive(n); });
      std::set<size_t> next;
      for (size_t p : places) {
        const Found& f = at(node.children[c], p);
        next.insert(f.ends.begin(), f.ends.end());
        out.viable |= f.viable && rest;
      }
      places = std::move(next);
    }
    out.viable |= places.count(text_.size()) > 0;
    out.ends = std::move(places);
    return out;
  }

  Found find_repeat(const Node& node, size_t from) {
    Found out;
    const NodeId child = node.children[0];
    std::set<std::pair<int32_t, size_t>> seen{{0, from}};
    std::vector<std::pair<int32_t, size_t>> work{{0, from}};
    while (!work.empty()) {
      const auto [count, p] = work.back();
      work.pop_back();
      if (count >= node.min) {
        out.ends.insert(p);
        out.viable |= p == text_.size();
      }
      if (count == node.max) continue;
      const Found f = at(child, p);
      out.viable |= f.viable;  // `min` repetitions more are no obstacle: the child can match something
      // Without an upper bound counting stops at the lower one.
      const int32_t next = node.max == kUnbounded ? std::min(count + 1, node.min) : count + 1;
      for (size_t end : f.ends) {
        if (seen.emplace(next, end).second) work.emplace_back(next, end);
      }
    }
    return out;
  }

  Found find_graph(const Node& node, size_t from) {
    Found out;
    std::set<std::pair<int32_t, size_t>> seen{{0, from}};
    std::vector<std::pair<int32_t, size_t>> work{{0, from}};
    while (!work.empty()) {
      const auto [vertex, p] = work.back();
      work.pop_back();
      if (vertex == node.vertices - 1) {
        out.ends.insert(p);
        out.viable |= p == text_.size();
      }
      for (const GraphEdge& e : node.edges) {
        if (e.from != vertex) continue;
        Found f;
        if (e.label == GraphEdge::kEpsilon) {
          f.ends.insert(p);
        } else {
          f = at(e.label, p);
        }
        out.viable |= f.viable && reaches_end(node, e.to);
        for (size_t end : f.ends) {
          if (seen.emplace(e.to, end).second) work.emplace_back(e.to, end);
        }
      }
    }
    return out;
  }

  Found find_free(const Node& node, size_t from) const {
    Found out;
    size_t end = std::string_view::npos;  // of the string that is complete first, of several the longest
    size_t length = 0;
    bool closes = false;
    for (size_t i = 0; i < node.strings.size(); ++i) {
      const size_t at = text_.find(node.strings[i], from), size = node.strings[i].size();
      if (at == std::string_view::npos || std::pair(at + size, length) >= std::pair(end, size)) continue;
      end = at + size;
      length = size;
      closes = i < node.closing;
    }
    if (node.kind == Node::Kind::free_text) {
      if (closes) out.ends.insert(end);
      out.viable = end == std::string_view::npos || (closes && end == text_.size());
    } else {
      for (size_t p = from; p <= text_.size() && p < end; ++p) out.ends.insert(p);
      out.viable = end == std::string_view::npos;
    }
    return out;
  }

  const Grammar& g_;
  std::vector<bool> productive_;
  std::string_view text_;
  std::map<std::pair<NodeId, size_t>, Found> memo_;
  std::set<std::pair<NodeId, size_t>> open_;
};

}  // namespace sluice::text::grammar
