// From a chat request's fields to the conversation that the template renders.
#pragma once

#include "serve/openai/call_fields.h"

namespace sluice::serve {

/// Variables of the chat template: messages, tools, add_generation_prompt and chat_template_kwargs.
Json read_conversation(Fields& fields, const engine::Codec& codec, const Constraint& constraint);

}  // namespace sluice::serve
