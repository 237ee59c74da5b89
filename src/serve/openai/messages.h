// Messages as clients send them, made into what chat templates read.
#pragma once

#include "serve/openai/fields.h"

namespace sluice::serve {

/// Checks and normalises `messages`: text parts become one string, tool-call arguments become objects, and
/// `developer` becomes `system` unless the template knows it. Errors name messages[i].field.
Json read_messages(Fields& fields, bool template_knows_developer);

}  // namespace sluice::serve
