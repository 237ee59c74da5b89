// Text to token ids and back. A Tokenizer is immutable after construction and may be used from any thread;
// copies share the tables.
//
//   encode: text -> added tokens cut out -> normalizer -> pre-tokenizer -> model -> post-processor -> ids
//   decode: ids -> pieces -> decoder -> text
//
// The stages follow Hugging Face `tokenizers` 0.23 component by component; GGUF and SentencePiece
// vocabularies are expressed with the same parts (tokenizer_json.h, gguf_vocab.h, sentencepiece_model.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice::text {

struct Pipeline;

/// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

struct EncodeOptions {
  /// Add what the model wants around every text (BOS, EOS, [CLS] ... [SEP]). A rendered chat template has its
  /// own.
  bool add_special = true;
  /// Recognise special tokens spelt in the text. User text must never be parsed so: either leave this off, or
  /// name the user's parts in `literal`. Added tokens that are not special are recognised always.
  bool parse_special = false;
  /// Sorted, disjoint byte ranges of the text (the user's words inside a rendered template) in which, and
  /// across whose edges, no special token is recognised although `parse_special` is set.
  std::span<const TextRange> literal = {};
};

class Tokenizer {
 public:
  explicit Tokenizer(std::shared_ptr<const Pipeline> pipeline);

  /// The ids of `text`. Invalid UTF-8 is read as Python's errors="replace" does (U+FFFD for each maximal
  /// broken part). Linear in the text's size but for a logarithm. Fails with invalid_argument for texts of 1
  /// GiB or more, with resource_exhausted when a pattern of the tokenizer backtracks beyond its budget.
  Result<std::vector<int32_t>> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The text of `ids`, as Hugging Face's decode gives it; always valid UTF-8. An id outside [0, vocab_size)
  /// is invalid_argument. `skip_special` leaves special tokens out. For streams see detokenizer.h.
  Result<std::string> decode(std::span<const int32_t> ids, bool skip_special = false) const;

  /// The raw bytes that a token adds to a text it does not begin: possibly half a character, empty for an
  /// unused id. A special token gives its own spelling. `id` must lie in [0, vocab_size).
  std::string token_bytes(int32_t id) const;

  /// The token as the vocabulary spells it ("Ġthe", "▁the", "<0x0A>"); empty for an unused id.
  std::string_view token(int32_t id) const;
  std::optional<int32_t> token_to_id(std::string_view token) const;

  /// One more than the highest id.
  int32_t vocab_size() const;
  /// One more than the highest id that plain text can get; added tokens often lie beyond.
  int32_t model_vocab_size() const;
  bool is_special(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> unk_id() const;
  std::optional<int32_t> pad_id() const;
  /// Ids that end a generation according to the tokenizer's own files, `eos_id` first (GGUF: also end of
  /// turn).
  const std::vector<int32_t>& end_ids() const;

  /// Approximate bytes of memory that the tables hold.
  size_t memory_bytes() const;

  const Pipeline& pipeline() const { return *pipeline_; }

 private:
  std::shared_ptr<const Pipeline> pipeline_;
};

/// Reads the tokenizer of a model directory: tokenizer.json (with tokenizer_config.json and
/// special_tokens_map.json where present), else tokenizer.model. A directory that only has tekken.json or
/// tiktoken.model is refused.
Result<Tokenizer> load_tokenizer(const std::string& dir);

}  // namespace sluice::text
