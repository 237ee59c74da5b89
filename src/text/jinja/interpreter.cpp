// Statements. The expressions are in evaluator.cpp.
#include "text/jinja/interpreter.h"

#include <algorithm>

#include "text/jinja/print.h"

namespace sluice::text::jinja {

Text Interpreter::run(const Function& root) {
  Activation* frame = activate(root, nullptr);
  enter(root.scope, *frame);
  run(root.body, *frame);
  return root_.text();
}

Interpreter::Activation* Interpreter::activate(const Function& function, Activation* parent) {
  arena_.charge_items(function.slots);
  return arena_.make<Activation>(parent, function.slots);
}

// ---- variables

Value& Interpreter::variable(const Variable& v, Activation& frame) const {
  Activation* at = &frame;
  for (uint32_t i = 0; i < v.hops; ++i) at = at->parent;
  return at->slots[v.slot];
}

void Interpreter::enter(const Scope& scope, Activation& frame) {
  arena_.work(scope.size());
  for (const Load& load : scope) {
    Value initial;
    if (load.from == Load::From::outer) initial = variable(load.outer, frame);
    if (load.from == Load::From::context) {
      if (const auto it = context_.find(load.name); it != context_.end()) initial = it->second;
    }
    frame.slots[load.slot] = initial;
  }
}

void Interpreter::require_namespaces(const Expr& target, Activation& frame) {
  if (target.kind == ExprKind::namespace_attribute &&
      !variable(target.variable, frame).is(Kind::name_space)) {
    fail("cannot assign attribute on non-namespace object");
  }
  for (const ExprPtr& operand : target.operands) require_namespaces(*operand, frame);
}

void Interpreter::assign(const Expr& target, const Value& value, Activation& frame) {
  if (target.kind == ExprKind::name) {
    variable(target.variable, frame) = value;
    return;
  }
  if (target.kind == ExprKind::namespace_attribute) {
    if (target.value.text().starts_with(U'_')) {
      fail("a namespace cannot have the attribute '{}': its name begins with an underscore",
           to_utf8(target.value.text()));
    }
    variable(target.variable, frame).as<Namespace>().attributes.set(arena_, target.value, value);
    return;
  }
  const size_t wanted = target.operands.size();
  const auto next = iterate(arena_, value);
  std::vector<Value> items;
  for (Value item = next(); !item.missing() && items.size() <= wanted; item = next()) items.push_back(item);
  if (items.size() > wanted) fail("too many values to unpack (expected {})", wanted);
  if (items.size() < wanted) fail("not enough values to unpack (expected {}, got {})", wanted, items.size());
  for (size_t i = 0; i < wanted; ++i) assign(*target.operands[i], items[i], frame);
}

// ---- statements

Interpreter::Flow Interpreter::run(const Block& block, Activation& frame) {
  const Arena::Level level(arena_);
  for (const auto& stmt : block) {
    line_ = stmt->line;
    arena_.work();
    const Flow flow = std::visit([&](const auto& node) { return run(node, frame); }, stmt->node);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

void Interpreter::append_output(const Value& v) {
  append_string(arena_, *out_, v);
  if (out_->text().size() > arena_.limits().max_output_bytes) {
    throw TemplateError(
        StatusCode::resource_exhausted,
        fmt::format("the chat template writes more than {} bytes", arena_.limits().max_output_bytes));
  }
}

Interpreter::Flow Interpreter::run(const Output& node, Activation& frame) {
  for (const ExprPtr& part : node.parts) append_output(eval(*part, frame));
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const If& node, Activation& frame) {
  for (const auto& [test, body] : node.branches) {
    if (truthy(arena_, eval(*test, frame))) return run(body, frame);
  }
  return run(node.otherwise, frame);
}

Loop* Interpreter::start_loop(const For& node, Activation& frame) {
  const Value source = eval(*node.iterable, frame);
  auto* loop = arena_.make<Loop>();
  loop->pull = iterate(arena_, source);
  if (node.test == nullptr) {
    loop->source = source;
    return loop;
  }
  // The test runs when an item is drawn, be it by the loop or by a look ahead from its body.
  loop->pull = [this, &node, &frame, next = std::move(loop->pull), entered = false]() mutable {
    if (!std::exchange(entered, true)) enter(node.test_scope, frame);
    for (Value item = next(); !item.missing(); item = next()) {
      assign(*node.test_target, item, frame);
      if (truthy(arena_, eval(*node.test, frame))) return item;
    }
    return Value();
  };
  return loop;
}

Interpreter::Flow Interpreter::run(const For& node, Activation& frame) {
  Loop* loop = start_loop(node, frame);
  bool completed = false;  // some turn ran to its end; as in jinja2, break and continue do not count
  while (loop->advance()) {
    arena_.work();
    enter(node.scope, frame);
    frame.slots[node.loop_slot] = Value(loop);
    assign(*node.target, loop->current, frame);
    const Flow flow = run(node.body, frame);
    if (flow == Flow::break_loop) break;
    if (flow == Flow::next) completed = true;
  }
  if (completed || node.otherwise.empty()) return Flow::next;
  enter(node.else_scope, frame);
  return run(node.otherwise, frame);
}

Interpreter::Flow Interpreter::run(const Set& node, Activation& frame) {
  require_namespaces(*node.target, frame);
  const Value value = eval(*node.value, frame);
  assign(*node.target, value, frame);
  return Flow::next;
}

template <typename F>
Value Interpreter::capture(F&& body, Flow& flow) {
  TextBuilder text(arena_);
  TextBuilder* outer = std::exchange(out_, &text);
  flow = body();
  out_ = outer;
  return text.finish();
}

Interpreter::Flow Interpreter::run(const SetBlock& node, Activation& frame) {
  Flow flow = Flow::next;
  enter(node.scope, frame);
  Value text = capture([&] { return run(node.body, frame); }, flow);
  if (flow != Flow::next) return flow;
  if (node.filter != nullptr) {
    captured_ = text;
    text = eval(*node.filter, frame);
  }
  require_namespaces(*node.target, frame);
  assign(*node.target, text, frame);
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const With& node, Activation& frame) {
  enter(node.scope, frame);
  for (const auto& [target, value] : node.bindings) assign(*target, eval(*value, frame), frame);
  return run(node.body, frame);
}

Interpreter::Flow Interpreter::run(const FilterBlock& node, Activation& frame) {
  Flow flow = Flow::next;
  enter(node.scope, frame);
  const Value text = capture([&] { return run(node.body, frame); }, flow);
  if (flow != Flow::next) return flow;
  captured_ = text;
  append_output(eval(*node.filter, frame));
  return Flow::next;
}

// ---- macros

Interpreter::Flow Interpreter::run(const Macro& node, Activation& frame) {
  variable(node.target, frame) = make_macro(node.function, frame);
  return Flow::next;
}

Interpreter::Flow Interpreter::run(const CallBlock& node, Activation& frame) {
  if (node.call == nullptr) {
    append_output(call_macro(node.function, &frame, {}));
  } else {
    append_output(eval_call(*node.call, frame, make_macro(node.function, frame)));
  }
  return Flow::next;
}

Value Interpreter::make_macro(const Function& function, Activation& frame) {
  auto* macro = arena_.make<Callable>(
      function.name, [this, &function, definition = &frame](Arena&, const Arguments& arguments) {
        return call_macro(function, definition, arguments);
      });
  macro->macro = true;
  return Value(macro);
}

Value Interpreter::call_macro(const Function& function, Activation* definition, const Arguments& arguments) {
  const Arena::Level level(arena_);
  Activation* frame = activate(function, definition);
  enter(function.scope, *frame);
  bind_parameters(function, *frame, arguments);
  Flow flow = Flow::next;
  return capture([&] { return run(function.body, *frame); }, flow);
}

void Interpreter::bind_parameters(const Function& function, Activation& frame, const Arguments& arguments) {
  auto named = arguments.named;
  const auto take = [&](const std::string& name) {
    const auto it = std::find_if(named.begin(), named.end(),
                                 [&](const auto& argument) { return argument.first == name; });
    if (it == named.end()) return Value();
    const Value value = it->second;
    named.erase(it);
    return value;
  };
  const auto& positional = arguments.positional;
  const size_t count = function.parameters.size();
  for (size_t i = 0; i < count; ++i) {
    const auto& parameter = function.parameters[i];
    frame.slots[parameter.slot] = i < positional.size() ? positional[i] : take(parameter.name);
  }
  if (function.caller_slot) {
    const Value caller = take("caller");
    const bool given = !caller.missing() && !caller.is(Kind::none);
    frame.slots[*function.caller_slot] = given ? caller : arena_.undefined("No caller defined");
  }
  if (function.kwargs_slot) {
    auto* rest = arena_.make<Dict>();
    for (const auto& [name, value] : named) rest->set(arena_, arena_.string(name), value);
    frame.slots[*function.kwargs_slot] = Value(rest);
  } else if (!named.empty()) {
    fail("macro '{}' takes no keyword argument '{}'", function.name, named.front().first);
  }
  if (function.varargs_slot) {
    const auto from = positional.begin() + static_cast<ptrdiff_t>(std::min(count, positional.size()));
    frame.slots[*function.varargs_slot] = arena_.tuple({from, positional.end()});
  } else if (positional.size() > count) {
    fail("macro '{}' takes not more than {} argument(s)", function.name, count);
  }
  // Fallbacks see the parameters before them.
  for (const auto& parameter : function.parameters) {
    Value& slot = frame.slots[parameter.slot];
    if (!slot.missing()) continue;
    const Value fallback = parameter.fallback == nullptr ? parameter.unset : eval(*parameter.fallback, frame);
    slot = fallback;
  }
}

}  // namespace sluice::text::jinja
