#include "artifact/gguf_text.h"

#include <span>

namespace sluice::artifact {
namespace {

using model::GgufMetadata;

template <typename T>
Status optional_array(const GgufMetadata& metadata, const std::string& key, std::vector<T>& out) {
  if (!metadata.has(key)) return {};
  SLUICE_ASSIGN(out, metadata.get_array<T>(key));
  return {};
}

Status strings(const GgufMetadata& metadata, const std::string& key, std::vector<std::string_view>& out) {
  if (!metadata.has(key)) return {};
  SLUICE_ASSIGN(const model::StringArray* array, metadata.get_strings(key));
  out.reserve(array->size());
  for (size_t i = 0; i < array->size(); ++i) out.push_back((*array)[i]);
  return {};
}

// A view of a string value; empty when absent.
Status string(const GgufMetadata& metadata, const std::string& key, std::string_view& out) {
  SLUICE_TRY(metadata.get_string(key, "").status());  // refuses other types
  if (const model::GgufValue* value = metadata.find(key)) out = std::get<std::string>(value->data);
  return {};
}

Status id(const GgufMetadata& metadata, const std::string& key, std::optional<uint32_t>& out) {
  if (!metadata.has(key)) return {};
  // -1 and 0xffffffff both stand for "none" in files of today.
  SLUICE_ASSIGN(const int64_t value, metadata.get_i64(key));
  if (value == -1 || value == UINT32_MAX) return {};
  SLUICE_ASSIGN(out, metadata.get_u32(key));
  return {};
}

Status flag(const GgufMetadata& metadata, const std::string& key, std::optional<bool>& out) {
  if (!metadata.has(key)) return {};
  SLUICE_ASSIGN(out, metadata.get_bool(key));
  return {};
}

// Raw bytes, which files hold as an array of u8 or i8.
Status bytes(const GgufMetadata& metadata, const std::string& key, std::string_view& out) {
  if (!metadata.has(key)) return {};
  SLUICE_ASSIGN(const model::NumberArray* array, metadata.get_numbers(key));
  if (model::gguf_type_bytes(array->type) != 1)
    return corrupt("{}: {} is an array of {}, expected bytes", metadata.origin(), key,
                   model::gguf_type_name(array->type));
  out = {reinterpret_cast<const char*>(array->bytes.data()), array->bytes.size()};
  return {};
}

}  // namespace

Result<text::GgufVocab> gguf_vocab(const GgufMetadata& m) {
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  text::GgufVocab v;
  SLUICE_TRY(string(m, key("model"), v.model));
  SLUICE_TRY(string(m, key("pre"), v.pre));
  SLUICE_TRY(string(m, "general.name", v.general_name));
  SLUICE_TRY(strings(m, key("tokens"), v.tokens));
  SLUICE_TRY(strings(m, key("merges"), v.merges));
  SLUICE_TRY(optional_array(m, key("scores"), v.scores));
  SLUICE_TRY(optional_array(m, key("token_type"), v.token_types));
  SLUICE_TRY(bytes(m, key("precompiled_charsmap"), v.precompiled_charsmap));
  for (const auto& [name, out] : {std::pair{"bos", &v.bos_id},
                                  {"eos", &v.eos_id},
                                  {"eot", &v.eot_id},
                                  {"eom", &v.eom_id},
                                  {"unknown", &v.unk_id},
                                  {"seperator", &v.sep_id},  // spelt so in the format
                                  {"padding", &v.pad_id}}) {
    SLUICE_TRY(id(m, key(name) + "_token_id", *out));
  }
  for (const auto& [name, out] : {std::pair{"add_bos_token", &v.add_bos},
                                  {"add_eos_token", &v.add_eos},
                                  {"add_sep_token", &v.add_sep},
                                  {"add_space_prefix", &v.add_space_prefix},
                                  {"remove_extra_whitespaces", &v.remove_extra_whitespaces},
                                  {"normalizer.lowercase", &v.lowercase},
                                  {"normalizer.strip_accents", &v.strip_accents}}) {
    SLUICE_TRY(flag(m, key(name), *out));
  }
  return v;
}

Result<Json> gguf_special_tokens(const GgufMetadata& metadata) {
  SLUICE_ASSIGN(const text::GgufVocab vocab, gguf_vocab(metadata));
  Json out = Json::object();
  for (const auto& [name, token] : {std::pair{"bos_token", vocab.bos_id},
                                    {"eos_token", vocab.eos_id},
                                    {"unk_token", vocab.unk_id},
                                    {"pad_token", vocab.pad_id}}) {
    if (!token) continue;
    if (*token >= vocab.tokens.size())
      return corrupt("{}: the id {} of {} is not in tokenizer.ggml.tokens", metadata.origin(), *token, name);
    out[name] = std::string(vocab.tokens[*token]);
  }
  return out;
}

GgufMetadata text_metadata(const GgufMetadata& metadata) {
  GgufMetadata out(metadata.origin());
  for (const auto& [key, value] : metadata.entries()) {
    if (key.starts_with("tokenizer.") || key.starts_with("general.sampling.") ||
        key == "general.architecture" || key == "general.name")
      out.set(key, value);
  }
  return out;
}

}  // namespace sluice::artifact
