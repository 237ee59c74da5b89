// The shapes of chat.completion and text_completion, whole and in chunks.
#pragma once

#include "serve/generation.h"

namespace sluice::serve {

std::unique_ptr<Formatter> chat_formatter(bool stream);
std::unique_ptr<Formatter> completion_formatter();

/// {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}
Json usage_json(const Usage& usage);
/// "stop", "length", "abort".
const char* finish_name(sched::FinishReason reason);

}  // namespace sluice::serve
