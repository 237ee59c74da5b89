// Hugging Face tokenizers compile their patterns with Oniguruma (Ruby syntax); this writes the same pattern
// for PCRE2.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice::text {

/// The PCRE2 pattern (for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE) that matches what `pattern` matches in
/// Oniguruma. They differ in: \s \w \h \v and \b, classes inside classes and intersections ([a-z&&[^aeiou]]),
/// the interval followed by + (in Ruby no possessive but a repeat: \d{1,3}+ takes any number of digits),
/// {,n}, (?m), \uHHHH and long property names. Refused by name: what has no counterpart.
Result<std::string> translate_oniguruma(std::string_view pattern);

}  // namespace sluice::text
