// GBNF, the grammar notation of llama.cpp:
//
//   root  ::= "yes" | "no" reason
//   reason ::= (" " [a-z]+){1,5}   # a comment
//
// Literals and classes with \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH, `.` for any character, groups,
// * + ? {m} {m,} {m,n} {,n}. The rule `root` is where a text begins. Tokens (<[id]>, <name>) are refused by
// name.
#pragma once

#include <string_view>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// Errors name the line.
Result<Grammar> parse_gbnf(std::string_view text, const Limits& limits = {});

}  // namespace sluice::text::grammar
