// Words that an output must not have, as the tokens that spell them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace sluice::sampling {

/// Immutable; shared by all requests of a call.
class BadWords {
 public:
  using Tokens = std::vector<std::vector<int32_t>>;
  /// None of `words` may be empty.
  explicit BadWords(Tokens words) : words_(std::move(words)) {}
  /// Each word as the tokenizer spells it at the begin of a text and behind a space; a special token's
  /// spelling is that token. invalid_argument for a word without tokens.
  static Result<std::shared_ptr<const BadWords>> encode(const text::Tokenizer& tokenizer,
                                                        std::span<const std::string> words);

  const Tokens& words() const { return words_; }
  /// Minus infinity for every token that would complete one of them behind `outputs`.
  void ban(std::span<float> logits, std::span<const int32_t> outputs) const;

 private:
  Tokens words_;
};

}  // namespace sluice::sampling
