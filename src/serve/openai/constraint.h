// Structured output and tools as a request asks for them.
#pragma once

#include <optional>
#include <string>

#include "serve/generation.h"
#include "serve/openai/fields.h"
#include "sluice/sampling.h"

namespace sluice::serve {

/// What the output must be: text of a form, or tool calls; nothing for plain text.
struct Constraint {
  std::optional<StructuredOutput> format;
  std::string field;  // the one that asked for the format
  std::optional<text::grammar::ToolRequest> tools;
};

/// Reads response_format, structured_outputs or guided_*.
void read_format(Fields& fields, Constraint& out);
/// Reads tools, tool_choice and parallel_tool_calls; tools that must not be called are none here.
void read_tools(Fields& fields, Constraint& out);

/// Makes it part of the call: on the handler's thread, within the compiler's budgets.
void compile_constraint(Fields& fields, App& app, Constraint constraint, Call& call);

}  // namespace sluice::serve
