// Token ids to text as they are generated: each id gives the text that it completes, never half a character.
//
// The deltas and flush() together are Tokenizer::decode() of all ids, with one deliberate exception. Where a
// run of byte tokens (<0xE4>) turns out to be broken after whole characters of it were sent, decode()
// replaces the whole run as Hugging Face does, while a stream keeps what it has sent and replaces only the
// bytes that are broken.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"

namespace sluice::text {

class DecodeStream;

struct DetokenizerOptions {
  bool skip_special = true;
  /// The last few ids of the prompt. They give nothing, but a character that they begin is completed, and the
  /// space that a tokenizer drops at the start of a text is kept when the text goes on.
  std::span<const int32_t> context = {};
};

class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, const DetokenizerOptions& options = {});
  Detokenizer(Detokenizer&&) noexcept;
  Detokenizer& operator=(Detokenizer&&) noexcept;
  ~Detokenizer();

  /// The text that `id` completes; often empty inside a character. At most 3 bytes of an unfinished character
  /// are held; bytes that can no longer become one are given as U+FFFD at once. An id outside the vocabulary
  /// gives nothing (models pad their vocabulary beyond the tokenizer's).
  std::string push(int32_t id);

  /// What is left at the end: U+FFFD for a character that never was completed.
  std::string flush();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::unique_ptr<DecodeStream> stream_;
};

}  // namespace sluice::text
