#include "text/word_models.h"

#include <algorithm>

namespace sluice::text {
namespace {

bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

// Appends the pieces of `word`, or false when some part has none.
bool WordPiece::cover(std::string_view word, std::vector<int32_t>& ids) const {
  const auto chars = static_cast<size_t>(
      std::count_if(word.begin(), word.end(), [](char c) { return !is_continuation(c); }));
  if (chars > options_.max_chars) return false;
  // The marks are part of the spelling: a word is searched as start_prefix + word.
  std::string piece;
  for (size_t begin = 0; begin < word.size();) {
    const std::string& prefix = begin == 0 ? options_.start_prefix : options_.continuing_prefix;
    if (prefix.size() >= vocab_.max_length()) return false;
    size_t end = std::min(word.size(), begin + vocab_.max_length() - prefix.size());
    piece.assign(prefix).append(word.substr(begin, end - begin));
    std::optional<int32_t> id;
    while (end > begin && !(id = vocab_.find_in_model(piece))) {
      do {
        --end;
        piece.pop_back();
      } while (end > begin && is_continuation(word[end]));
    }
    if (!id) return false;
    ids.push_back(*id);
    begin = end;
  }
  return true;
}

Status WordPiece::tokenize(const Words& words, std::vector<int32_t>& ids) const {
  for (const TextRange range : words.ranges) {
    const size_t before = ids.size();
    if (cover(words.word(range), ids)) continue;
    ids.resize(before);
    ids.push_back(options_.unk_id);
  }
  return {};
}

Status WordLevel::tokenize(const Words& words, std::vector<int32_t>& ids) const {
  for (const TextRange range : words.ranges) {
    const std::string_view word = words.word(range);
    auto id = vocab_.find_in_model(word);
    if (!id) id = unk_id_;
    if (!id) return invalid_argument("the tokenizer has no token for \"{}\" and no unknown token", word);
    ids.push_back(*id);
  }
  return {};
}

}  // namespace sluice::text
