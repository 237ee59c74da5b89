// Requests as JSON objects: the lines of a batch file.
#pragma once

#include <optional>

#include "base/json.h"
#include "engine/codec.h"
#include "sluice/sampling.h"

namespace sluice::tools {

struct ParsedRequest {
  Json id;  // as given; null when absent
  std::vector<int32_t> prompt_ids;
  SamplingParams sampling;
  int priority = 0;
};

/// Exactly one of `prompt`, `messages` (with `tools`, `chat_template_kwargs` and `continue_final_message`)
/// and `input_ids`; any field of SamplingParams under its own name (`stop` also as one string; structured
/// output as vLLM's `structured_outputs` or OpenAI's `response_format`), `id`, `priority`. null leaves a
/// field at its default, which is `defaults`. Another field, or one of another type, is refused by name;
/// `where` says where it stands.
Result<ParsedRequest> parse_request(const Json& request, const SamplingParams& defaults,
                                    const engine::Codec& codec, const std::string& where);

}  // namespace sluice::tools
