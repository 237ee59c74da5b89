// The caller's variables as values of a template.
#pragma once

#include "base/json.h"
#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// A value from JSON: object order is kept, every string carries `mark`. Refuses integers beyond 64 bits.
Value from_json(Arena& arena, const Json& json, char32_t mark);

}  // namespace sluice::text::jinja
