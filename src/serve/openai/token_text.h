// Tokens as clients see them next to their log-probabilities.
#pragma once

#include "serve/generation.h"

namespace sluice::serve {

/// The token's text, or "token_id:N"; bytes that are no characters become U+FFFD.
std::string token_text(const Generation& call, int32_t id);
/// The token's bytes as an array of numbers.
Json token_bytes(const Generation& call, int32_t id);
/// JSON has no infinity: what cannot happen is -9999.
float finite_logprob(float value);

/// {"token", "logprob", "bytes", "top_logprobs"} of a token of the output.
Json token_logprobs(const Generation& call, int32_t id, const sampling::TokenLogprobs& logprobs);

/// `text` with everything that is not UTF-8 replaced.
std::string valid_utf8(std::string_view text);
size_t count_code_points(std::string_view text);

}  // namespace sluice::serve
