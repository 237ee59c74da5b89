// Structured output and tools as a request asks for them: values for whoever compiles them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/openai/fields.h"
#include "sluice/sampling.h"

namespace sluice::serve {

/// What the text must be.
struct OutputFormat {
  enum class Kind { text, json_object, json_schema, regex, choice, grammar } kind = Kind::text;
  Json schema;                       // json_schema
  std::string pattern;               // regex, grammar (GBNF)
  std::vector<std::string> choices;  // choice
  bool strict = false;
  std::string field;  // the request's field that asked for it
};

struct ToolChoice {
  enum class Kind { none, automatic, required, named } kind = Kind::none;
  std::string name;      // named
  bool parallel = true;  // several calls in one answer
};

struct Constraint {
  OutputFormat format;
  Json tools;  // array as the request has it, or null
  ToolChoice choice;
};

/// Reads response_format, structured_outputs, guided_*, tools, tool_choice, parallel_tool_calls.
Constraint read_constraint(Fields& fields);

/// What the sampler is to enforce; nothing for plain text.
std::optional<StructuredOutput> structured_output(const OutputFormat& format);

/// Tool calls are not made yet: refuses them by name.
void refuse_tool_calls(const Constraint& constraint, Fields& fields);

}  // namespace sluice::serve
