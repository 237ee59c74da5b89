#include "text/decoder.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "text/byte_level.h"
#include "text/model.h"

namespace sluice::text {
namespace {

// Replaces a literal everywhere. `pattern` is not empty.
std::string replace_literal(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
    out.append(text.substr(done, at - done)).append(content);
    done = at + pattern.size();
  }
  out += text.substr(done);
  return out;
}

class ByteLevelDecoder final : public DecodeStage {
 public:
  std::unique_ptr<DecodeStage> fresh() const override { return std::make_unique<ByteLevelDecoder>(); }
  void push(std::string piece, Pieces& out) override {
    std::string text;
    joiner_.push(byte_level_decode(piece), text);
    out.push_back(std::move(text));
  }
  void flush(Pieces& out) override {
    std::string text;
    joiner_.flush(text);
    out.push_back(std::move(text));
  }
  std::string bytes(std::string piece) const override { return byte_level_decode(piece); }

 private:
  Utf8Joiner joiner_;
};

class ByteFallbackDecoder final : public DecodeStage {
 public:
  std::unique_ptr<DecodeStage> fresh() const override { return std::make_unique<ByteFallbackDecoder>(); }
  void hold_runs() override { hold_runs_ = true; }
  void push(std::string piece, Pieces& out) override {
    const auto byte = parse_byte_token(piece);
    if (!byte) {
      flush(out);
      out.push_back(std::move(piece));
      return;
    }
    run_.push_back(static_cast<char>(*byte));
    if (!hold_runs_) give_certain(out);
  }
  void flush(Pieces& out) override {
    if (run_.empty()) return;
    if (is_valid_utf8(run_)) {
      out.push_back(run_);
    } else {
      give_broken(run_.size(), out);
    }
    run_.clear();
  }
  std::string bytes(std::string piece) const override {
    const auto byte = parse_byte_token(piece);
    return byte ? std::string(1, static_cast<char>(*byte)) : piece;
  }

 private:
  static void give_broken(size_t count, Pieces& out) {
    for (size_t i = 0; i < count; ++i) out.emplace_back(kReplacement);
  }
  // Everything but a character that may still be completed. One U+FFFD for each broken byte.
  void give_certain(Pieces& out) {
    size_t at = 0;
    while (at < run_.size()) {
      const Utf8Char c = decode_utf8(std::string_view(run_).substr(at));
      if (c.truncated) break;
      if (c.valid) {
        out.push_back(run_.substr(at, c.length));
      } else {
        give_broken(c.length, out);
      }
      at += c.length;
    }
    run_.erase(0, at);
  }

  std::string run_;
  bool hold_runs_ = false;
};

class FuseDecoder final : public DecodeStage {
 public:
  std::unique_ptr<DecodeStage> fresh() const override { return std::make_unique<FuseDecoder>(); }
  void push(std::string piece, Pieces& out) override { out.push_back(std::move(piece)); }
  std::string bytes(std::string piece) const override { return piece; }
};

class MetaspaceDecoder final : public DecodeStage {
 public:
  MetaspaceDecoder(std::string replacement, bool drops_first)
      : replacement_(std::move(replacement)), drops_first_(drops_first) {}
  std::unique_ptr<DecodeStage> fresh() const override {
    return std::make_unique<MetaspaceDecoder>(replacement_, drops_first_);
  }
  void push(std::string piece, Pieces& out) override {
    const bool first = std::exchange(first_, false);
    out.push_back(replace_literal(piece, replacement_, first && drops_first_ ? "" : " "));
  }
  std::string bytes(std::string piece) const override { return replace_literal(piece, replacement_, " "); }

 private:
  std::string replacement_;
  bool drops_first_;
  bool first_ = true;
};

class ReplaceDecoder final : public DecodeStage {
 public:
  ReplaceDecoder(Pattern pattern, std::string content, bool fused)
      : pattern_(std::move(pattern)), content_(std::move(content)), fused_(fused) {}
  std::unique_ptr<DecodeStage> fresh() const override {
    return std::make_unique<ReplaceDecoder>(pattern_, content_, fused_);
  }
  void push(std::string piece, Pieces& out) override {
    if (!fused_) {
      out.push_back(replace(std::move(piece)));
      return;
    }
    held_ += piece;
    const std::string* literal = pattern_.as_literal();
    if (literal == nullptr) return;
    // Replace the whole matches, then keep the longest end that may begin another.
    size_t done = 0;
    std::string text;
    for (size_t at = held_.find(*literal); at != std::string::npos; at = held_.find(*literal, done)) {
      text.append(held_, done, at - done).append(content_);
      done = at + literal->size();
    }
    held_.erase(0, done);
    size_t keep = std::min(held_.size(), literal->size() - 1);
    while (keep > 0 && !literal->starts_with(std::string_view(held_).substr(held_.size() - keep))) --keep;
    text.append(held_, 0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    out.push_back(std::move(text));
  }
  void flush(Pieces& out) override {
    if (!held_.empty()) out.push_back(replace(std::exchange(held_, {})));
  }
  std::string bytes(std::string piece) const override { return replace(std::move(piece)); }

 private:
  // A pattern that gives up on its input leaves it as it is: decoding never fails.
  std::string replace(std::string text) const {
    if (!is_valid_utf8(text)) return text;
    auto replaced = replace_all(text, pattern_, content_);
    return replaced.ok() ? std::move(replaced).value() : text;
  }

  Pattern pattern_;
  std::string content_;
  bool fused_;
  std::string held_;
};

class StripDecoder final : public DecodeStage {
 public:
  StripDecoder(std::string content, size_t start, size_t stop, bool fused)
      : content_(std::move(content)), start_(start), stop_(stop), fused_(fused), left_(start) {}
  std::unique_ptr<DecodeStage> fresh() const override {
    return std::make_unique<StripDecoder>(content_, start_, stop_, fused_);
  }
  void push(std::string piece, Pieces& out) override {
    if (!fused_) {
      strip_left(piece, start_);
      strip_right(piece, stop_);
      out.push_back(std::move(piece));
      return;
    }
    held_ += piece;
    left_ = strip_left(held_, left_);
    // An end that flush() may have to strip stays.
    size_t keep = 0;
    for (size_t i = 0; i < stop_ && ends_with_content(held_.size() - keep); ++i) keep += content_.size();
    out.push_back(held_.substr(0, held_.size() - keep));
    held_.erase(0, held_.size() - keep);
  }
  void flush(Pieces& out) override {
    strip_right(held_, stop_);
    out.push_back(std::exchange(held_, {}));
  }
  std::string bytes(std::string piece) const override { return piece; }

 private:
  bool ends_with_content(size_t size) const {
    return std::string_view(held_).substr(0, size).ends_with(content_);
  }
  // How often it may still be stripped: never again once something else has come.
  size_t strip_left(std::string& text, size_t times) const {
    size_t at = 0;
    for (; times > 0 && std::string_view(text).substr(at).starts_with(content_); --times)
      at += content_.size();
    text.erase(0, at);
    return text.empty() ? times : 0;
  }
  void strip_right(std::string& text, size_t times) const {
    for (; times > 0 && text.ends_with(content_); --times) text.resize(text.size() - content_.size());
  }

  std::string content_;
  size_t start_;
  size_t stop_;
  bool fused_;
  size_t left_;
  std::string held_;
};

class WordPieceDecoder final : public DecodeStage {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  std::unique_ptr<DecodeStage> fresh() const override {
    return std::make_unique<WordPieceDecoder>(prefix_, cleanup_);
  }
  void push(std::string piece, Pieces& out) override {
    if (!std::exchange(first_, false)) piece = join(std::move(piece));
    if (cleanup_) piece = clean(std::move(piece));
    out.push_back(std::move(piece));
  }
  std::string bytes(std::string piece) const override {
    piece = join(std::move(piece));
    return cleanup_ ? clean(std::move(piece)) : piece;
  }

 private:
  std::string join(std::string piece) const {
    return piece.starts_with(prefix_) ? piece.substr(prefix_.size()) : " " + piece;
  }
  // The spaces that English writes not, and that BERT's words have lost.
  static std::string clean(std::string text) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kRules = {{{" .", "."},
                                                                                       {" ?", "?"},
                                                                                       {" !", "!"},
                                                                                       {" ,", ","},
                                                                                       {" ' ", "'"},
                                                                                       {" n't", "n't"},
                                                                                       {" 'm", "'m"},
                                                                                       {" do not", " don't"},
                                                                                       {" 's", "'s"},
                                                                                       {" 've", "'ve"},
                                                                                       {" 're", "'re"}}};
    for (const auto& [from, to] : kRules) text = replace_literal(text, from, to);
    return text;
  }

  std::string prefix_;
  bool cleanup_;
  bool first_ = true;
};

class BpeDecoder final : public DecodeStage {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  std::unique_ptr<DecodeStage> fresh() const override { return std::make_unique<BpeDecoder>(suffix_); }
  // The suffix is a space but in the last token, so a token that has one waits for the next.
  void push(std::string piece, Pieces& out) override {
    if (last_) out.push_back(replace_literal(*last_, suffix_, " "));
    last_.reset();
    if (piece.find(suffix_) == std::string::npos) {
      out.push_back(std::move(piece));
    } else {
      last_ = std::move(piece);
    }
  }
  void flush(Pieces& out) override {
    if (last_) out.push_back(replace_literal(*last_, suffix_, ""));
    last_.reset();
  }
  std::string bytes(std::string piece) const override { return replace_literal(piece, suffix_, " "); }

 private:
  std::string suffix_;
  std::optional<std::string> last_;
};

class SpaceJoiner final : public DecodeStage {
 public:
  std::unique_ptr<DecodeStage> fresh() const override { return std::make_unique<SpaceJoiner>(); }
  void push(std::string piece, Pieces& out) override {
    out.push_back(std::exchange(first_, false) ? std::move(piece) : " " + piece);
  }
  std::string bytes(std::string piece) const override { return " " + piece; }

 private:
  bool first_ = true;
};

}  // namespace

std::unique_ptr<DecodeStage> make_byte_level_decoder() { return std::make_unique<ByteLevelDecoder>(); }
std::unique_ptr<DecodeStage> make_byte_fallback_decoder() { return std::make_unique<ByteFallbackDecoder>(); }
std::unique_ptr<DecodeStage> make_fuse_decoder() { return std::make_unique<FuseDecoder>(); }
std::unique_ptr<DecodeStage> make_metaspace_decoder(std::string replacement, bool drops_first) {
  return std::make_unique<MetaspaceDecoder>(std::move(replacement), drops_first);
}
std::unique_ptr<DecodeStage> make_replace_decoder(Pattern pattern, std::string content, bool fused) {
  return std::make_unique<ReplaceDecoder>(std::move(pattern), std::move(content), fused);
}
std::unique_ptr<DecodeStage> make_strip_decoder(std::string content, size_t start, size_t stop, bool fused) {
  return std::make_unique<StripDecoder>(std::move(content), start, stop, fused);
}
std::unique_ptr<DecodeStage> make_wordpiece_decoder(std::string prefix, bool cleanup) {
  return std::make_unique<WordPieceDecoder>(std::move(prefix), cleanup);
}
std::unique_ptr<DecodeStage> make_bpe_decoder(std::string suffix) {
  return std::make_unique<BpeDecoder>(std::move(suffix));
}
std::unique_ptr<DecodeStage> make_space_joiner() { return std::make_unique<SpaceJoiner>(); }

DecodeStream::DecodeStream(const DecodeStages& stages, bool exact) {
  stages_.reserve(stages.size());
  for (const auto& stage : stages) {
    stages_.push_back(stage->fresh());
    if (exact) stages_.back()->hold_runs();
  }
}

// Sends pieces through the stages from `first` on.
void DecodeStream::run(size_t first, Pieces pieces, std::string& out) {
  Pieces next;
  for (size_t i = first; i < stages_.size(); ++i) {
    next.clear();
    for (std::string& piece : pieces) stages_[i]->push(std::move(piece), next);
    pieces.swap(next);
  }
  for (const std::string& piece : pieces) joiner_.push(piece, out);
}

void DecodeStream::push(std::string_view token, std::string& out) {
  Pieces pieces;
  pieces.emplace_back(token);
  run(0, std::move(pieces), out);
}

void DecodeStream::flush(std::string& out) {
  for (size_t i = 0; i < stages_.size(); ++i) {
    Pieces rest;
    stages_[i]->flush(rest);
    run(i + 1, std::move(rest), out);
  }
  joiner_.flush(out);
}

}  // namespace sluice::text
