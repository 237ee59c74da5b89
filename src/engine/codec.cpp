#include "engine/codec.h"

#include "text/open_chat.h"

namespace sluice::engine {

Result<Codec> Codec::open(const std::string& model, bool generation_config) {
  SLUICE_ASSIGN(artifact::TextAssets assets, artifact::TextAssets::open(model));
  Codec codec(model, std::move(assets));
  if (codec.assets_.has_tokenizer()) {
    SLUICE_ASSIGN(codec.tokenizer_, codec.assets_.tokenizer());
    SLUICE_ASSIGN(codec.special_tokens_, codec.assets_.special_tokens());
  }
  if (generation_config) {
    SLUICE_ASSIGN(codec.defaults_, codec.assets_.generation_defaults());
  }
  return codec;
}

Status Codec::needs_tokenizer() const {
  if (tokenizer_) return {};
  return invalid_argument("{}: the model comes without a tokenizer; give the prompt as token ids", model_);
}

Result<std::vector<int32_t>> Codec::end_ids(const std::vector<int32_t>& of_config, int64_t vocab) const {
  std::vector<int32_t> out;
  for (const int64_t id : defaults_.end_ids) {
    if (id < 0 || id >= vocab) {
      return invalid_argument(
          "{}: generation_config.json: eos_token_id: {} is not a token of a vocabulary of {}", model_, id,
          vocab);
    }
    out.push_back(static_cast<int32_t>(id));
  }
  if (out.empty()) out = of_config;
  if (tokenizer_) out.insert(out.end(), tokenizer_->end_ids().begin(), tokenizer_->end_ids().end());
  return out;
}

Result<bool> Codec::has_chat_template() const {
  if (!tokenizer_) return false;
  SLUICE_ASSIGN(const auto source, assets_.chat_template());
  return source.has_value();
}

Result<text::ChatTemplate> Codec::chat_template(const Json& variables) const {
  const auto tools = variables.find("tools");
  const bool with_tools = tools != variables.end() && tools->is_array() && !tools->empty();
  const std::lock_guard lock(templates_->mutex);
  if (const auto known = templates_->parsed.find(with_tools); known != templates_->parsed.end())
    return known->second;
  SLUICE_ASSIGN(auto source, assets_.chat_template(with_tools));
  if (!source)
    return invalid_argument("{}: the model has no chat template; give a plain prompt (--raw)", model_);
  SLUICE_ASSIGN(text::ChatTemplate parsed, text::ChatTemplate::parse(*std::move(source)));
  return templates_->parsed.emplace(with_tools, std::move(parsed)).first->second;
}

Result<std::vector<int32_t>> Codec::encode_prompt(std::string_view text, bool trusted) const {
  SLUICE_TRY(needs_tokenizer());
  return tokenizer_->encode(text, {.add_special = true, .parse_special = trusted});
}

Result<text::RenderedChat> Codec::render_chat(Json variables) const {
  SLUICE_TRY(needs_tokenizer());
  if (variables.is_array()) variables = Json{{"messages", std::move(variables)}};
  if (!variables.is_object())
    return invalid_argument("a conversation is an array of messages, or an object with \"messages\"");
  const bool open = variables.value("continue_final_message", Json()) == true;
  variables.erase("continue_final_message");
  if (!variables.contains("add_generation_prompt")) variables["add_generation_prompt"] = !open;
  SLUICE_ASSIGN(const text::ChatTemplate chat, chat_template(variables));
  SLUICE_ASSIGN(Json complete, text::chat_variables(std::move(variables), special_tokens_));
  return open ? text::render_open(chat, std::move(complete)) : chat.render_marked(complete);
}

Result<std::shared_ptr<const sampling::BadWords>> Codec::encode_bad_words(
    std::span<const std::string> words) const {
  if (!tokenizer_) return invalid_argument("bad_words: they need a tokenizer, and the model has none");
  return sampling::BadWords::encode(*tokenizer_, words);
}

Result<std::vector<int32_t>> Codec::encode_rendered(const text::RenderedChat& rendered) const {
  SLUICE_TRY(needs_tokenizer());
  std::vector<text::TextRange> literal;
  for (const text::ByteRange& r : rendered.from_input) literal.push_back({r.begin, r.end});
  return tokenizer_->encode(rendered.text, {.add_special = false, .parse_special = true, .literal = literal});
}

Result<std::vector<int32_t>> Codec::encode_chat(Json variables) const {
  SLUICE_ASSIGN(const text::RenderedChat rendered, render_chat(std::move(variables)));
  return encode_rendered(rendered);
}

}  // namespace sluice::engine
