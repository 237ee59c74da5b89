#include "text/jinja/parser.h"

#include <algorithm>

#include "text/jinja/expression_parser.h"

namespace sluice::text::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

bool is_one_of(const std::string& name, Names names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// A target for the test of a `for`, which assigns to variables of its own.
ExprPtr copy_target(const Expr& target) {
  auto copy = std::make_unique<Expr>();
  copy->kind = target.kind;
  copy->line = target.line;
  copy->height = target.height;
  copy->name = target.name;
  copy->value = target.value;
  for (const ExprPtr& operand : target.operands) copy->operands.push_back(copy_target(*operand));
  return copy;
}

class Parser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Block run() { return block({}); }

 private:
  /// Statements and text up to one of `ends`, which is left as the current token; all of it when there are
  /// none.
  Block block(Names ends) {
    const Nested nested(*this);
    const uint32_t opened = current().line;
    Block out;
    Output output;
    uint32_t output_line = 0;
    const auto flush = [&] {
      if (!output.parts.empty()) add(out, output_line, std::move(output));
      output = {};
    };
    while (current().kind != TokenKind::end) {
      if (output.parts.empty()) output_line = current().line;
      if (current().kind == TokenKind::data) {
        ExprPtr text = make(ExprKind::constant, current().line);
        text->value = arena_.string(next().text);
        output.parts.push_back(std::move(text));
      } else if (current().kind == TokenKind::print_begin) {
        next();
        output.parts.push_back(tuple());
        expect(TokenKind::print_end, "'}}'");
      } else {
        flush();
        next();
        if (current().kind == TokenKind::name && is_one_of(current().spelling, ends)) return out;
        statement(out);
        expect(TokenKind::block_end, "'%}'");
      }
    }
    if (ends.size() > 0) {
      fail_at(current().line,
              fmt::format("Unexpected end of template: the block that begins on line {} needs a '{}'", opened,
                          *(ends.end() - 1)));
    }
    flush();
    return out;
  }

  template <typename T>
  static void add(Block& out, uint32_t line, T node) {
    out.push_back(std::make_unique<Stmt>(Stmt{line, std::move(node)}));
  }

  /// The rest of an opening tag, then its body; the current token is then the name that ended it.
  Block body(Names ends) {
    skip_op(":");
    expect(TokenKind::block_end, "'%}'");
    return block(ends);
  }
  Block body_until(std::string_view end) {
    Block out = body({end});
    next();
    return out;
  }

  void statement(Block& out) {
    if (current().kind != TokenKind::name) unexpected("the name of a tag");
    const Token& tag = next();
    const uint32_t line = tag.line;
    const std::string& name = tag.spelling;
    if (name == "if") return add(out, line, if_statement());
    if (name == "for") return add(out, line, for_statement());
    if (name == "set") return set_statement(out, line);
    if (name == "macro") return add(out, line, macro());
    if (name == "generation") return add(out, line, CallBlock{function_body({}, "endgeneration"), nullptr});
    if (name == "call") return add(out, line, call_block(line));
    if (name == "filter") return add(out, line, filter_block());
    if (name == "with") return add(out, line, with());
    if (name == "print") return add(out, line, print());
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail_at(line, fmt::format("'{}' outside of a loop", name));
      return name == "break" ? add(out, line, Break{}) : add(out, line, Continue{});
    }
    if (is_one_of(name, {"block", "extends", "include", "import", "from", "autoescape"})) {
      throw TemplateError(StatusCode::unsupported,
                          fmt::format("line {}: '{}' is not supported in chat templates", line, name));
    }
    fail_at(line, fmt::format("Encountered unknown tag '{}'.", name));
  }

  If if_statement() {
    If node;
    while (true) {
      ExprPtr test = tuple(false);
      node.branches.emplace_back(std::move(test), body({"elif", "else", "endif"}));
      const Token& end = next();
      if (end.is_name("elif")) continue;
      if (end.is_name("else")) node.otherwise = body_until("endif");
      return node;
    }
  }

  For for_statement() {
    For node;
    node.target = assignment_target(false, true);
    reject_loop_name(*node.target);
    if (!skip_name("in")) unexpected("'in'");
    node.iterable = tuple(false);
    if (skip_name("if")) {
      node.test = expression();
      node.test_target = copy_target(*node.target);
    }
    if (current().is_name("recursive")) {
      throw TemplateError(
          StatusCode::unsupported,
          fmt::format("line {}: recursive loops are not supported in chat templates", current().line));
    }
    ++loops_;
    ++named_loops_;
    node.body = body({"endfor", "else"});
    --loops_;
    if (next().is_name("else")) node.otherwise = body_until("endfor");
    --named_loops_;
    return node;
  }

  /// Inside a `for` the name `loop` is taken.
  static void reject_loop_name(const Expr& target) {
    if (target.kind == ExprKind::name && target.name == "loop") {
      fail_at(target.line, "Can't assign to special loop variable in for-loop target");
    }
    for (const ExprPtr& operand : target.operands) reject_loop_name(*operand);
  }

  void set_statement(Block& out, uint32_t line) {
    ExprPtr target = assignment_target(true);
    if (named_loops_ > 0) reject_loop_name(*target);
    if (skip_op("=")) return add(out, line, Set{std::move(target), tuple()});
    SetBlock node;
    node.target = std::move(target);
    if (current().is_op("|")) node.filter = filters(nullptr);
    node.body = body_until("endset");
    add(out, line, std::move(node));
  }

  With with() {
    With node;
    while (current().kind != TokenKind::block_end) {
      if (!node.bindings.empty()) expect_op(",");
      ExprPtr target = assignment_target(false);
      expect_op("=");
      node.bindings.emplace_back(std::move(target), expression());
    }
    node.body = body_until("endwith");
    return node;
  }

  FilterBlock filter_block() {
    FilterBlock node;
    node.filter = filters(filter(nullptr));
    node.body = body_until("endfilter");
    return node;
  }

  Output print() {
    Output node;
    while (current().kind != TokenKind::block_end) {
      if (!node.parts.empty()) expect_op(",");
      node.parts.push_back(expression());
    }
    return node;
  }

  std::vector<Function::Parameter> parameters() {
    std::vector<Function::Parameter> out;
    expect_op("(");
    while (!current().is_op(")")) {
      if (!out.empty()) expect_op(",");
      const uint32_t line = current().line;
      Function::Parameter parameter;
      parameter.name = assignable_name();
      for (const auto& other : out) {
        if (other.name == parameter.name)
          fail_at(line, fmt::format("duplicate parameter '{}'", parameter.name));
      }
      if (skip_op("=")) {
        parameter.fallback = expression();
      } else if (!out.empty() && out.back().fallback != nullptr) {
        fail_at(line, "non-default argument follows default argument");
      }
      auto* unset = arena_.make<Undefined>();
      unset->hint = fmt::format("parameter '{}' was not provided", parameter.name);
      parameter.unset = Value(unset);
      out.push_back(std::move(parameter));
    }
    expect_op(")");
    return out;
  }

  /// A body that is a function of its own: no break or continue reaches out of it.
  Function function_body(std::vector<Function::Parameter> parameter_list, std::string_view end) {
    Function out;
    out.parameters = std::move(parameter_list);
    const size_t outer_loops = std::exchange(loops_, 0);
    out.body = body_until(end);
    loops_ = outer_loops;
    return out;
  }

  std::string assignable_name() {
    const uint32_t line = current().line;
    std::string name = expect_name();
    if (is_one_of(name, {"true", "false", "none", "True", "False", "None"})) {
      fail_at(line, fmt::format("can't assign to '{}'", name));
    }
    return name;
  }

  Macro macro() {
    const std::string name = assignable_name();
    auto parameter_list = parameters();
    Macro node;
    node.function = function_body(std::move(parameter_list), "endmacro");
    node.function.name = name;
    return node;
  }

  CallBlock call_block(uint32_t line) {
    auto parameter_list = current().is_op("(") ? parameters() : std::vector<Function::Parameter>();
    CallBlock node;
    node.call = expression();
    if (node.call->kind != ExprKind::call) fail_at(line, "expected call");
    node.function = function_body(std::move(parameter_list), "endcall");
    return node;
  }

  size_t loops_ = 0;        // loops around the current statement, within its function
  size_t named_loops_ = 0;  // loops around it in the whole template, else branches included
};

}  // namespace

Block parse_template(Arena& arena, TextView source) { return Parser(arena, tokenize(source)).run(); }

}  // namespace sluice::text::jinja
