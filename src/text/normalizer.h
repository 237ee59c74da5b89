// Normalizers: text to text, before anything is split. Input and output are valid UTF-8.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/pattern.h"
#include "text/precompiled_charsmap.h"

namespace sluice::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual Status apply(std::string& text) const = 0;
};
using Normalizers = std::vector<std::unique_ptr<Normalizer>>;

/// Applies all of them in order.
Status normalize(const Normalizers& normalizers, std::string& text);

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

struct BertNormalizerOptions {
  bool clean_text = true;            // drop control characters, make white space a space
  bool handle_chinese_chars = true;  // spaces around ideographs
  bool strip_accents = true;
  bool lowercase = true;
};

std::unique_ptr<Normalizer> make_unicode_normalizer(UnicodeForm form);
std::unique_ptr<Normalizer> make_lowercase();
std::unique_ptr<Normalizer> make_strip_accents();  // removes marks; does not decompose
std::unique_ptr<Normalizer> make_strip(bool left, bool right);
std::unique_ptr<Normalizer> make_replace(Pattern pattern, std::string content);
std::unique_ptr<Normalizer> make_prepend(std::string prefix);  // not to an empty text
std::unique_ptr<Normalizer> make_bert_normalizer(const BertNormalizerOptions& options);
std::unique_ptr<Normalizer> make_nmt();
std::unique_ptr<Normalizer> make_byte_level_normalizer();
/// Hugging Face's reading of a charsmap: by grapheme, then by character.
std::unique_ptr<Normalizer> make_precompiled(PrecompiledCharsmap map);
/// SentencePiece's reading: the longest key at each place.
std::unique_ptr<Normalizer> make_sentencepiece_charsmap(PrecompiledCharsmap map);
/// SentencePiece's remove_extra_whitespaces: no space at either end, no two in a row.
std::unique_ptr<Normalizer> make_collapse_spaces();

}  // namespace sluice::text
