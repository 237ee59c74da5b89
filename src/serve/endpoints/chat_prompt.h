// From a chat request's fields to the conversation that the template renders.
#pragma once

#include "serve/openai/call_fields.h"
#include "serve/openai/messages.h"

namespace sluice::serve {

/// Variables of the chat template: messages, tools, add_generation_prompt and chat_template_kwargs; and
/// continue_final_message.
/// `read`: whatever in the request is made into messages.
Json read_conversation(Fields& fields, const engine::Codec& codec,
                       Json (*read)(Fields& fields, bool template_knows_developer) = read_messages);

/// What the template refuses: the fault of continue_final_message, or of `field`.
ApiError conversation_error(const Status& status, const char* field);

/// The call's one prompt, and whether thoughts are told apart from its answers; what the template refuses is
/// the fault of `field`.
void encode_conversation(Fields& fields, const App& app, Json conversation, const char* field, Call& call);

}  // namespace sluice::serve
