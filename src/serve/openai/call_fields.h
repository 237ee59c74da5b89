// What all generating endpoints share: from JSON to a Call.
#pragma once

#include <array>

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

/// The served model, or 404 model_not_found.
void read_model(Fields& fields, const App& app, std::string& model);

/// What one kind of call has of its own.
struct CallKind {
  const char* id_prefix;  // "chatcmpl-"
  // Names of that field, in order of precedence. No vector: kinds are read until the last handler has ended,
  // which may be after what is static has been destroyed.
  std::array<const char*, 2> max_tokens;
  int default_max_tokens;  // 0: whatever room the prompt leaves
  /// Reads the fields that no other kind has, among them the prompts.
  std::unique_ptr<Formatter> (*read)(Fields& fields, App& app, Call& call, Constraint& constraint);
};

/// Reads a call, the fields that all kinds share and its own, checks it and queues it.
Reply answer(App& app, const HttpRequest& request, const CallKind& kind);

}  // namespace sluice::serve
