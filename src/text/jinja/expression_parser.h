// The expressions of the grammar, and what all of the parser shares: the tokens and the nesting.
#pragma once

#include <initializer_list>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace sluice::text::jinja {

class ExpressionParser {
 public:
  ExpressionParser(Arena& arena, std::vector<Token> tokens) : arena_(arena), tokens_(std::move(tokens)) {}

 protected:
  /// One more level of nesting for as long as it lives.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser);
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    ExpressionParser& parser_;
  };

  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next();
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  void expect(TokenKind kind, const char* what);
  std::string expect_name();
  [[noreturn]] void unexpected(const std::string& expected) const;

  ExprPtr expression() { return conditional(); }
  ExprPtr disjunction();  // an expression without a trailing `if`
  /// One expression, or several between commas: a tuple. `for` ends its targets with `in`.
  ExprPtr tuple(bool with_conditional = true);
  ExprPtr assignment_target(bool with_namespace, bool until_in = false);
  ExprPtr filters(ExprPtr operand);
  ExprPtr filter(ExprPtr operand);
  CallArguments call_arguments();

  ExprPtr make(ExprKind kind, uint32_t line) const;
  ExprPtr unary(ExprKind kind, uint32_t line, ExprPtr operand) const;
  ExprPtr binary(ExprKind kind, uint32_t line, ExprPtr left, ExprPtr right) const;
  /// Takes the height of the operands into account; fails when the tree is too high.
  static void grow(Expr& expr);
  ExprPtr name_expression(const std::string& name, uint32_t line) const;

  Arena& arena_;

 private:
  ExprPtr conditional();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr signed_value(bool with_filters);
  ExprPtr primary(bool with_namespace = false);
  ExprPtr name_or_constant(bool with_namespace);
  ExprPtr postfix(ExprPtr operand);
  ExprPtr filters_and_tests(ExprPtr operand);
  ExprPtr subscript(ExprPtr operand);
  ExprPtr subscripts(ExprPtr operand, uint32_t line);
  ExprPtr call(ExprPtr callee);
  ExprPtr test(ExprPtr operand);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr parenthesis();
  bool at_tuple_end() const;
  static void check_assignable(const Expr& target);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t nesting_ = 0;
};

}  // namespace sluice::text::jinja
