// The input of /v1/responses, made into the messages that chat templates read.
#pragma once

#include "serve/openai/fields.h"

namespace sluice::serve {

/// Reads `instructions` and `input`: a string, or messages, calls that were made and their outputs. Errors
/// name input[i].field.
Json read_input(Fields& fields, bool template_knows_developer);

}  // namespace sluice::serve
