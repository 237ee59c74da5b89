// The tokenizer of a GGUF file: the metadata under `tokenizer.ggml.*` as plain values, and the Tokenizer they
// describe. Texts are encoded as llama.cpp encodes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace sluice::text {

/// Values of tokenizer.ggml.token_type.
enum class GgufTokenType : int32_t {
  undefined = 0,
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

/// The fields of a file; views may point into the mapped file and need to live only until the Tokenizer is
/// made.
struct GgufVocab {
  std::string_view model;  // tokenizer.ggml.model: gpt2, llama, bert, t5, gemma4
  std::string_view pre;    // tokenizer.ggml.pre: name of the pre-tokenizer of gpt2 models
  std::string_view
      general_name;  // general.name: Phi-3's tokens take the white space behind them, and only it says so

  std::vector<std::string_view> tokens;
  std::vector<float> scores;              // empty or one for each token
  std::vector<int32_t> token_types;       // empty (all normal) or one for each token
  std::vector<std::string_view> merges;   // "left right", in order of rank
  std::string_view precompiled_charsmap;  // raw bytes

  std::optional<uint32_t> bos_id, eos_id, eot_id, eom_id, unk_id, sep_id, pad_id;
  std::optional<bool> add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces;
  std::optional<bool> lowercase, strip_accents;  // tokenizer.ggml.normalizer.*, of bert models
};

/// Refuses unknown models and pre-tokenizers by name, and values that contradict each other by field.
Result<Tokenizer> make_gguf_tokenizer(const GgufVocab& vocab);

}  // namespace sluice::text
