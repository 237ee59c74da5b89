// Tokens to a tree, by jinja2's grammar.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace sluice::text::jinja {

/// Parses a template. Constants are made in `arena`, which has to live as long as the tree. Fails with the
/// line of a syntax error, of a statement that chat templates have no use for, and of nesting beyond
/// kMaxNesting.
Block parse_template(Arena& arena, TextView source);

/// Bounds the recursion of the parser and the height of expressions. jinja2 gives up earlier than this, on
/// Python's own limits.
inline constexpr size_t kMaxNesting = 200;

}  // namespace sluice::text::jinja
