// tokenizer.json of Hugging Face `tokenizers`, and what tokenizer_config.json and special_tokens_map.json add
// to it.
#pragma once

#include <string_view>

#include "base/json.h"
#include "text/tokenizer.h"

namespace sluice::text {

/// The texts of a directory's files; empty when a file is not there.
struct TokenizerFiles {
  std::string_view tokenizer;           // tokenizer.json
  std::string_view tokenizer_config;    // tokenizer_config.json
  std::string_view special_tokens_map;  // special_tokens_map.json
};

/// Refuses a component it does not know by name, never skips one: wrong ids are worse than none. What would
/// change ids without changing the text (truncation, padding, BPE dropout) is ignored, as inference does.
Result<Tokenizer> make_json_tokenizer(const TokenizerFiles& files);

}  // namespace sluice::text
