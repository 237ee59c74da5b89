// What `value.name` finds: the methods and properties of each type, under the rules of jinja2's immutable
// sandbox.
#pragma once

#include <optional>

#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// The attribute `name` of v; nothing when v has none. An attribute the sandbox forbids (a leading
/// underscore, a method that would change a list or dict) is an undefined value whose use fails; one that
/// Python has and this engine has not fails as unsupported.
std::optional<Value> find_attribute(Arena& arena, const Value& v, std::string_view name);

/// `v.name`: the attribute, else the item of that name, else undefined.
Value get_attribute(Arena& arena, const Value& v, const Value& name);

}  // namespace sluice::text::jinja
