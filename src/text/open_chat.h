// A conversation whose last message is left open, so that the model goes on with it.
#pragma once

#include "text/chat_template.h"

namespace sluice::text {

/// What the template renders of `variables` (chat_variables), up to the end of the last message's text. Where
/// the template trims messages, spaces at that end are trimmed too: the model has never seen them there.
/// invalid_argument, beginning with "continue_final_message", for add_generation_prompt, a last message that
/// has no text or has tool calls, and a template that does not print it to its end.
Result<RenderedChat> render_open(const ChatTemplate& chat, Json variables, const RenderOptions& options = {});

}  // namespace sluice::text
