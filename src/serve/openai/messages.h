// Messages as clients send them, made into what chat templates read.
#pragma once

#include "serve/openai/fields.h"

namespace sluice::serve {

/// Checks and normalises `messages`: text parts become one string, tool-call arguments become objects, and
/// `developer` becomes `system` unless the template knows it. Errors name messages[i].field.
Json read_messages(Fields& fields, bool template_knows_developer);

/// Text of a message: `content` as a string, null, or parts joined by line feeds. `prefix`: that of
/// `message`.
Json read_content(Fields& message, const std::string& prefix, bool may_be_absent);
/// `arguments` of a call that was made, as an object: templates print it in their own way.
Json read_arguments(Fields& call);

}  // namespace sluice::serve
