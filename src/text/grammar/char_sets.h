// Named sets of characters that regular expressions speak of.
#pragma once

#include <optional>
#include <string_view>

#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// The set of `\d`, `\w`, `\s` and their complements (ECMA-262 §22.2.2.9), by letter.
std::optional<CharSet> class_escape(char letter);
/// All but line terminators: `.`.
CharSet not_line_terminators();
/// A Unicode general category ("L", "Lu", "Nd") by its short name.
std::optional<CharSet> general_category(std::string_view name);

}  // namespace sluice::text::grammar
