// Structured output as requests spell it in JSON.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "sluice/sampling.h"

namespace sluice::sampling {

/// vLLM's `structured_outputs`: exactly one of {"json": schema or its text}, {"json_object": true}, {"regex":
/// "..."}, {"choice": ["...", ...]}, {"grammar": GBNF}, {"structural_tag": tags or their text}. Errors name
/// the field below `where`.
Result<StructuredOutput> parse_structured_outputs(const Json& value, const std::string& where);

/// OpenAI's `response_format`: {"type": "text"} (none), {"type": "json_object"} (with llama.cpp's "schema"),
/// {"type": "json_schema", "json_schema": {"schema": ...}}, and what others added: {"type": "regex", "regex":
/// "..."}, {"type": "ebnf", "ebnf": GBNF}, {"type": "structural_tag", ...}. Errors name the field below
/// `where`.
Result<std::optional<StructuredOutput>> parse_response_format(const Json& value, const std::string& where);

}  // namespace sluice::sampling
