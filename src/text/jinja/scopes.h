// Which variable each name means, worked out once at load exactly as jinja2's compiler does.
#pragma once

#include <set>
#include <string>

#include "text/jinja/ast.h"

namespace sluice::text::jinja {

/// Gives every name of the template its slot and every scope its loads, and finds filters and tests by name.
/// `reads` receives the names of the variables that the template takes from its caller. Fails, with the line,
/// for an unknown filter or test outside of `if` (inside, jinja2 leaves it until it is used).
void resolve_scopes(Function& root, std::set<std::string>& reads);

}  // namespace sluice::text::jinja
