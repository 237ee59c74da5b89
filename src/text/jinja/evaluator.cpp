// The expressions of the interpreter.
#include "base/check.h"
#include "text/jinja/attributes.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace sluice::text::jinja {

Value Interpreter::eval(const Expr& expr, Activation& frame) {
  const Arena::Level level(arena_);
  arena_.work();
  line_ = expr.line;
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.value;
    case ExprKind::name: {
      const Value& v = variable(expr.variable, frame);
      return v.missing() ? expr.value : v;
    }
    case ExprKind::list:
    case ExprKind::tuple:
      return eval_items(expr, frame);
    case ExprKind::dict:
      return eval_dict(expr, frame);
    case ExprKind::attribute:
      return get_attribute(arena_, eval_operand(expr, frame), expr.value);
    case ExprKind::subscript:
    case ExprKind::arithmetic:
      return eval_arithmetic(expr, frame);
    case ExprKind::slice:
      return eval_slice(expr, frame);
    case ExprKind::call:
      return eval_call(expr, frame);
    case ExprKind::filter:
    case ExprKind::test:
      return eval_builtin(expr, frame);
    case ExprKind::negate:
      return negate(eval_operand(expr, frame));
    case ExprKind::positive:
      return positive(eval_operand(expr, frame));
    case ExprKind::logical_not:
      return Value::boolean(!truthy(arena_, eval_operand(expr, frame)));
    case ExprKind::logical_and:
    case ExprKind::logical_or:
      return eval_logical(expr, frame);
    case ExprKind::concatenate:
      return eval_concatenate(expr, frame);
    case ExprKind::compare:
      return eval_compare(expr, frame);
    case ExprKind::conditional:
      return eval_conditional(expr, frame);
    case ExprKind::namespace_attribute:
      break;  // only ever a target
  }
  SLUICE_CHECK(false, "expression kind {}", static_cast<int>(expr.kind));
  return {};
}

/// The first operand; the line is the expression's own again afterwards.
Value Interpreter::eval_operand(const Expr& expr, Activation& frame) {
  const Value operand = eval(*expr.operands[0], frame);
  line_ = expr.line;
  return operand;
}

Value Interpreter::eval_items(const Expr& expr, Activation& frame) {
  std::vector<Value> items;
  items.reserve(expr.operands.size());
  for (const ExprPtr& operand : expr.operands) items.push_back(eval(*operand, frame));
  return expr.kind == ExprKind::list ? arena_.list(std::move(items)) : arena_.tuple(std::move(items));
}

Value Interpreter::eval_dict(const Expr& expr, Activation& frame) {
  auto* dict = arena_.make<Dict>();
  for (size_t i = 0; i < expr.operands.size(); i += 2) {
    const Value key = eval(*expr.operands[i], frame);
    dict->set(arena_, key, eval(*expr.operands[i + 1], frame));
  }
  return Value(dict);
}

/// The binary operators that evaluate both sides: arithmetic and subscripts.
Value Interpreter::eval_arithmetic(const Expr& expr, Activation& frame) {
  const Value left = eval(*expr.operands[0], frame);
  const Value right = eval(*expr.operands[1], frame);
  line_ = expr.line;
  return expr.kind == ExprKind::subscript ? get_item(arena_, left, right)
                                          : arithmetic(arena_, expr.op, left, right);
}

Value Interpreter::eval_slice(const Expr& expr, Activation& frame) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i) {
    if (expr.operands[i] != nullptr) parts[i] = eval(*expr.operands[i], frame);
  }
  line_ = expr.line;
  return slice(arena_, parts[0], parts[1], parts[2], parts[3]);
}

Value Interpreter::eval_logical(const Expr& expr, Activation& frame) {
  const Value left = eval(*expr.operands[0], frame);
  const bool settled = truthy(arena_, left) == (expr.kind == ExprKind::logical_or);
  return settled ? left : eval(*expr.operands[1], frame);
}

Value Interpreter::eval_concatenate(const Expr& expr, Activation& frame) {
  TextBuilder out(arena_);
  for (const ExprPtr& operand : expr.operands) append_string(arena_, out, eval(*operand, frame));
  return out.finish();
}

Value Interpreter::eval_compare(const Expr& expr, Activation& frame) {
  Value left = eval(*expr.operands[0], frame);
  for (size_t i = 0; i < expr.comparisons.size(); ++i) {
    const Value right = eval(*expr.operands[i + 1], frame);
    line_ = expr.line;
    if (!compare(arena_, expr.comparisons[i], left, right)) return Value::boolean(false);
    left = right;
  }
  return Value::boolean(true);
}

Value Interpreter::eval_conditional(const Expr& expr, Activation& frame) {
  if (truthy(arena_, eval(*expr.operands[0], frame))) return eval(*expr.operands[1], frame);
  return expr.operands[2] == nullptr ? expr.value : eval(*expr.operands[2], frame);
}

Arguments Interpreter::eval_arguments(const CallArguments& arguments, Activation& frame) {
  Arguments out;
  out.positional.reserve(arguments.positional.size());
  for (const ExprPtr& argument : arguments.positional) out.positional.push_back(eval(*argument, frame));
  for (const auto& [name, argument] : arguments.named) out.named.emplace_back(name, eval(*argument, frame));
  if (arguments.rest != nullptr) {
    for (const Value& item : collect(arena_, eval(*arguments.rest, frame))) out.positional.push_back(item);
  }
  if (arguments.named_rest != nullptr) {
    const Value rest = eval(*arguments.named_rest, frame);
    if (!rest.is(Kind::dict)) fail("argument after ** must be a mapping, not {}", type_name(rest));
    for (const auto& [key, value] : rest.as<Dict>().entries()) {
      if (!key.is(Kind::string)) fail("keywords must be strings");
      const std::string name = to_utf8(key.text());
      for (const auto& [other, _] : out.named) {
        if (other == name) fail("got multiple values for keyword argument '{}'", name);
      }
      arena_.work(out.named.size());
      out.named.emplace_back(name, value);
    }
  }
  return out;
}

Value Interpreter::eval_call(const Expr& expr, Activation& frame, const Value& caller) {
  const Value callee = eval(*expr.operands[0], frame);
  Arguments arguments = eval_arguments(*expr.arguments, frame);
  if (!caller.missing()) arguments.named.emplace_back("caller", caller);
  line_ = expr.line;
  if (callee.is(Kind::undefined)) fail_undefined(callee);
  if (callee.is(Kind::loop)) fail("The loop must have the 'recursive' marker to be called recursively.");
  if (!callee.is(Kind::callable)) fail("'{}' object is not callable", type_name(callee));
  return callee.as<Callable>().call(arena_, arguments);
}

/// A filter or a test.
Value Interpreter::eval_builtin(const Expr& expr, Activation& frame) {
  const Value operand = expr.operands[0] == nullptr ? captured_ : eval(*expr.operands[0], frame);
  const Arguments arguments = eval_arguments(*expr.arguments, frame);
  line_ = expr.line;
  if (expr.builtin == nullptr)
    fail("No {} named '{}'.", expr.kind == ExprKind::filter ? "filter" : "test", expr.name);
  return (*expr.builtin)(arena_, operand, arguments);
}

}  // namespace sluice::text::jinja
