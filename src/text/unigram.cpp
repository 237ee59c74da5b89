#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include "text/utf8.h"

namespace sluice::text {

Unigram::Unigram(const Vocab& vocab, std::vector<double> scores, std::optional<int32_t> unk_id,
                 bool byte_fallback)
    : vocab_(vocab), scores_(std::move(scores)), unk_id_(unk_id) {
  double lowest = std::numeric_limits<double>::infinity();
  for (int32_t id = 0; id < vocab.size(); ++id) {
    if (!(vocab.flags(id) & Vocab::kModel)) continue;
    lowest = std::min(lowest, scores_[static_cast<size_t>(id)]);
    if (!vocab.token(id).empty() && vocab.find(vocab.token(id)) == id) trie_.add(vocab.token(id), id);
  }
  unknown_score_ = lowest - 10.0;
  if (byte_fallback) bytes_ = ByteTokens::find(vocab);
}

// Fills best[0 .. word.size()].
void Unigram::search(std::string_view word, std::vector<Node>& best) const {
  best.assign(word.size() + 1, {});
  const auto offer = [&](size_t end, double score, size_t begin, int32_t id) {
    Node& node = best[end];
    if (node.id == kUnreached || score > node.score) node = {score, static_cast<uint32_t>(begin), id};
  };
  for (size_t begin = 0; begin < word.size();) {
    const size_t length = utf8_length(word[begin]);
    const double so_far = best[begin].score;
    bool covered = false;  // some token is exactly this character
    uint32_t state = AhoCorasick::kRoot;
    for (size_t end = begin; end < word.size();) {
      const int64_t next = trie_.child(state, static_cast<uint8_t>(word[end++]));
      if (next == AhoCorasick::kNone) break;
      state = static_cast<uint32_t>(next);
      const int32_t id = trie_.value(state);
      if (id == AhoCorasick::kNone) continue;
      offer(end, so_far + scores_[static_cast<size_t>(id)], begin, id);
      covered |= end == begin + length;
    }
    if (!covered) offer(begin + length, so_far + unknown_score_, begin, kUnknown);
    begin += length;
  }
}

Status Unigram::append_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  if (const auto id = vocab_.find_in_model(text)) {  // the unknown token's own spelling
    ids.push_back(*id);
    return {};
  }
  if (bytes_) {
    for (const char c : text) ids.push_back(bytes_->ids[static_cast<uint8_t>(c)]);
    return {};
  }
  if (!unk_id_) return invalid_argument("the tokenizer has no token for \"{}\" and no unknown token", text);
  ids.push_back(*unk_id_);
  return {};
}

Status Unigram::tokenize(const Words& words, std::vector<int32_t>& ids) const {
  std::vector<Node> best;
  std::vector<std::pair<TextRange, int32_t>> path;  // last first
  for (const TextRange range : words.ranges) {
    const std::string_view word = words.word(range);
    search(word, best);
    path.clear();
    for (size_t end = word.size(); end > 0; end = best[end].begin) {
      const Node& node = best[end];
      const bool unknown = node.id == kUnknown || node.id == unk_id_;
      if (unknown && !path.empty() && path.back().second == kUnknown) {
        path.back().first.begin = node.begin;
      } else {
        path.push_back({{node.begin, end}, unknown ? kUnknown : node.id});
      }
    }
    for (auto piece = path.rbegin(); piece != path.rend(); ++piece) {
      if (piece->second == kUnknown) {
        SLUICE_TRY(
            append_unknown(word.substr(piece->first.begin, piece->first.end - piece->first.begin), ids));
      } else {
        ids.push_back(piece->second);
      }
    }
  }
  return {};
}

}  // namespace sluice::text
