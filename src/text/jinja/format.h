// The two old ways of formatting: 'text %s' % values and '{}'.format(values).
#pragma once

#include "text/jinja/value.h"

namespace sluice::text::jinja {

/// format % values (values: one value, a tuple of them, or a dict for %(name)s).
Value percent_format(Arena& arena, const Value& format, const Value& values);

/// format.format(*positional, **named), attribute and item access under the rules of the sandbox.
Value brace_format(Arena& arena, const Value& format, const Arguments& arguments);
/// format.format_map(mapping).
Value brace_format_map(Arena& arena, const Value& format, const Value& mapping);

}  // namespace sluice::text::jinja
