// The functions every template can call: range, namespace, raise_exception and the like.
#pragma once

#include <ctime>
#include <string>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// The global of this name; missing when there is none. `now` is what strftime_now formats; absent: the
/// clock.
Value make_global(Arena& arena, const std::string& name, const std::optional<std::tm>& now);

}  // namespace sluice::text::jinja
