// Between what people write and what the engine runs: prompts and conversations to ids, ids to text.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "artifact/text_assets.h"
#include "base/json.h"
#include "sampling/bad_words.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace sluice::engine {

class Codec {
 public:
  /// Reads tokenizer, chat template and generation defaults of a MODEL. One without a tokenizer is used with
  /// ids only: the calls that need text then say so. A template that cannot be parsed is refused when it is
  /// first needed, or by check_chat_templates. Without `generation_config`, what the model's authors
  /// recommend for sampling and list as ends (generation_config.json, a GGUF's general.sampling) is not read.
  static Result<Codec> open(const std::string& model, bool generation_config = true);

  bool has_tokenizer() const { return tokenizer_.has_value(); }
  const text::Tokenizer* tokenizer() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  Result<bool> has_chat_template() const;
  const artifact::GenerationDefaults& defaults() const { return defaults_; }

  /// A plain prompt, with what the model wants around every text (BOS). Special tokens spelt in it are
  /// recognised only with `trusted`: when whoever wrote it may write control tokens.
  Result<std::vector<int32_t>> encode_prompt(std::string_view text, bool trusted = false) const;

  /// A conversation through the model's chat template: an array of messages, or an object with `messages` and
  /// whatever else the template may use; add_generation_prompt is true unless given. With
  /// continue_final_message the last message is left open (text/open_chat.h), and it is false. Special tokens
  /// count only where the template wrote them, never where the conversation spells one.
  Result<std::vector<int32_t>> encode_chat(Json variables) const;

  /// The text that encode_chat encodes, with the parts that the conversation wrote.
  Result<text::RenderedChat> render_chat(Json variables) const;
  Result<std::vector<int32_t>> encode_rendered(const text::RenderedChat& rendered) const;
  /// The template's source, if there is one.
  Result<std::optional<std::string>> chat_template_source(bool with_tools = false) const {
    return assets_.chat_template(with_tools);
  }
  Status check_chat_templates() const { return assets_.check_chat_templates(); }
  const Json& special_tokens() const { return special_tokens_; }

  Result<std::shared_ptr<const sampling::BadWords>> encode_bad_words(
      std::span<const std::string> words) const;

  /// Ids that end a generation: those of generation_config.json, or else `of_config`, and the tokenizer's.
  /// Refuses ids outside [0, vocab).
  Result<std::vector<int32_t>> end_ids(const std::vector<int32_t>& of_config, int64_t vocab) const;

  size_t memory_bytes() const { return tokenizer_ ? tokenizer_->memory_bytes() : 0; }

 private:
  /// The template parsed, the tool variant where `variables` have tools and there is one.
  Result<text::ChatTemplate> chat_template(const Json& variables) const;
  Status needs_tokenizer() const;

  explicit Codec(std::string model, artifact::TextAssets assets)
      : model_(std::move(model)), assets_(std::move(assets)) {}

  std::string model_;
  artifact::TextAssets assets_;
  std::optional<text::Tokenizer> tokenizer_;
  /// Templates parsed so far, by whether they are the variant for tools; shared by copies.
  struct Templates {
    std::mutex mutex;
    std::map<bool, text::ChatTemplate> parsed;
  };
  std::shared_ptr<Templates> templates_ = std::make_shared<Templates>();
  Json special_tokens_ = Json::object();
  artifact::GenerationDefaults defaults_;
};

}  // namespace sluice::engine
