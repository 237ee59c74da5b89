// Messages as clients send them, made into what chat templates read.
#pragma once

#include "serve/openai/fields.h"

namespace sluice::serve {

/// Checks and normalises `messages`: text parts become one string, tool-call arguments become objects, and
/// `developer` becomes `system` unless the template knows it. Errors name messages[i].field.
Json read_messages(Fields& fields, bool template_knows_developer);

/// Text of a message: a string, null, or parts joined by line feeds.
Json read_content(Fields& message, const char* name = "content", bool may_be_absent = false);
/// `arguments` of a call that was made, as an object: templates print it in their own way.
Json read_arguments(Fields& call);

}  // namespace sluice::serve
