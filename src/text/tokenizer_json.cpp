#include "text/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "text/json_components.h"
#include "text/json_fields.h"
#include "text/pipeline.h"

namespace sluice::text {
namespace {

// Ids may have gaps behind the model's own (models round their vocabulary up), but not more than this in all.
constexpr size_t kMaxGap = size_t{1} << 16;

Result<AddedToken> read_added_token(const Fields& fields, int64_t id) {
  AddedToken token;
  if (id < 0 || id >= Vocab::kMaxSize) {
    return corrupt("{}: id {} is outside [0, {})", fields.where(), id, Vocab::kMaxSize);
  }
  token.id = static_cast<int32_t>(id);
  SLUICE_ASSIGN(token.content, fields.string("content"));
  if (token.content.empty()) return corrupt("{} is empty", fields.where("content"));
  SLUICE_ASSIGN(token.special, fields.boolean("special", false));
  SLUICE_ASSIGN(token.lstrip, fields.boolean("lstrip", false));
  SLUICE_ASSIGN(token.rstrip, fields.boolean("rstrip", false));
  SLUICE_ASSIGN(token.single_word, fields.boolean("single_word", false));
  SLUICE_ASSIGN(token.normalized, fields.boolean("normalized", !token.special));
  return token;
}

class Builder {
 public:
  Result<Tokenizer> build(const TokenizerFiles& files) {
    SLUICE_ASSIGN(const Json root, parse_json(files.tokenizer, "tokenizer.json"));
    if (!root.is_object()) return corrupt("tokenizer.json must be an object");
    const Fields fields(root, "tokenizer.json");
    SLUICE_ASSIGN(config_, parse_optional(files.tokenizer_config, "tokenizer_config.json"));
    SLUICE_ASSIGN(specials_, parse_optional(files.special_tokens_map, "special_tokens_map.json"));

    Pipeline& p = *out_;
    SLUICE_ASSIGN(const Json* model_json, fields.object("model"));
    const Fields model(*model_json, "tokenizer.json: model");
    SLUICE_TRY(read_model_vocab(model, p));
    const size_t model_size = static_cast<size_t>(p.vocab.size());
    SLUICE_TRY(read_added_tokens(fields));
    SLUICE_TRY(mark_named_tokens());
    SLUICE_TRY(add_to_vocab());
    SLUICE_TRY(check_gaps(model_size));
    SLUICE_TRY(read_normalizer(slot(fields, "normalizer"), "tokenizer.json: normalizer", p));
    SLUICE_TRY(set_added_tokens(p, std::move(added_)));
    SLUICE_TRY(read_model(model, p));
    SLUICE_TRY(read_pre_tokenizer(slot(fields, "pre_tokenizer"), "tokenizer.json: pre_tokenizer", p));
    SLUICE_TRY(read_post_processor(slot(fields, "post_processor"), "tokenizer.json: post_processor", p));
    SLUICE_TRY(read_decoder(slot(fields, "decoder"), "tokenizer.json: decoder", p));
    SLUICE_TRY(apply_config());
    return Tokenizer(std::move(out_));
  }

 private:
  static Result<Json> parse_optional(std::string_view text, const char* name) {
    if (text.empty()) return Json(Json::value_t::object);
    SLUICE_ASSIGN(Json json, parse_json(text, name, {.allow_nan_literals = true}));
    if (!json.is_object()) return corrupt("{} must be an object", name);
    return json;
  }

  static const Json& slot(const Fields& fields, const char* name) {
    static const Json kNull;
    const Json* json = fields.find(name);
    return json == nullptr ? kNull : *json;
  }

  void put(AddedToken token) {
    const auto [known, fresh] = by_id_.try_emplace(token.id, added_.size());
    if (fresh) {
      added_.push_back(std::move(token));
    } else {
      added_[known->second] = std::move(token);
    }
  }

  // The list of tokenizer.json, then what tokenizer_config.json says about the same tokens.
  Status read_added_tokens(const Fields& fields) {
    if (fields.find("added_tokens") != nullptr) {
      SLUICE_ASSIGN(const Json* list, fields.array("added_tokens"));
      for (size_t i = 0; i < list->size(); ++i) {
        const Fields entry((*list)[i], fmt::format("tokenizer.json: added_tokens[{}]", i));
        SLUICE_ASSIGN(const int64_t id, entry.integer("id"));
        SLUICE_ASSIGN(AddedToken token, read_added_token(entry, id));
        if (by_id_.contains(token.id)) return corrupt("{}: id {} was given before", entry.where(), id);
        put(std::move(token));
      }
    }
    const Fields config(config_, "tokenizer_config.json");
    if (config.find("added_tokens_decoder") == nullptr) return {};
    SLUICE_ASSIGN(const Json* by_id, config.object("added_tokens_decoder"));
    for (auto it = by_id->begin(); it != by_id->end(); ++it) {
      const std::string& key = it.key();
      const Fields entry(it.value(), config.where("added_tokens_decoder") + "." + key);
      int64_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size())
        return corrupt("{} is no id", entry.where());
      SLUICE_ASSIGN(AddedToken token, read_added_token(entry, id));
      const auto known = by_id_.find(token.id);
      if (known != by_id_.end() && added_[known->second].content != token.content) {
        return corrupt("{} is \"{}\", but tokenizer.json gives this id to \"{}\"", entry.where("content"),
                       token.content, added_[known->second].content);
      }
      put(std::move(token));
    }
    return {};
  }

  // The text of a field such as eos_token: a string, or an object with `content`. Empty when there is none.
  Result<std::string> named_token(const char* name) const {
    for (const auto& [json, file] :
         {std::pair(&config_, "tokenizer_config.json"), std::pair(&specials_, "special_tokens_map.json")}) {
      const Fields fields(*json, file);
      const Json* value = fields.find(name);
      if (value == nullptr) continue;
      if (value->is_string()) return value->get<std::string>();
      if (!value->is_object()) return corrupt("{} must be a string or an object", fields.where(name));
      return Fields(*value, fields.where(name)).string("content");
    }
    return std::string();
  }

  // A token with a role is special, also when only the configuration says so.
  Status mark_named_tokens() {
    for (const char* name :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
      SLUICE_ASSIGN(const std::string content, named_token(name));
      const auto id = out_->vocab.find(content);
      if (content.empty() || !id || by_id_.contains(*id)) continue;
      put({.id = *id, .content = content, .special = true});
    }
    return {};
  }

  Status add_to_vocab() {
    Vocab& vocab = out_->vocab;
    const size_t limit = static_cast<size_t>(vocab.size()) + added_.size() + kMaxGap;
    for (const AddedToken& token : added_) {
      if (static_cast<size_t>(token.id) >= limit) {
        return corrupt(
            "tokenizer.json: added_tokens: \"{}\" has id {}, far beyond the vocabulary of {} tokens",
            token.content, token.id, vocab.size());
      }
      const bool same =
          vocab.contains(token.id) && vocab.is_defined(token.id) && vocab.token(token.id) == token.content;
      const Status added = same ? Status() : vocab.add(token.id, token.content, 0);
      if (!added.ok()) return added.with_context("tokenizer.json: added_tokens");
      if (token.special) vocab.set_special(token.id);
    }
    if (vocab.size() == 0) return corrupt("tokenizer.json: model.vocab is empty");
    return {};
  }

  Status check_gaps(size_t model_size) const {
    for (size_t id = 0; id < model_size; ++id) {
      if (!out_->vocab.is_defined(static_cast<int32_t>(id))) {
        return corrupt("tokenizer.json: model.vocab has ids up to {}, but none with id {}", model_size - 1,
                       id);
      }
    }
    return {};
  }

  Status set_id(const char* name, std::optional<int32_t>& id) const {
    SLUICE_ASSIGN(const std::string content, named_token(name));
    if (!content.empty()) id = out_->vocab.find(content);
    return {};
  }

  Status apply_config() {
    Pipeline& p = *out_;
    SLUICE_TRY(set_id("bos_token", p.bos_id));
    SLUICE_TRY(set_id("eos_token", p.eos_id));
    SLUICE_TRY(set_id("unk_token", p.unk_id));
    SLUICE_TRY(set_id("pad_token", p.pad_id));
    if (p.eos_id) p.end_ids.push_back(*p.eos_id);

    const Fields config(config_, "tokenizer_config.json");
    const bool bos_first = p.bos_id && !p.prefix.empty() && p.prefix.front() == *p.bos_id;
    SLUICE_ASSIGN(const bool add_bos, config.boolean("add_bos_token", bos_first));
    if (p.bos_id && add_bos && !bos_first) p.prefix.insert(p.prefix.begin(), *p.bos_id);
    if (bos_first && !add_bos) p.prefix.erase(p.prefix.begin());

    const bool eos_last = p.eos_id && !p.suffix.empty() && p.suffix.back() == *p.eos_id;
    SLUICE_ASSIGN(const bool add_eos, config.boolean("add_eos_token", eos_last));
    if (p.eos_id && add_eos && !eos_last) p.suffix.push_back(*p.eos_id);
    if (eos_last && !add_eos) p.suffix.pop_back();
    return {};
  }

  std::shared_ptr<Pipeline> out_ = std::make_shared<Pipeline>();
  Json config_;
  Json specials_;
  std::vector<AddedToken> added_;
  std::unordered_map<int32_t, size_t> by_id_;  // index in added_
};

}  // namespace

Result<Tokenizer> make_json_tokenizer(const TokenizerFiles& files) { return Builder().build(files); }

}  // namespace sluice::text
