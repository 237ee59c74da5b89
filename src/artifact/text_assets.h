// Tokenizer, chat template and generation defaults of a MODEL, whatever it is: an engine directory, a Hugging
// Face directory or a GGUF file, be it a vocabulary only.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "artifact/writer.h"
#include "base/json.h"
#include "model/checkpoint/gguf_metadata.h"
#include "text/tokenizer.h"

namespace sluice::artifact {

/// What a model's authors recommend for generation; absent where they say nothing.
struct GenerationDefaults {
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k;
  std::vector<int64_t> end_ids;  // "eos_token_id", a number or several; unchecked against the vocabulary
  bool operator==(const GenerationDefaults&) const = default;
};

class TextAssets {
 public:
  /// Finds them; each is read when asked for.
  static Result<TextAssets> open(const std::string& model);

  /// False for models that come without: they are used with ids only.
  bool has_tokenizer() const;
  Result<text::Tokenizer> tokenizer() const;

  /// The template's source; nothing when the model has none. `with_tools`: the variant for tools, if there is
  /// one.
  Result<std::optional<std::string>> chat_template(bool with_tools = false) const;
  /// Refuses a template, either variant, that cannot be parsed.
  Status check_chat_templates() const;
  /// {"bos_token": "<s>", ...}: what templates print.
  Result<Json> special_tokens() const;

  /// Refuses values out of range by name.
  Result<GenerationDefaults> generation_defaults() const;

  /// Puts them into an engine under kTokenizerDir, from where open() finds them again.
  Status copy_into(EngineWriter& writer) const;

 private:
  using Directory = std::string;
  explicit TextAssets(Directory directory) : place_(std::move(directory)) {}
  explicit TextAssets(model::GgufMetadata metadata) : place_(std::move(metadata)) {}

  const Directory* directory() const { return std::get_if<Directory>(&place_); }
  const model::GgufMetadata& metadata() const { return std::get<model::GgufMetadata>(place_); }

  std::variant<Directory, model::GgufMetadata> place_;
};

/// Refuses a tokenizer that gives plain text ids which a model with a vocabulary of `vocab` lacks. Added
/// tokens may lie beyond (Gemma 3's text models come with the token of its pictures): a prompt that has one
/// is refused.
Status check_tokenizer_fits(const text::Tokenizer& tokenizer, int64_t vocab);

/// Names, relative to a model directory, of the files there that TextAssets reads.
std::vector<std::string> text_files(const std::string& directory);

}  // namespace sluice::artifact
