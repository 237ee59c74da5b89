#include "text/jinja/scopes.h"

#include <unordered_map>
#include <unordered_set>

#include "text/jinja/lexer.h"

namespace sluice::text::jinja {
namespace {

/// The names of one scope while it is worked out. A scope is the template, a macro, a loop's body, a with,
/// ...; an `if` is none.
struct Symbols {
  Symbols* parent = nullptr;
  Function* function = nullptr;  // whose slots it uses
  uint32_t depth = 0;            // functions around that one
  Scope* scope = nullptr;
  std::unordered_map<std::string, uint32_t> slots;
  std::unordered_set<std::string> stored;

  Symbols inner(Scope& s) { return {this, function, depth, &s, {}, {}}; }
  Symbols inner(Function& f) { return {this, &f, depth + 1, &f.scope, {}, {}}; }
};

class Resolver {
 public:
  explicit Resolver(std::set<std::string>& reads) : reads_(reads) {}

  void run(Function& root) {
    Symbols symbols{nullptr, &root, 0, &root.scope, {}, {}};
    survey(symbols, root.body, false);
    bind(symbols, root.body, false);
  }

 private:
  // ---- first pass over a scope: which names it loads and stores, in order, without what lies in inner
  // scopes

  void survey(Symbols& s, const Block& block, bool in_branch) {
    for (const auto& stmt : block) {
      std::visit([&](const auto& node) { survey_node(s, node, in_branch); }, stmt->node);
    }
  }

  void survey_node(Symbols& s, const Output& node, bool) {
    for (const ExprPtr& part : node.parts) load_names(s, *part);
  }
  void survey_node(Symbols& s, const If& node, bool) {
    for (const auto& [test, body] : node.branches) {
      load_names(s, *test);
      survey(s, body, true);
    }
    survey(s, node.otherwise, true);
  }
  void survey_node(Symbols& s, const For& node, bool) { load_names(s, *node.iterable); }
  void survey_node(Symbols& s, const Set& node, bool in_branch) {
    load_names(s, *node.value);
    store_names(s, *node.target, in_branch);
  }
  void survey_node(Symbols& s, const SetBlock& node, bool in_branch) {
    store_names(s, *node.target, in_branch);
  }
  void survey_node(Symbols& s, const With& node, bool) {
    for (const auto& [_, value] : node.bindings) load_names(s, *value);
  }
  void survey_node(Symbols& s, const FilterBlock& node, bool) { load_names(s, *node.filter); }
  void survey_node(Symbols& s, const Macro& node, bool in_branch) { store(s, node.function.name, in_branch); }
  void survey_node(Symbols& s, const CallBlock& node, bool) {
    if (node.call != nullptr) load_names(s, *node.call);
  }
  void survey_node(Symbols&, const Break&, bool) {}
  void survey_node(Symbols&, const Continue&, bool) {}

  template <typename F>
  static void for_each_child(const Expr& expr, F&& visit) {
    for (const ExprPtr& operand : expr.operands) {
      if (operand != nullptr) visit(*operand);
    }
    if (expr.arguments == nullptr) return;
    for (const ExprPtr& argument : expr.arguments->positional) visit(*argument);
    for (const auto& [_, argument] : expr.arguments->named) visit(*argument);
    if (expr.arguments->rest != nullptr) visit(*expr.arguments->rest);
    if (expr.arguments->named_rest != nullptr) visit(*expr.arguments->named_rest);
  }

  void load_names(Symbols& s, const Expr& expr) {
    if (expr.kind == ExprKind::name) load(s, expr);
    for_each_child(expr, [&](const Expr& child) { load_names(s, child); });
  }

  void store_names(Symbols& s, const Expr& target, bool in_branch) {
    if (target.kind == ExprKind::name) store(s, target.name, in_branch);
    if (target.kind == ExprKind::namespace_attribute) load(s, target);
    for (const ExprPtr& operand : target.operands) store_names(s, *operand, in_branch);
  }

  void declare_names(Symbols& s, const Expr& target) {
    if (target.kind == ExprKind::name) declare(s, target.name);
    for (const ExprPtr& operand : target.operands) declare_names(s, *operand);
  }

  static std::optional<Variable> find(const Symbols& from, const std::string& name) {
    for (const Symbols* s = &from; s != nullptr; s = s->parent) {
      if (const auto it = s->slots.find(name); it != s->slots.end())
        return Variable{from.depth - s->depth, it->second};
    }
    return std::nullopt;
  }

  /// A slot that whoever enters the scope fills: a parameter, a loop's target.
  static uint32_t declare(Symbols& s, const std::string& name) {
    s.stored.insert(name);
    return s.slots[name] = s.function->slots++;
  }

  /// A slot that begins as the scope's loads say.
  static void define(Symbols& s, const std::string& name, Load load) {
    load.slot = s.slots[name] = s.function->slots++;
    s.scope->push_back(std::move(load));
  }

  void load(Symbols& s, const Expr& name) {
    if (declare_special(s, name.name) || find(s, name.name)) return;
    if (name.name == "self") {
      throw TemplateError(StatusCode::unsupported,
                          fmt::format("line {}: 'self' is not supported in chat templates", name.line));
    }
    read_from_caller(s, name.name);
  }

  void read_from_caller(Symbols& s, const std::string& name) {
    reads_.insert(name);
    define(s, name, {Load::From::context, 0, {}, name});
  }

  /// `caller`, `kwargs` and `varargs` of a macro exist where its body reads them.
  static bool declare_special(Symbols& from, const std::string& name) {
    if (from.depth == 0 || (name != "caller" && name != "kwargs" && name != "varargs")) return false;
    Symbols* s = &from;
    while (s->slots.count(name) == 0 && s->parent->depth == s->depth) s = s->parent;
    if (s->slots.count(name) > 0) return false;
    auto& slot = name == "caller"   ? s->function->caller_slot
                 : name == "kwargs" ? s->function->kwargs_slot
                                    : s->function->varargs_slot;
    slot = declare(*s, name);
    return true;
  }

  /// A name that a scope sets before it reads it is unset at first, even if the caller has a variable of that
  /// name; one that only some branch of an `if` sets is whatever it was outside.
  void store(Symbols& s, const std::string& name, bool in_branch) {
    if (!s.stored.insert(name).second || s.slots.count(name) > 0) return;
    if (const auto outer = s.parent == nullptr ? std::nullopt : find(*s.parent, name)) {
      const uint32_t hops = outer->hops + (s.depth - s.parent->depth);
      define(s, name, {Load::From::outer, 0, {hops, outer->slot}, {}});
    } else if (in_branch) {
      read_from_caller(s, name);
    } else {
      define(s, name, {});
    }
  }

  // ---- second pass: names to slots, inner scopes. `soft`: directly inside an `if`, in no inner scope.

  void bind(Symbols& s, Block& block, bool soft) {
    for (auto& stmt : block) {
      std::visit([&](auto& node) { bind_node(s, node, soft); }, stmt->node);
    }
  }

  void bind_node(Symbols& s, Output& node, bool soft) {
    for (ExprPtr& part : node.parts) bind(s, *part, soft);
  }
  void bind_node(Symbols& s, If& node, bool) {
    for (auto& [test, body] : node.branches) {
      bind(s, *test, true);
      bind(s, body, true);
    }
    bind(s, node.otherwise, true);
  }
  void bind_node(Symbols& s, For& node, bool soft) {
    bind(s, *node.iterable, soft);
    Symbols body = s.inner(node.scope);
    node.loop_slot = declare(body, "loop");
    declare_names(body, *node.target);
    survey(body, node.body, false);
    bind(body, *node.target, false);
    bind(body, node.body, false);
    if (node.test != nullptr) {
      Symbols test = s.inner(node.test_scope);
      declare_names(test, *node.test_target);
      load_names(test, *node.test);
      bind(test, *node.test_target, false);
      bind(test, *node.test, false);
    }
    Symbols otherwise = s.inner(node.else_scope);
    survey(otherwise, node.otherwise, false);
    bind(otherwise, node.otherwise, false);
  }
  void bind_node(Symbols& s, Set& node, bool soft) {
    bind(s, *node.value, soft);
    bind(s, *node.target, soft);
  }
  void bind_node(Symbols& s, SetBlock& node, bool soft) {
    bind(s, *node.target, soft);
    Symbols body = s.inner(node.scope);
    survey(body, node.body, false);
    if (node.filter != nullptr) {
      load_names(body, *node.filter);
      bind(body, *node.filter, false);
    }
    bind(body, node.body, false);
  }
  void bind_node(Symbols& s, With& node, bool soft) {
    Symbols body = s.inner(node.scope);
    for (auto& [target, value] : node.bindings) {
      bind(s, *value, soft);
      declare_names(body, *target);
      bind(body, *target, false);
    }
    survey(body, node.body, false);
    bind(body, node.body, false);
  }
  void bind_node(Symbols& s, FilterBlock& node, bool) {
    Symbols body = s.inner(node.scope);
    survey(body, node.body, false);
    bind(body, *node.filter, false);
    bind(body, node.body, false);
  }
  void bind_node(Symbols& s, Macro& node, bool) {
    bind_function(s, node.function);
    node.target = *find(s, node.function.name);
  }
  void bind_node(Symbols& s, CallBlock& node, bool soft) {
    bind_function(s, node.function);
    if (node.call != nullptr) bind(s, *node.call, soft);
  }
  void bind_node(Symbols&, Break&, bool) {}
  void bind_node(Symbols&, Continue&, bool) {}

  void bind_function(Symbols& s, Function& function) {
    Symbols body = s.inner(function);
    for (auto& parameter : function.parameters) parameter.slot = declare(body, parameter.name);
    for (auto& parameter : function.parameters) {
      if (parameter.fallback != nullptr) load_names(body, *parameter.fallback);
    }
    survey(body, function.body, false);
    for (auto& parameter : function.parameters) {
      if (parameter.fallback != nullptr) bind(body, *parameter.fallback, false);
    }
    bind(body, function.body, false);
  }

  void bind(Symbols& s, Expr& expr, bool soft) {
    soft = soft || expr.kind == ExprKind::conditional;
    if (expr.kind == ExprKind::name || expr.kind == ExprKind::namespace_attribute)
      expr.variable = *find(s, expr.name);
    if (expr.kind == ExprKind::filter || expr.kind == ExprKind::test) find_builtin_of(expr, soft);
    for_each_child(expr, [&](Expr& child) { bind(s, child, soft); });
  }

  static void find_builtin_of(Expr& expr, bool soft) {
    const bool filter = expr.kind == ExprKind::filter;
    expr.builtin = filter ? find_filter(expr.name) : find_test(expr.name);
    if (expr.builtin != nullptr) return;
    if (filter && is_refused_filter(expr.name)) {
      throw TemplateError(
          StatusCode::unsupported,
          fmt::format("line {}: the filter '{}' is not supported in chat templates", expr.line, expr.name));
    }
    if (!soft) fail_at(expr.line, fmt::format("No {} named '{}'.", filter ? "filter" : "test", expr.name));
  }

  std::set<std::string>& reads_;
};

}  // namespace

void resolve_scopes(Function& root, std::set<std::string>& reads) { Resolver(reads).run(root); }

}  // namespace sluice::text::jinja
