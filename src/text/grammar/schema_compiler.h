// From JSON Schema to grammar, one kind of value a function. json_schema.h says what is understood.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "text/grammar/json_schema.h"
#include "text/grammar/json_text.h"

namespace sluice::text::grammar {

/// Compiles one document into a grammar that may have other rules besides.
class SchemaCompiler {
 public:
  /// `document` is where local references point into; all three must outlive the compiler. `where` stands in
  /// front of the pointers in messages.
  SchemaCompiler(Grammar& grammar, JsonText& text, const Json& document, std::string where,
                 const Limits& limits)
      : g_(grammar), text_(text), document_(document), where_(std::move(where)), limits_(limits) {}

  Result<NodeId> compile();

 private:
  /// A place in the document: its pointer for messages, and how deep it is nested.
  struct At {
    std::string pointer;
    int depth = 0;

    At below(const std::string& step) const { return {pointer + "/" + step.substr(0, 64), depth + 1}; }
  };

  Result<NodeId> schema(const Json& s, const At& at);
  Status check_keywords(const Json& s, const At& at) const;
  Result<NodeId> reference(const Json& s, const At& at);
  Result<const Json*> target_of(const std::string& reference, const At& at) const;
  /// `s` with a $ref replaced by what it points to.
  Result<Json> resolved(const Json& s, const At& at) const;
  Result<NodeId> all_of(const Json& s, const At& at);
  Result<NodeId> alternatives(const Json& s, const char* keyword, const At& at);
  Status check_disjoint(const std::vector<Json>& branches, const At& at) const;
  Result<NodeId> values(const Json& s, const At& at);
  Result<NodeId> typed(const Json& s, const At& at);
  Result<NodeId> of_type(const std::string& type, const Json& s, const At& at);
  Result<NodeId> string(const Json& s, const At& at);
  Result<NodeId> number(const Json& s, bool integer, const At& at);

  // schema_objects.cpp
  Result<NodeId> array(const Json& s, const At& at);
  Result<NodeId> items_of(const std::vector<NodeId>& prefix, NodeId item, int32_t min, int32_t max);
  Result<NodeId> object(const Json& s, const At& at);
  Result<NodeId> map(const Json& s, NodeId member, const At& at);
  Result<NodeId> pattern_map(const Json& s, const At& at);
  struct Property {
    NodeId member = -1;
    bool required = false;
  };
  NodeId listed(const std::vector<Property>& properties, NodeId extra);

  Result<int32_t> count(const Json& s, const char* keyword, int32_t fallback, const At& at) const;
  /// The node as a rule: for what is repeated.
  NodeId as_rule(NodeId node, const At& at);
  NodeId nothing() { return g_.choice({}); }
  Status bad(const At& at, const std::string& message) const {
    return invalid_argument("{}{}: {}", where_, at.pointer, message);
  }
  Status refused(const At& at, const std::string& message) const {
    return unsupported("{}{}: {}", where_, at.pointer, message);
  }

  Grammar& g_;
  JsonText& text_;
  const Json& document_;
  std::string where_;
  const Limits& limits_;
  std::map<std::string, RuleId> references_;
  struct Pending {
    RuleId rule;
    const Json* schema;
    std::string pointer;
  };
  std::vector<Pending>
      pending_;  // targets of references, compiled one after the other, not inside each other
};

}  // namespace sluice::text::grammar
