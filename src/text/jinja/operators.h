// Python's operators on template values. Integers are 64 bits: a result that does not fit is an error.
#pragma once

#include "text/jinja/value.h"

namespace sluice::text::jinja {

bool truthy(Arena& arena, const Value& v);

/// a == b.
bool equal(Arena& arena, const Value& a, const Value& b);
/// a < b; fails for types Python does not order.
bool less(Arena& arena, const Value& a, const Value& b);
/// Python's hash, up to the values it gives; fails for lists and dicts.
size_t hash(Arena& arena, const Value& v);

enum class Comparison { eq, ne, lt, le, gt, ge, in, not_in };
bool compare(Arena& arena, Comparison op, const Value& a, const Value& b);

enum class Arithmetic { add, sub, mul, div, floor_div, mod, pow };
Value arithmetic(Arena& arena, Arithmetic op, const Value& a, const Value& b);
Value negate(const Value& v);
Value positive(const Value& v);

/// v[index] by Python's rules, then the attribute of that name; undefined when there is neither.
Value get_item(Arena& arena, const Value& v, const Value& index);
/// v[start:stop:step]; `missing` bounds are Python's None.
Value slice(Arena& arena, const Value& v, const Value& start, const Value& stop, const Value& step);

/// Markup of v: itself when it is markup, else its text with & < > ' " escaped.
Value escape(Arena& arena, const Value& v);

/// The integer of an int or bool argument; fails naming `what`.
int64_t to_index(const Value& v, const char* what);

}  // namespace sluice::text::jinja
