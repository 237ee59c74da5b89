#include "text/gguf_vocab.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/char_class.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/pipeline.h"
#include "text/unigram.h"
#include "text/word_models.h"

namespace sluice::text {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's visible space

// Tokens that end a turn or a text in the templates of many models. Files often name only one of a model's.
constexpr std::array<std::string_view, 14> kEndOfTurn = {"<|eot_id|>",
                                                         "<|im_end|>",
                                                         "<|end|>",
                                                         "<|return|>",
                                                         "<end_of_turn>",
                                                         "<|endoftext|>",
                                                         "<|eom_id|>",
                                                         "<|end_of_text|>",
                                                         "<EOT>",
                                                         "_<EOT>",
                                                         "[EOT]",
                                                         "<｜end▁of▁sentence｜>",
                                                         "<end_of_utterance>",
                                                         "<turn|>"};

class Builder {
 public:
  explicit Builder(const GgufVocab& vocab) : in_(vocab), out_(std::make_shared<Pipeline>()) {}

  Result<Tokenizer> build() {
    SLUICE_TRY(check_lists());
    if (in_.model == "gpt2") {
      SLUICE_TRY(build_gpt2());
    } else if (in_.model == "gemma4") {
      SLUICE_TRY(build_gemma4());
    } else if (in_.model == "llama") {
      SLUICE_TRY(build_llama());
    } else if (in_.model == "t5") {
      SLUICE_TRY(build_t5());
    } else if (in_.model == "bert") {
      SLUICE_TRY(build_bert());
    } else if (in_.model == "none" || in_.model == "no_vocab" || in_.model.empty()) {
      return unsupported("tokenizer.ggml.model: the file has no tokenizer; give token ids instead of text");
    } else {
      return unsupported(
          "tokenizer.ggml.model \"{}\" is not known; the known ones are gpt2, llama, gemma4, t5 and bert",
          in_.model);
    }
    SLUICE_TRY(set_special_ids());
    SLUICE_TRY(set_added_tokens());
    return Tokenizer(std::move(out_));
  }

 private:
  GgufTokenType type(size_t id) const {
    return in_.token_types.empty() ? GgufTokenType::normal : static_cast<GgufTokenType>(in_.token_types[id]);
  }
  bool is_special(size_t id) const {
    return type(id) == GgufTokenType::control || type(id) == GgufTokenType::unknown;
  }

  Status check_lists() const {
    const size_t count = in_.tokens.size();
    if (count == 0) return corrupt("tokenizer.ggml.tokens is empty");
    if (!in_.scores.empty() && in_.scores.size() != count) {
      return corrupt("tokenizer.ggml.scores has {} entries, tokenizer.ggml.tokens {}", in_.scores.size(),
                     count);
    }
    if (!in_.token_types.empty() && in_.token_types.size() != count) {
      return corrupt("tokenizer.ggml.token_type has {} entries, tokenizer.ggml.tokens {}",
                     in_.token_types.size(), count);
    }
    for (size_t id = 0; id < in_.token_types.size(); ++id) {
      if (in_.token_types[id] < 0 || in_.token_types[id] > static_cast<int32_t>(GgufTokenType::byte))
        return corrupt("tokenizer.ggml.token_type[{}] is {}, which GGUF does not define", id,
                       in_.token_types[id]);
    }
    for (size_t id = 0; id < in_.scores.size(); ++id) {
      if (!std::isfinite(in_.scores[id])) return corrupt("tokenizer.ggml.scores[{}] is not finite", id);
    }
    return {};
  }

  // `model_types`: whether the model may produce a token of this type from text.
  template <typename Fn>
  Status fill_vocab(Fn in_model) {
    size_t bytes = 0;
    for (const std::string_view token : in_.tokens) bytes += token.size();
    out_->vocab.reserve(in_.tokens.size(), bytes);
    for (size_t id = 0; id < in_.tokens.size(); ++id) {
      if (in_.tokens[id].empty() && id + 1 < in_.tokens.size()) continue;  // an unused id
      const uint8_t flags = static_cast<uint8_t>((in_model(type(id)) ? Vocab::kModel : 0) |
                                                 (is_special(id) ? Vocab::kSpecial : 0));
      const Status added = out_->vocab.add(static_cast<int32_t>(id), in_.tokens[id], flags);
      if (!added.ok()) return added.with_context("tokenizer.ggml.tokens");
    }
    return {};
  }

  // The id of a field, checked; `fallback` where the file has none and the vocabulary has such an id.
  Result<std::optional<int32_t>> special_id(const char* field, const std::optional<uint32_t>& value,
                                            std::optional<uint32_t> fallback = {}) const {
    if (value && *value >= in_.tokens.size()) {
      return corrupt("tokenizer.ggml.{} is {}, the vocabulary has {} tokens", field, *value,
                     in_.tokens.size());
    }
    if (value) return std::optional<int32_t>(static_cast<int32_t>(*value));
    if (fallback && *fallback < in_.tokens.size())
      return std::optional<int32_t>(static_cast<int32_t>(*fallback));
    return std::optional<int32_t>();
  }

  Status split_by(std::string_view pattern) {
    SLUICE_ASSIGN(Pattern compiled, Pattern::regex(pattern));
    out_->pre_tokenizers.push_back(make_split(std::move(compiled), SplitBehavior::isolated, false));
    return {};
  }

  Status replace_spaces() {
    SLUICE_ASSIGN(Pattern space, Pattern::literal(" "));
    out_->normalizers.push_back(make_replace(std::move(space), std::string(kSpaceMark)));
    return {};
  }

  // Visible spaces back to spaces, byte tokens to bytes, and the space in front of a text away.
  Status decode_sentencepiece(bool space_prefix) {
    SLUICE_ASSIGN(Pattern mark, Pattern::literal(kSpaceMark));
    out_->decoders.push_back(make_replace_decoder(std::move(mark), " ", false));
    out_->decoders.push_back(make_byte_fallback_decoder());
    out_->decoders.push_back(make_fuse_decoder());
    if (space_prefix) out_->decoders.push_back(make_strip_decoder(" ", 1, 0, true));
    return {};
  }

  Status build_ranked_bpe(BpeOptions options) {
    if (in_.merges.empty())
      return corrupt("tokenizer.ggml.merges is missing, which {} models need", in_.model);
    MergeListReader reader(out_->vocab, in_.merges.size());
    for (const std::string_view merge : in_.merges) {
      const Status added = reader.add_line(merge);
      if (!added.ok()) return added.with_context("tokenizer.ggml.merges");
    }
    out_->model = std::make_unique<RankedBpe>(out_->vocab, reader.take(), std::move(options));
    return {};
  }

  Status build_gpt2() {
    const GgufPreTokenizer* pre = find_gguf_pre_tokenizer(in_.pre);
    if (in_.pre == "gemma4" || in_.pre == "granite-embed-multi-311m") return build_gemma4();
    if (pre == nullptr) {
      return unsupported("tokenizer.ggml.pre \"{}\" is not known, so the text would be cut into wrong tokens",
                         in_.pre);
    }
    SLUICE_TRY(fill_vocab([](GgufTokenType t) { return t != GgufTokenType::control; }));
    for (const std::string_view pattern : pre->patterns) SLUICE_TRY(split_by(pattern));
    SLUICE_ASSIGN(auto bytes, make_byte_level(false, false));
    out_->pre_tokenizers.push_back(std::move(bytes));
    out_->decoders.push_back(make_byte_level_decoder());
    byte_level_ = true;
    add_bos_ = pre->add_bos;
    return build_ranked_bpe({.ignore_merges = pre->ignore_merges});
  }

  // BPE by ranks over SentencePiece's spelling.
  Status build_gemma4() {
    SLUICE_TRY(fill_vocab([](GgufTokenType t) { return t != GgufTokenType::control; }));
    SLUICE_TRY(replace_spaces());
    SLUICE_TRY(split_by(R"([^\n]+|\n+)"));
    SLUICE_TRY(decode_sentencepiece(false));
    add_bos_ = always_bos_ = true;
    newline_tokens_ = true;
    return build_ranked_bpe({.byte_fallback = true});
  }

  static bool is_piece(GgufTokenType t) {
    return t == GgufTokenType::normal || t == GgufTokenType::user_defined || t == GgufTokenType::unused ||
           t == GgufTokenType::undefined;
  }

  Status build_llama() {
    if (in_.scores.empty()) return corrupt("tokenizer.ggml.scores is missing, which llama models need");
    SLUICE_TRY(fill_vocab(is_piece));
    const bool space_prefix = in_.add_space_prefix.value_or(true);
    if (space_prefix) out_->normalizers.push_back(make_prepend(std::string(kSpaceMark)));
    SLUICE_TRY(replace_spaces());
    SLUICE_TRY(decode_sentencepiece(space_prefix));
    SLUICE_ASSIGN(const auto unk, special_id("unknown_token_id", in_.unk_id, 0));
    out_->model = std::make_unique<ScoredBpe>(out_->vocab, in_.scores, unk);
    add_bos_ = true;
    default_bos_ = 1;
    default_eos_ = 2;
    default_unk_ = 0;
    return {};
  }

  Status build_t5() {
    if (in_.scores.empty()) return corrupt("tokenizer.ggml.scores is missing, which t5 models need");
    SLUICE_TRY(fill_vocab(is_piece));
    if (!in_.precompiled_charsmap.empty()) {
      auto map = PrecompiledCharsmap::create(in_.precompiled_charsmap);
      if (!map.ok()) return map.status().with_context("tokenizer.ggml.precompiled_charsmap");
      out_->normalizers.push_back(make_sentencepiece_charsmap(std::move(map).value()));
    }
    if (in_.remove_extra_whitespaces.value_or(false)) out_->normalizers.push_back(make_collapse_spaces());
    const bool space_prefix = in_.add_space_prefix.value_or(true);
    if (space_prefix) out_->normalizers.push_back(make_prepend(std::string(kSpaceMark)));
    SLUICE_TRY(replace_spaces());
    SLUICE_TRY(decode_sentencepiece(space_prefix));
    SLUICE_ASSIGN(const auto unk, special_id("unknown_token_id", in_.unk_id, 2));
    out_->model = std::make_unique<Unigram>(
        out_->vocab, std::vector<double>(in_.scores.begin(), in_.scores.end()), unk, true);
    add_eos_ = true;
    default_eos_ = 1;
    default_unk_ = 2;
    default_pad_ = 0;
    return {};
  }

  Status build_bert() {
    SLUICE_TRY(fill_vocab([](GgufTokenType t) { return t != GgufTokenType::control; }));
    const bool lowercase = in_.lowercase.value_or(true);
    out_->normalizers.push_back(make_bert_normalizer(
        {.strip_accents = in_.strip_accents.value_or(lowercase), .lowercase = lowercase}));
    out_->pre_tokenizers.push_back(make_char_split(is_space, SplitBehavior::removed));
    out_->pre_tokenizers.push_back(make_char_split(is_punctuation, SplitBehavior::isolated));
    SLUICE_ASSIGN(const auto unk, special_id("unknown_token_id", in_.unk_id, 100));
    if (!unk) return corrupt("tokenizer.ggml.unknown_token_id is missing, which bert models need");
    out_->model =
        std::make_unique<WordPiece>(out_->vocab, WordPieceOptions{.unk_id = *unk,
                                                                  .continuing_prefix = "",
                                                                  .start_prefix = std::string(kSpaceMark),
                                                                  .max_chars = SIZE_MAX});
    SLUICE_TRY(decode_sentencepiece(true));
    add_bos_ = true;
    add_sep_ = in_.add_sep.value_or(true);
    default_bos_ = 101;
    default_sep_ = 102;
    default_unk_ = 100;
    default_pad_ = 0;
    return {};
  }

  Status set_special_ids() {
    Pipeline& p = *out_;
    SLUICE_ASSIGN(p.bos_id, special_id("bos_token_id", in_.bos_id, default_bos_));
    SLUICE_ASSIGN(p.eos_id, special_id("eos_token_id", in_.eos_id, default_eos_));
    SLUICE_ASSIGN(p.unk_id, special_id("unknown_token_id", in_.unk_id, default_unk_));
    SLUICE_ASSIGN(p.pad_id, special_id("padding_token_id", in_.pad_id, default_pad_));
    SLUICE_ASSIGN(const auto sep,
                  special_id("seperator_token_id", in_.sep_id, default_sep_));  // GGUF's spelling
    SLUICE_ASSIGN(const auto eot, special_id("eot_token_id", in_.eot_id));
    SLUICE_ASSIGN(const auto eom, special_id("eom_token_id", in_.eom_id));

    if (in_.add_bos == true && !p.bos_id) {
      return corrupt("tokenizer.ggml.add_bos_token is true, but tokenizer.ggml.bos_token_id is missing");
    }
    if (in_.add_eos == true && !p.eos_id) {
      return corrupt("tokenizer.ggml.add_eos_token is true, but tokenizer.ggml.eos_token_id is missing");
    }
    if (p.bos_id && (always_bos_ || in_.add_bos.value_or(add_bos_))) p.prefix.push_back(*p.bos_id);
    if (p.eos_id && in_.add_eos.value_or(add_eos_)) p.suffix.push_back(*p.eos_id);
    if (sep && add_sep_) p.suffix.push_back(*sep);

    const auto add_end = [&](std::optional<int32_t> id) {
      if (id && std::find(p.end_ids.begin(), p.end_ids.end(), *id) == p.end_ids.end())
        p.end_ids.push_back(*id);
    };
    add_end(p.eos_id);
    add_end(eot);
    add_end(eom);
    for (const std::string_view name : kEndOfTurn) {
      const auto id = p.vocab.find(name);
      if (id && type(static_cast<size_t>(*id)) == GgufTokenType::control) add_end(id);
    }
    return {};
  }

  Status set_added_tokens() {
    const bool phi3 = in_.general_name.find("phi-3") != std::string_view::npos ||
                      in_.general_name.find("Phi-3") != std::string_view::npos ||
                      in_.general_name.find("phi3") != std::string_view::npos;
    std::vector<AddedToken> added;
    for (size_t id = 0; id < in_.tokens.size(); ++id) {
      const std::string_view token = in_.tokens[id];
      const bool newlines =
          newline_tokens_ && !token.empty() && token.find_first_not_of('\n') == std::string_view::npos;
      if (!is_special(id) && type(id) != GgufTokenType::user_defined && !newlines) continue;
      const bool plain = token == "<unk>" || token == "<s>" || token == "<|endoftext|>";
      added.push_back({.id = static_cast<int32_t>(id),
                       .content = std::string(token),
                       .special = is_special(id),
                       .rstrip = phi3 && is_special(id) && !plain});
    }
    if (byte_level_) {
      // Added tokens are written as they are, not in the alphabet of bytes; the decoder reads that alphabet.
      for (const AddedToken& token : added) {
        if (byte_level_decode(token.content) == token.content) continue;
        append_byte_level(out_->decode_as[token.id], token.content);
      }
    }
    return text::set_added_tokens(*out_, std::move(added));
  }

  const GgufVocab& in_;
  std::shared_ptr<Pipeline> out_;
  bool add_bos_ = false;
  bool always_bos_ = false;
  bool add_eos_ = false;
  bool add_sep_ = false;
  bool byte_level_ = false;
  bool newline_tokens_ = false;  // runs of line feeds are cut out before the model
  std::optional<uint32_t> default_bos_, default_eos_, default_unk_, default_pad_, default_sep_;
};

}  // namespace

Result<Tokenizer> make_gguf_tokenizer(const GgufVocab& vocab) { return Builder(vocab).build(); }

}  // namespace sluice::text
