// How a request's tokens are chosen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sluice/status.h"

namespace sluice {

/// What the output's text must match from its first character to its last. Tokens that do not fit are never
/// chosen, an end-of-sequence token only where the text may end; where nothing else fits the request ends by
/// itself.
struct StructuredOutput {
  enum class Kind {
    json_object,     // any JSON object
    json_schema,     // `text` is a JSON Schema (draft 2020-12; an unsupported keyword is refused by name)
    regex,           // `text` is a regular expression without look-around and back-references
    choice,          // one of `choices`
    grammar,         // `text` is a grammar in llama.cpp's notation (GBNF)
    structural_tag,  // `text` is JSON: what lies between tags, in vLLM's and XGrammar's notation
  };
  Kind kind = Kind::json_object;
  std::string text;
  std::vector<std::string> choices;
};

struct SamplingParams {
  float temperature = 1.0f;  // [0, 100]; 0: always the most likely token, the lowest id on ties
  int32_t top_k = 0;         // keep the k most likely; 0 and -1: all
  float top_p = 1.0f;  // (0, 1]: keep the fewest that together reach this probability (Holtzman et al. 2020)
  float min_p = 0.0f;  // [0, 1]: keep those at least this fraction of the most likely one
  float repetition_penalty = 1.0f;  // (0, 100]: logits of tokens seen in prompt or output are divided (or
                                    // multiplied, when negative) by it (Keskar et al. 2019)
  float presence_penalty = 0.0f;    // [-2, 2]: subtracted once from tokens that the output has
  float frequency_penalty = 0.0f;   // [-2, 2]: subtracted for each time
  std::optional<uint64_t> seed;     // the same seed and request give the same tokens; none: a random one
  int32_t max_tokens = 256;         // outputs; a request also ends at the engine's max_seq_len
  int32_t min_tokens = 0;           // outputs before which no end-of-sequence or stop token is chosen
  std::vector<std::string> stop;    // ends before the first of these strings in the output's text
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  std::vector<std::pair<int32_t, float>> logit_bias;  // [-100, 100] added to the logits of these tokens
  std::vector<std::string> bad_words;  // at most 1024; the output has none of them, spelt as the tokenizer
                                       // does at the begin of a text or behind a space. Needs a tokenizer.
  std::optional<std::vector<int32_t>> allowed_token_ids;  // nothing else is chosen, not even an end
  int32_t logprobs = -1;  // [0, 20]: report each token's log-probability and this many alternatives; -1:
                          // none. Of the model's own distribution, before temperature and penalties.
  std::vector<int32_t> logprob_token_ids;  // at most 128; with logprobs, report these as alternatives,
                                           // in this order, instead of the most likely ones
  std::optional<StructuredOutput> structured_output;  // needs a tokenizer
};

/// invalid_argument naming the first field that is out of range.
Status validate(const SamplingParams& params);

}  // namespace sluice
