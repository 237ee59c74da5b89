// The fields that all generating endpoints share: from JSON to a Call.
#pragma once

#include "serve/generation.h"
#include "serve/openai/constraint.h"
#include "serve/openai/fields.h"

namespace sluice::serve {

/// The body as a JSON object, within the server's limits.
struct Body {
  Json json;
  std::optional<ApiError> error;
};
Body parse_body(const App& app, const HttpRequest& request);

/// Sampling, stopping, streaming, priority and timeout; and everything that is accepted and has no effect.
/// `max_tokens_names`: in order of precedence. `default_max_tokens`: 0: whatever room the prompt leaves.
void read_call(Fields& fields, App& app, const HttpRequest& request, Call& call,
               std::initializer_list<const char*> max_tokens_names, int default_max_tokens);

/// Compiles what the output must match; on the handler's thread, within the compiler's budgets.
void compile_constraint(Fields& fields, App& app, const Constraint& constraint, Call& call);

/// Refuses unknown fields (with --strict), and lengths that cannot fit: the last check before queueing.
void finish_call(Fields& fields, const App& app, Call& call);

/// The served model, or 404 model_not_found.
void read_model(Fields& fields, const App& app, std::string& model);

}  // namespace sluice::serve
