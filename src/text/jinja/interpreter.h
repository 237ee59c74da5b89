// Walks a template's tree and writes its text.
#pragma once

#include <string>
#include <unordered_map>

#include "text/jinja/ast.h"

namespace sluice::text::jinja {

class Interpreter {
 public:
  /// `context`: the caller's variables and the globals.
  Interpreter(Arena& arena, const std::unordered_map<std::string, Value>& context)
      : arena_(arena), context_(context), root_(arena) {}

  /// Runs the whole template. Throws TemplateError; line() is then where.
  Text run(const Function& root);
  uint32_t line() const { return line_; }

 private:
  /// The variables of one call of a macro, of one call block, or of the template itself. Macros keep the one
  /// they were defined in alive, as Python's closures do.
  struct Activation : Object {
    Activation(Activation* p, size_t n) : parent(p), slots(n) {}
    Activation* parent;
    std::vector<Value> slots;
  };
  enum class Flow { next, break_loop, continue_loop };

  Flow run(const Block& block, Activation& frame);
  Flow run(const Output& node, Activation& frame);
  Flow run(const If& node, Activation& frame);
  Flow run(const For& node, Activation& frame);
  Flow run(const Set& node, Activation& frame);
  Flow run(const SetBlock& node, Activation& frame);
  Flow run(const With& node, Activation& frame);
  Flow run(const FilterBlock& node, Activation& frame);
  Flow run(const Macro& node, Activation& frame);
  Flow run(const CallBlock& node, Activation& frame);
  Flow run(const Break&, Activation&) { return Flow::break_loop; }
  Flow run(const Continue&, Activation&) { return Flow::continue_loop; }

  void enter(const Scope& scope, Activation& frame);
  Value& variable(const Variable& v, Activation& frame) const;
  void assign(const Expr& target, const Value& value, Activation& frame);
  void require_namespaces(const Expr& target, Activation& frame);
  Loop* start_loop(const For& node, Activation& frame);
  Activation* activate(const Function& function, Activation* parent);
  Value make_macro(const Function& function, Activation& frame);
  Value call_macro(const Function& function, Activation* definition, const Arguments& arguments);
  void bind_parameters(const Function& function, Activation& frame, const Arguments& arguments);
  /// Runs `body` into a text of its own.
  template <typename F>
  Value capture(F&& body, Flow& flow);

  Value eval(const Expr& expr, Activation& frame);
  Value eval_compare(const Expr& expr, Activation& frame);
  Value eval_conditional(const Expr& expr, Activation& frame);
  Value eval_logical(const Expr& expr, Activation& frame);
  Value eval_concatenate(const Expr& expr, Activation& frame);
  Value eval_items(const Expr& expr, Activation& frame);
  Value eval_dict(const Expr& expr, Activation& frame);
  Value eval_slice(const Expr& expr, Activation& frame);
  Value eval_call(const Expr& expr, Activation& frame, const Value& caller = {});
  Value eval_builtin(const Expr& expr, Activation& frame);
  Value eval_arithmetic(const Expr& expr, Activation& frame);
  Value eval_operand(const Expr& expr, Activation& frame);
  Arguments eval_arguments(const CallArguments& arguments, Activation& frame);
  void append_output(const Value& v);

  Arena& arena_;
  const std::unordered_map<std::string, Value>& context_;
  TextBuilder root_;
  TextBuilder* out_ = &root_;
  Value captured_;  // what the innermost operand of a block's filter stands for
  uint32_t line_ = 1;
};

}  // namespace sluice::text::jinja
