// Decoders: a chain of stages from the spellings of tokens to text, fed token by token. Running the chain
// over all tokens at once and streaming it are the same code, so they cannot disagree.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"
#include "text/utf8.h"

namespace sluice::text {

using Pieces = std::vector<std::string>;

/// One stage with the state of one stream.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  /// The same stage at the start of a text.
  virtual std::unique_ptr<DecodeStage> fresh() const = 0;
  /// Takes the next piece and appends to `out` what is certain now.
  virtual void push(std::string piece, Pieces& out) = 0;
  /// The end of the text: appends what was held back.
  virtual void flush(Pieces&) {}
  /// What the stage makes of a piece in the middle of a text, as raw bytes.
  virtual std::string bytes(std::string piece) const = 0;
  /// Only for ByteFallback: hold a whole run of byte tokens until it is known to be valid, as Hugging Face
  /// does.
  virtual void hold_runs() {}
};
using DecodeStages = std::vector<std::unique_ptr<DecodeStage>>;

// Stages that come after one that joins everything (Fuse, ByteLevel) see the text as a single piece that
// arrives in parts: they are made with `fused` set.

std::unique_ptr<DecodeStage> make_byte_level_decoder();
std::unique_ptr<DecodeStage> make_byte_fallback_decoder();
/// Tokens joined into one; nothing changes but what later stages take for a piece.
std::unique_ptr<DecodeStage> make_fuse_decoder();
std::unique_ptr<DecodeStage> make_metaspace_decoder(std::string replacement, bool drops_first);
/// A regular expression on fused text holds everything back until the end.
std::unique_ptr<DecodeStage> make_replace_decoder(Pattern pattern, std::string content, bool fused);
/// Up to `start` times `content` (one character) from the left and `stop` times from the right.
std::unique_ptr<DecodeStage> make_strip_decoder(std::string content, size_t start, size_t stop, bool fused);
std::unique_ptr<DecodeStage> make_wordpiece_decoder(std::string prefix, bool cleanup);
std::unique_ptr<DecodeStage> make_bpe_decoder(std::string suffix);
/// What a tokenizer without decoder does: tokens separated by spaces.
std::unique_ptr<DecodeStage> make_space_joiner();

/// One text being decoded.
class DecodeStream {
 public:
  /// `exact`: see DecodeStage::hold_runs.
  DecodeStream(const DecodeStages& stages, bool exact);

  /// Takes the next token and appends to `out` the valid UTF-8 that is certain now.
  void push(std::string_view token, std::string& out);
  void flush(std::string& out);

 private:
  void run(size_t first, Pieces pieces, std::string& out);

  DecodeStages stages_;
  Utf8Joiner joiner_;
};

}  // namespace sluice::text
