#include "text/jinja/expression_parser.h"

#include <algorithm>

#include "text/jinja/parser.h"

namespace sluice::text::jinja {
namespace {

bool is_reserved_constant(const std::string& name) {
  return name == "true" || name == "false" || name == "True" || name == "False" || name == "none" ||
         name == "None";
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::data:
      return "template text";
    case TokenKind::print_begin:
      return "begin of print statement";
    case TokenKind::print_end:
      return "end of print statement";
    case TokenKind::block_begin:
      return "begin of statement block";
    case TokenKind::block_end:
      return "end of statement block";
    case TokenKind::string:
      return "string";
    case TokenKind::integer:
      return "integer";
    case TokenKind::real:
      return "float";
    case TokenKind::end:
      return "end of template";
    default:
      return token.spelling;
  }
}

}  // namespace

ExpressionParser::Nested::Nested(ExpressionParser& parser) : parser_(parser) {
  if (parser.nesting_ >= kMaxNesting) {
    fail_at(parser.current().line, fmt::format("the template nests deeper than {} levels", kMaxNesting));
  }
  ++parser.nesting_;
}

// ---- tokens

const Token& ExpressionParser::next() {
  const Token& token = tokens_[at_];
  if (token.kind != TokenKind::end) ++at_;
  return token;
}

bool ExpressionParser::skip_op(std::string_view op) {
  if (!current().is_op(op)) return false;
  next();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!current().is_name(name)) return false;
  next();
  return true;
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) unexpected(fmt::format("'{}'", op));
}

void ExpressionParser::expect(TokenKind kind, const char* what) {
  if (current().kind != kind) unexpected(what);
  next();
}

std::string ExpressionParser::expect_name() {
  if (current().kind != TokenKind::name) unexpected("a name");
  return next().spelling;
}

void ExpressionParser::unexpected(const std::string& expected) const {
  fail_at(current().line, fmt::format("expected {}, got '{}'", expected, describe(current())));
}

// ---- nodes

ExprPtr ExpressionParser::make(ExprKind kind, uint32_t line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

void ExpressionParser::grow(Expr& expr) {
  const auto over = [&](const ExprPtr& operand) {
    if (operand != nullptr) expr.height = std::max(expr.height, operand->height + 1);
  };
  for (const ExprPtr& operand : expr.operands) over(operand);
  if (expr.arguments != nullptr) {
    for (const ExprPtr& argument : expr.arguments->positional) over(argument);
    for (const auto& [_, argument] : expr.arguments->named) over(argument);
    over(expr.arguments->rest);
    over(expr.arguments->named_rest);
  }
  if (expr.height > 2 * kMaxNesting) fail_at(expr.line, "an expression is too long: break it up with set");
}

ExprPtr ExpressionParser::unary(ExprKind kind, uint32_t line, ExprPtr operand) const {
  ExprPtr expr = make(kind, line);
  expr->operands.push_back(std::move(operand));
  grow(*expr);
  return expr;
}

ExprPtr ExpressionParser::binary(ExprKind kind, uint32_t line, ExprPtr left, ExprPtr right) const {
  ExprPtr expr = make(kind, line);
  expr->operands.push_back(std::move(left));
  expr->operands.push_back(std::move(right));
  grow(*expr);
  return expr;
}

ExprPtr ExpressionParser::name_expression(const std::string& name, uint32_t line) const {
  ExprPtr expr = make(ExprKind::name, line);
  expr->name = name;
  auto* unset = arena_.make<Undefined>();
  unset->name = arena_.string(name);
  expr->value = Value(unset);
  return expr;
}

// ---- operators, from the loosest to the tightest

ExprPtr ExpressionParser::conditional() {
  const Nested nested(*this);
  uint32_t line = current().line;
  ExprPtr expr = disjunction();
  while (skip_name("if")) {
    ExprPtr test = disjunction();
    ExprPtr chosen = std::move(expr);
    expr = binary(ExprKind::conditional, line, std::move(test), std::move(chosen));
    expr->operands.push_back(skip_name("else") ? conditional() : nullptr);
    expr->value = arena_.undefined(fmt::format(
        "the inline if-expression on line {} evaluated to false and no else section was defined.", line));
    grow(*expr);
    line = current().line;
  }
  return expr;
}

ExprPtr ExpressionParser::disjunction() {
  ExprPtr left = conjunction();
  while (current().is_name("or")) {
    const uint32_t line = next().line;
    left = binary(ExprKind::logical_or, line, std::move(left), conjunction());
  }
  return left;
}

ExprPtr ExpressionParser::conjunction() {
  ExprPtr left = negation();
  while (current().is_name("and")) {
    const uint32_t line = next().line;
    left = binary(ExprKind::logical_and, line, std::move(left), negation());
  }
  return left;
}

ExprPtr ExpressionParser::negation() {
  if (!current().is_name("not")) return comparison();
  const Nested nested(*this);
  const uint32_t line = next().line;
  return unary(ExprKind::logical_not, line, negation());
}

ExprPtr ExpressionParser::comparison() {
  static constexpr std::pair<std::string_view, Comparison> kOperators[] = {
      {"==", Comparison::eq}, {"!=", Comparison::ne}, {"<", Comparison::lt},
      {"<=", Comparison::le}, {">", Comparison::gt},  {">=", Comparison::ge}};
  const auto operator_here = [&]() -> std::optional<Comparison> {
    for (const auto& [spelling, op] : kOperators) {
      if (skip_op(spelling)) return op;
    }
    if (skip_name("in")) return Comparison::in;
    if (!current().is_name("not") || !following().is_name("in")) return std::nullopt;
    next();
    next();
    return Comparison::not_in;
  };
  ExprPtr first = sum();
  auto op = operator_here();
  if (!op) return first;
  ExprPtr expr = make(ExprKind::compare, current().line);
  expr->operands.push_back(std::move(first));
  for (; op; op = operator_here()) {
    expr->comparisons.push_back(*op);
    expr->operands.push_back(sum());
  }
  grow(*expr);
  return expr;
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (current().is_op("+") || current().is_op("-")) {
    const Token& token = next();
    const Arithmetic op = token.is_op("+") ? Arithmetic::add : Arithmetic::sub;
    left = binary(ExprKind::arithmetic, token.line, std::move(left), concatenation());
    left->op = op;
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!current().is_op("~")) return first;
  ExprPtr expr = make(ExprKind::concatenate, current().line);
  expr->operands.push_back(std::move(first));
  while (skip_op("~")) expr->operands.push_back(product());
  grow(*expr);
  return expr;
}

ExprPtr ExpressionParser::product() {
  static constexpr std::pair<std::string_view, Arithmetic> kOperators[] = {
      {"*", Arithmetic::mul}, {"/", Arithmetic::div}, {"//", Arithmetic::floor_div}, {"%", Arithmetic::mod}};
  ExprPtr left = power();
  while (true) {
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](const auto& candidate) { return current().is_op(candidate.first); });
    if (found == std::end(kOperators)) return left;
    const uint32_t line = next().line;
    left = binary(ExprKind::arithmetic, line, std::move(left), power());
    left->op = found->second;
  }
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = signed_value(true);
  while (current().is_op("**")) {
    const uint32_t line = next().line;
    left = binary(ExprKind::arithmetic, line, std::move(left), signed_value(true));
    left->op = Arithmetic::pow;
  }
  return left;
}

ExprPtr ExpressionParser::signed_value(bool with_filters) {
  ExprPtr expr;
  if (current().is_op("-") || current().is_op("+")) {
    const Nested nested(*this);
    const Token& token = next();
    const ExprKind kind = token.is_op("-") ? ExprKind::negate : ExprKind::positive;
    expr = unary(kind, token.line, signed_value(false));
  } else {
    expr = primary();
  }
  expr = postfix(std::move(expr));
  return with_filters ? filters_and_tests(std::move(expr)) : std::move(expr);
}

// ---- values

ExprPtr ExpressionParser::primary(bool with_namespace) {
  const Token& token = current();
  if (token.kind == TokenKind::name) return name_or_constant(with_namespace);
  if (token.is_op("(")) return parenthesis();
  if (token.is_op("[")) return list();
  if (token.is_op("{")) return dict();
  ExprPtr expr = make(ExprKind::constant, token.line);
  switch (token.kind) {
    case TokenKind::string: {
      Text text;
      while (current().kind == TokenKind::string) text += next().text;
      expr->value = arena_.string(std::move(text));
      return expr;
    }
    case TokenKind::integer:
      expr->value = Value::integer(next().integer);
      return expr;
    case TokenKind::real:
      expr->value = Value::real(next().real);
      return expr;
    default:
      unexpected("an expression");
  }
}

ExprPtr ExpressionParser::name_or_constant(bool with_namespace) {
  const Token& token = next();
  const std::string& name = token.spelling;
  if (is_reserved_constant(name)) {
    ExprPtr expr = make(ExprKind::constant, token.line);
    expr->value =
        name == "none" || name == "None" ? Value::none() : Value::boolean(name == "true" || name == "True");
    return expr;
  }
  if (!with_namespace || !skip_op(".")) return name_expression(name, token.line);
  ExprPtr expr = make(ExprKind::namespace_attribute, token.line);
  expr->name = name;
  expr->value = arena_.string(expect_name());
  return expr;
}

ExprPtr ExpressionParser::parenthesis() {
  const Nested nested(*this);
  const uint32_t line = next().line;
  if (skip_op(")")) return make(ExprKind::tuple, line);
  ExprPtr expr = tuple();
  expect_op(")");
  return expr;
}

ExprPtr ExpressionParser::list() {
  const Nested nested(*this);
  ExprPtr expr = make(ExprKind::list, next().line);
  while (!current().is_op("]")) {
    if (!expr->operands.empty()) expect_op(",");
    if (current().is_op("]")) break;
    expr->operands.push_back(expression());
  }
  expect_op("]");
  grow(*expr);
  return expr;
}

ExprPtr ExpressionParser::dict() {
  const Nested nested(*this);
  ExprPtr expr = make(ExprKind::dict, next().line);
  while (!current().is_op("}")) {
    if (!expr->operands.empty()) expect_op(",");
    if (current().is_op("}")) break;
    expr->operands.push_back(expression());
    expect_op(":");
    expr->operands.push_back(expression());
  }
  expect_op("}");
  grow(*expr);
  return expr;
}

bool ExpressionParser::at_tuple_end() const {
  return current().kind == TokenKind::print_end || current().kind == TokenKind::block_end ||
         current().is_op(")");
}

ExprPtr ExpressionParser::tuple(bool with_conditional) {
  const uint32_t line = current().line;
  if (at_tuple_end()) unexpected("an expression");
  ExprPtr first = with_conditional ? expression() : disjunction();
  if (!current().is_op(",")) return first;
  ExprPtr expr = make(ExprKind::tuple, line);
  expr->operands.push_back(std::move(first));
  while (skip_op(",") && !at_tuple_end())
    expr->operands.push_back(with_conditional ? expression() : disjunction());
  grow(*expr);
  return expr;
}

// ---- what follows a value

ExprPtr ExpressionParser::postfix(ExprPtr operand) {
  while (true) {
    if (current().is_op(".") || current().is_op("[")) {
      operand = subscript(std::move(operand));
    } else if (current().is_op("(")) {
      operand = call(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr operand) {
  while (true) {
    if (current().is_op("|")) {
      operand = filters(std::move(operand));
    } else if (current().is_name("is")) {
      operand = test(std::move(operand));
    } else if (current().is_op("(")) {
      operand = call(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr operand) {
  const Token& token = next();
  if (token.is_op("[")) return subscripts(std::move(operand), token.line);
  if (current().kind == TokenKind::name) {
    ExprPtr expr = unary(ExprKind::attribute, token.line, std::move(operand));
    expr->value = arena_.string(next().spelling);
    return expr;
  }
  if (current().kind != TokenKind::integer) unexpected("a name or number");
  ExprPtr index = make(ExprKind::constant, current().line);
  index->value = Value::integer(next().integer);
  return binary(ExprKind::subscript, token.line, std::move(operand), std::move(index));
}

ExprPtr ExpressionParser::subscripts(ExprPtr operand, uint32_t line) {
  const Nested nested(*this);
  if (current().is_op("]")) unexpected("a subscript");
  ExprPtr bounds[3];
  size_t colons = 0;
  for (;;) {
    if (!current().is_op(":") && !current().is_op("]") && !current().is_op(","))
      bounds[colons] = expression();
    if (colons == 2 || !skip_op(":")) break;
    ++colons;
  }
  if (colons > 0) {
    if (current().is_op(",")) fail_at(line, "a slice cannot be one of several subscripts");
    expect_op("]");
    ExprPtr expr = make(ExprKind::slice, line);
    expr->operands.push_back(std::move(operand));
    for (ExprPtr& bound : bounds) expr->operands.push_back(std::move(bound));
    grow(*expr);
    return expr;
  }
  ExprPtr index = std::move(bounds[0]);
  if (index == nullptr) unexpected("a subscript");
  if (current().is_op(",")) {
    ExprPtr several = make(ExprKind::tuple, line);
    several->operands.push_back(std::move(index));
    while (skip_op(",")) several->operands.push_back(expression());
    grow(*several);
    index = std::move(several);
  }
  expect_op("]");
  return binary(ExprKind::subscript, line, std::move(operand), std::move(index));
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  const uint32_t line = current().line;
  ExprPtr expr = unary(ExprKind::call, line, std::move(callee));
  expr->arguments = std::make_unique<CallArguments>(call_arguments());
  grow(*expr);
  return expr;
}

CallArguments ExpressionParser::call_arguments() {
  const Nested nested(*this);
  const uint32_t line = current().line;
  expect_op("(");
  CallArguments out;
  const auto ensure = [line](bool valid) {
    if (!valid) fail_at(line, "invalid syntax for function call expression");
  };
  for (bool first = true; !current().is_op(")"); first = false) {
    if (!first) expect_op(",");
    if (current().is_op(")")) break;
    if (skip_op("*")) {
      ensure(out.rest == nullptr && out.named_rest == nullptr);
      out.rest = expression();
    } else if (skip_op("**")) {
      ensure(out.named_rest == nullptr);
      out.named_rest = expression();
    } else if (current().kind == TokenKind::name && following().is_op("=")) {
      ensure(out.named_rest == nullptr);
      std::string name = next().spelling;
      next();
      for (const auto& [other, _] : out.named) {
        if (other == name) fail_at(line, fmt::format("the argument '{}' is given twice", name));
      }
      out.named.emplace_back(std::move(name), expression());
    } else {
      ensure(out.rest == nullptr && out.named_rest == nullptr && out.named.empty());
      out.positional.push_back(expression());
    }
  }
  expect_op(")");
  return out;
}

ExprPtr ExpressionParser::filters(ExprPtr operand) {
  while (skip_op("|")) operand = filter(std::move(operand));
  return operand;
}

ExprPtr ExpressionParser::filter(ExprPtr operand) {
  const uint32_t line = current().line;
  ExprPtr expr = unary(ExprKind::filter, line, std::move(operand));
  expr->name = expect_name();
  while (skip_op(".")) expr->name += "." + expect_name();
  expr->arguments = std::make_unique<CallArguments>();
  if (current().is_op("(")) *expr->arguments = call_arguments();
  grow(*expr);
  return expr;
}

ExprPtr ExpressionParser::test(ExprPtr operand) {
  const uint32_t line = next().line;
  const bool negated = skip_name("not");
  ExprPtr expr = unary(ExprKind::test, line, std::move(operand));
  expr->name = expect_name();
  while (skip_op(".")) expr->name += "." + expect_name();
  expr->arguments = std::make_unique<CallArguments>();
  const Token& token = current();
  const bool value_follows = token.kind == TokenKind::name || token.kind == TokenKind::string ||
                             token.kind == TokenKind::integer || token.kind == TokenKind::real ||
                             token.is_op("[") || token.is_op("{");
  if (token.is_op("(")) {
    *expr->arguments = call_arguments();
  } else if (value_follows && !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) fail_at(token.line, "You cannot chain multiple tests with is");
    expr->arguments->positional.push_back(postfix(primary()));
  }
  grow(*expr);
  return negated ? unary(ExprKind::logical_not, line, std::move(expr)) : std::move(expr);
}

// ---- targets of assignments

ExprPtr ExpressionParser::assignment_target(bool with_namespace, bool until_in) {
  const uint32_t line = current().line;
  const auto at_end = [&] { return at_tuple_end() || (until_in && current().is_name("in")); };
  if (at_end()) unexpected("a name to assign to");
  ExprPtr target = primary(with_namespace);
  if (current().is_op(",")) {
    ExprPtr several = make(ExprKind::tuple, line);
    several->operands.push_back(std::move(target));
    while (skip_op(",") && !at_end()) several->operands.push_back(primary(with_namespace));
    grow(*several);
    target = std::move(several);
  }
  check_assignable(*target);
  return target;
}

void ExpressionParser::check_assignable(const Expr& target) {
  if (target.kind == ExprKind::name || target.kind == ExprKind::namespace_attribute) return;
  if (target.kind != ExprKind::tuple) fail_at(target.line, "can't assign to this expression");
  for (const ExprPtr& operand : target.operands) check_assignable(*operand);
}

}  // namespace sluice::text::jinja
