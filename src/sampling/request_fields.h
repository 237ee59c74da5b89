// The sampling parameters that every kind of request spells as SamplingParams does.
#pragma once

#include "sluice/sampling.h"

namespace sluice::sampling {

/// read(name, member) for each. Those that requests spell in several ways (seed, max_tokens, stop,
/// logit_bias, logprobs, structured output) are their readers' own.
template <typename Read>
void for_each_request_field(SamplingParams& s, Read&& read) {
  read("temperature", s.temperature);
  read("top_k", s.top_k);
  read("top_p", s.top_p);
  read("min_p", s.min_p);
  read("repetition_penalty", s.repetition_penalty);
  read("presence_penalty", s.presence_penalty);
  read("frequency_penalty", s.frequency_penalty);
  read("min_tokens", s.min_tokens);
  read("ignore_eos", s.ignore_eos);
  read("stop_token_ids", s.stop_token_ids);
  read("bad_words", s.bad_words);
  read("allowed_token_ids", s.allowed_token_ids);
  read("logprob_token_ids", s.logprob_token_ids);
}

}  // namespace sluice::sampling
