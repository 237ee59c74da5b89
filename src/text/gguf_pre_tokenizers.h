// What the names in tokenizer.ggml.pre stand for.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace sluice::text {

struct GgufPreTokenizer {
  std::vector<std::string_view> names;
  std::vector<std::string_view> patterns;  // applied one after another, each cutting out its matches
  bool ignore_merges = false;
  bool add_bos = false;  // unless the file says otherwise
};

/// The pre-tokenizer of a name, or null.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

std::span<const GgufPreTokenizer> gguf_pre_tokenizers();

}  // namespace sluice::text
