// The parts of a tokenizer, put together by its readers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/vocab.h"

namespace sluice::text {

struct Pipeline {
  Vocab vocab;                         // every id, those of added tokens too
  AddedTokenMatcher added;             // found in the text as it is
  AddedTokenMatcher added_normalized;  // found behind the normalizers, by their normalised content
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<Model> model;  // refers to `vocab`
  std::vector<int32_t> prefix;   // add_special puts these in front ...
  std::vector<int32_t> suffix;   // ... and these behind
  DecodeStages decoders;
  std::unordered_map<int32_t, std::string>
      decode_as;  // what the decoders get for an id instead of its spelling

  std::optional<int32_t> bos_id;
  std::optional<int32_t> eos_id;
  std::optional<int32_t> unk_id;
  std::optional<int32_t> pad_id;
  std::vector<int32_t> end_ids;

  /// What the decoders read for `id`.
  std::string_view spelling(int32_t id) const {
    const auto other = decode_as.find(id);
    return other == decode_as.end() ? vocab.token(id) : std::string_view(other->second);
  }

  Pipeline() = default;
  Pipeline(const Pipeline&) = delete;  // `model` points into it
  Pipeline& operator=(const Pipeline&) = delete;
};

/// Sorts added tokens into the two matchers, normalising the content of those that are matched in normalised
/// text.
Status set_added_tokens(Pipeline& pipeline, std::vector<AddedToken> tokens);

}  // namespace sluice::text
