#include "sampling/bad_words.h"

#include <algorithm>
#include <cmath>

namespace sluice::sampling {
namespace {

using Word = std::span<const int32_t>;

bool ends_with(Word text, Word end) {
  return end.size() <= text.size() && std::equal(end.begin(), end.end(), text.end() - std::ssize(end));
}

}  // namespace

Result<std::shared_ptr<const BadWords>> BadWords::encode(const text::Tokenizer& tokenizer,
                                                         std::span<const std::string> words) {
  Tokens out;
  for (const std::string& word : words) {
    const size_t begin = word.find_first_not_of(' ');
    const std::string bare = begin == std::string::npos ? word : word.substr(begin);
    std::vector<int32_t> first, spaced;
    SLUICE_ASSIGN(first, tokenizer.encode(bare, {.add_special = false, .parse_special = true}));
    SLUICE_ASSIGN(spaced, tokenizer.encode(" " + bare, {.add_special = false, .parse_special = true}));
    if (first.empty()) return invalid_argument("bad_words: \"{}\" has no tokens", word.substr(0, 64));
    // Where the space is a token of its own, the word alone says it all.
    if (!ends_with(spaced, first)) out.push_back(std::move(spaced));
    out.push_back(std::move(first));
  }
  return std::make_shared<const BadWords>(std::move(out));
}

void BadWords::ban(std::span<float> logits, std::span<const int32_t> outputs) const {
  for (const Word word : words_) {
    const auto last = static_cast<size_t>(word.back());
    if (last < logits.size() && ends_with(outputs, word.first(word.size() - 1))) logits[last] = -INFINITY;
  }
}

}  // namespace sluice::sampling
