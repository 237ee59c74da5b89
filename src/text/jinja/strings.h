// Operations on strings that both methods and filters offer.
#pragma once

#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// The lines of s, with or without their ends, charged for.
std::vector<TextView> split_lines(Arena& arena, TextView s, bool keep_ends);
/// s with the first `count` occurrences of `old` replaced; all when count is negative.
Value replace_text(Arena& arena, TextView s, TextView old, TextView replacement, int64_t count,
                   bool markup = false);
/// s in the middle of `width` characters.
Value center_text(Arena& arena, TextView s, int64_t width, char32_t fill, bool markup = false);
/// s without `chars` (white space when not given) at the ends.
Value strip_text(Arena& arena, const Value& s, Side side, const Value& chars);

}  // namespace sluice::text::jinja
