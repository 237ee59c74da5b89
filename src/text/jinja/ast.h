// A parsed template: plain data that the parser makes, the scopes pass completes and the interpreter walks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/builtin.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// Where a variable lives: a slot of the function `hops` levels out (the template itself, a macro, a call
/// block).
struct Variable {
  uint32_t hops = 0;
  uint32_t slot = 0;
};

/// What a variable of a scope holds when the scope is entered.
struct Load {
  enum class From { nothing, outer, context };
  From from = From::nothing;
  uint32_t slot = 0;
  Variable outer;    // the variable of an outer scope that it shadows
  std::string name;  // of the caller's variable
};
using Scope = std::vector<Load>;

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr rest;        // *expr, or null
  ExprPtr named_rest;  // **expr, or null
};

enum class ExprKind : uint8_t {
  constant,             // value
  name,                 // variable; value: what it is while unset
  namespace_attribute,  // target only: variable and value, the name of the attribute
  list,                 // operands
  tuple,                // operands
  dict,                 // operands: key, value, key, value, ...
  attribute,            // operands[0] . value
  subscript,            // operands[0] [ operands[1] ]
  slice,                // operands[0] [ operands[1] : operands[2] : operands[3] ], any of the last three null
  call,                 // operands[0] ( arguments )
  filter,               // operands[0] | name ( arguments ); a null operand is the text of the enclosing block
  test,                 // operands[0] is name ( arguments )
  negate,
  positive,
  logical_not,
  logical_and,
  logical_or,
  arithmetic,   // operands[0] arithmetic operands[1]
  concatenate,  // operands joined as text
  compare,      // operands[0] comparisons[0] operands[1] comparisons[1] ..., chained as in Python
  conditional,  // operands[1] if operands[0] else operands[2]; without an else null, and value is the outcome
};

struct Expr {
  ExprKind kind;
  uint32_t line;
  uint32_t height = 1;  // of the tree under it, which bounds every recursion over it
  std::vector<ExprPtr> operands;
  std::string name;
  Value value;
  Variable variable;
  Arithmetic op = Arithmetic::add;
  std::vector<Comparison> comparisons;
  std::unique_ptr<CallArguments> arguments;
  const Builtin* builtin = nullptr;  // the filter or test; null when it is unknown and may stay so until used
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct Output {
  std::vector<ExprPtr> parts;
};
struct If {
  std::vector<std::pair<ExprPtr, Block>> branches;
  Block otherwise;
};
struct For {
  ExprPtr target, iterable;
  ExprPtr test_target, test;  // `for target in iterable if test`, or null; the test has variables of its own
  Block body, otherwise;
  Scope scope, test_scope, else_scope;
  uint32_t loop_slot = 0;
};
struct Set {
  ExprPtr target, value;
};
struct SetBlock {
  ExprPtr target, filter;  // filter: a chain whose innermost operand is null, or null
  Block body;
  Scope scope;
};
struct With {
  std::vector<std::pair<ExprPtr, ExprPtr>> bindings;
  Block body;
  Scope scope;
};
struct FilterBlock {
  ExprPtr filter;
  Block body;
  Scope scope;
};
/// What a macro and the body of a call block have in common.
struct Function {
  struct Parameter {
    std::string name;
    ExprPtr fallback;  // or null
    uint32_t slot = 0;
    Value unset;  // what a parameter without a fallback is when not given
  };
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  Scope scope;
  uint32_t slots = 0;                                              // variables of all scopes inside
  std::optional<uint32_t> caller_slot, kwargs_slot, varargs_slot;  // where the body reads them
};
struct Macro {
  Function function;
  Variable target;
};
/// {% call(...) f() %}, and {% generation %}, which has no call.
struct CallBlock {
  Function function;
  ExprPtr call;
};
struct Break {};
struct Continue {};

struct Stmt {
  uint32_t line;
  std::variant<Output, If, For, Set, SetBlock, With, FilterBlock, Macro, CallBlock, Break, Continue> node;
};

}  // namespace sluice::text::jinja
