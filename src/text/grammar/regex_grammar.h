// Regular expressions as grammars: the regular part of ECMA-262's syntax, which Python, PCRE and RE2 share.
//
// Understood: alternatives, groups (capturing, named and not), classes, `.`, escapes (\d \D \w \W \s \S \t \n
// \r \f \v \0 \cX \xHH \uHHHH \u{...} \p{category}), * + ? {m} {m,} {m,n} and their lazy forms (the same
// language), ^ and $ where an alternative begins and ends. Refused by name: look-around, back-references, \b,
// inline flags, possessive quantifiers, atomic groups. \d, \w and \s are ECMA-262's (ASCII digits and word
// characters).
#pragma once

#include <functional>
#include <string_view>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// How a character of the matched text is spelt in the output: as itself, or inside a JSON string.
using SpellChars = std::function<NodeId(Grammar&, const CharSet&)>;

enum class RegexAnchors {
  whole,   // the expression matches the whole text
  search,  // it matches somewhere in the text, as JSON Schema's `pattern` does
};

/// Adds the expression to `grammar`. Errors are invalid_argument (with the offset) or unsupported.
Result<NodeId> add_regex(Grammar& grammar, std::string_view pattern, RegexAnchors anchors,
                         const SpellChars& spell, const Limits& limits = {});

/// A grammar that matches exactly what the whole expression matches.
Result<Grammar> regex_grammar(std::string_view pattern, const Limits& limits = {});

/// A grammar of some texts.
Result<Grammar> choice_grammar(const std::vector<std::string>& choices, const Limits& limits = {});

}  // namespace sluice::text::grammar
