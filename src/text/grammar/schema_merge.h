// Schemas as values: which keywords exist, both of two schemas as one, whether two can match the same value.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/grammar/grammar.h"

namespace sluice::text::grammar {

/// What a keyword says something about; `annotation`: nothing that restricts.
enum class KeywordOf { any, object, array, string, number, annotation, unknown };
KeywordOf keyword_of(const std::string& keyword);

/// The types that the schema's `type` allows ("integer" apart from "number"); all without one. Errors name
/// `where`.
Result<std::vector<std::string>> types_of(const Json& schema, const std::string& where);

/// A schema of what both match: a value is valid under it if and only if it is under both. unsupported where
/// no keyword says both. Local references stay as they are, side by side in "allOf".
Result<Json> merged(const Json& a, const Json& b, const std::string& where);

/// Certainly no value is valid under both. `resolve` follows a $ref.
using Resolve = std::function<Result<Json>(const Json& schema)>;
bool disjoint(const Json& a, const Json& b, const Resolve& resolve, int depth = 0);

}  // namespace sluice::text::grammar
