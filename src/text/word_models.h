// Models that look words up: WordPiece (BERT) and WordLevel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "text/model.h"

namespace sluice::text {

struct WordPieceOptions {
  int32_t unk_id = 0;
  std::string continuing_prefix = "##";  // of the pieces of a word but its first
  std::string start_prefix;              // of the first piece (GGUF vocabularies mark it, not the others)
  size_t max_chars = 100;                // a longer word is unknown
};

/// Each word by its longest known beginnings, one after another; a word that cannot be covered is one unk.
class WordPiece final : public Model {
 public:
  /// `vocab` must outlive the model.
  WordPiece(const Vocab& vocab, WordPieceOptions options) : vocab_(vocab), options_(std::move(options)) {}
  Status tokenize(const Words& words, std::vector<int32_t>& ids) const override;
  size_t memory_bytes() const override { return 0; }

 private:
  bool cover(std::string_view word, std::vector<int32_t>& ids) const;
  const Vocab& vocab_;
  WordPieceOptions options_;
};

/// Each word is one token, or unk; encoding fails where there is no unk.
class WordLevel final : public Model {
 public:
  /// `vocab` must outlive the model.
  WordLevel(const Vocab& vocab, std::optional<int32_t> unk_id) : vocab_(vocab), unk_id_(unk_id) {}
  Status tokenize(const Words& words, std::vector<int32_t>& ids) const override;
  size_t memory_bytes() const override { return 0; }

 private:
  const Vocab& vocab_;
  std::optional<int32_t> unk_id_;
};

}  // namespace sluice::text
