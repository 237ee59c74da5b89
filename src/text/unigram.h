// Unigram language model (Kudo 2018): the segmentation of the highest total score, by Viterbi over a trie.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/aho_corasick.h"
#include "text/model.h"

namespace sluice::text {

class Unigram final : public Model {
 public:
  /// `scores` by id, finite; only tokens of the vocabulary's model take part. A character that no token
  /// covers costs 10 below the lowest score and becomes byte tokens (`byte_fallback`) or, with its unknown
  /// neighbours, one unk. Encoding fails where neither is there. `vocab` must outlive the model.
  Unigram(const Vocab& vocab, std::vector<double> scores, std::optional<int32_t> unk_id, bool byte_fallback);
  Status tokenize(const Words& words, std::vector<int32_t>& ids) const override;
  size_t memory_bytes() const override { return trie_.memory_bytes() + scores_.capacity() * sizeof(double); }

 private:
  struct Node {  // the best way to reach an offset of the word
    double score = 0;
    uint32_t begin = 0;  // where its last token begins
    int32_t id = kUnreached;
  };
  static constexpr int32_t kUnreached = -2;
  static constexpr int32_t kUnknown = -1;
  void search(std::string_view word, std::vector<Node>& best) const;
  Status append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  const Vocab& vocab_;
  AhoCorasick trie_;
  std::vector<double> scores_;
  double unknown_score_;
  std::optional<int32_t> unk_id_;
  std::optional<ByteTokens> bytes_;
};

}  // namespace sluice::text
