#include "artifact/text_assets.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "artifact/gguf_text.h"
#include "model/checkpoint/gguf.h"
#include "model/shape.h"
#include "text/chat_template.h"

namespace sluice::artifact {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGgufFile = "tokenizer.gguf";  // in an engine's tokenizer directory
constexpr const char* kTemplateDir = "additional_chat_templates";
constexpr size_t kMaxTextFile = size_t{512} << 20;

constexpr std::array kTokenizerFiles = {"tokenizer.json", "tokenizer.model", "tekken.json", "tiktoken.model"};
constexpr std::array kOtherFiles = {"tokenizer_config.json", "special_tokens_map.json",
                                    "added_tokens.json",     "chat_template.jinja",
                                    "chat_template.json",    "generation_config.json"};

Status in_range(const std::optional<double>& value, const std::string& name, double low, double high) {
  if (!value || (*value >= low && *value <= high)) return {};
  return invalid_argument("{}: {} is outside [{}, {}]; correct or remove it", name, *value, low, high);
}

Status check(const GenerationDefaults& d, const std::string& origin) {
  SLUICE_TRY(in_range(d.temperature, origin + ": temperature", 0, 100));
  SLUICE_TRY(in_range(d.top_p, origin + ": top_p", 0, 1));
  SLUICE_TRY(in_range(d.min_p, origin + ": min_p", 0, 1));
  SLUICE_TRY(in_range(d.repetition_penalty, origin + ": repetition_penalty", 1e-3, 100));
  if (d.top_k && (*d.top_k < -1 || *d.top_k > INT32_MAX))
    return invalid_argument("{}: top_k: {} is out of range; correct or remove it", origin, *d.top_k);
  return {};
}

template <typename T>
Status read_member(const Json& json, const char* name, const std::string& origin, std::optional<T>& out) {
  const auto it = json.find(name);
  if (it == json.end()) return {};
  return from_json(*it, origin + ": " + name, out);
}

Result<GenerationDefaults> defaults_of_file(const std::string& path) {
  GenerationDefaults d;
  if (!exists(path)) return d;
  SLUICE_ASSIGN(const Json json, read_json_file(path, size_t{1} << 20, {.allow_nan_literals = true}));
  if (!json.is_object()) return invalid_argument("{}: expected an object", path);
  SLUICE_TRY(read_member(json, "do_sample", path, d.do_sample));
  SLUICE_TRY(read_member(json, "temperature", path, d.temperature));
  SLUICE_TRY(read_member(json, "top_p", path, d.top_p));
  SLUICE_TRY(read_member(json, "min_p", path, d.min_p));
  SLUICE_TRY(read_member(json, "repetition_penalty", path, d.repetition_penalty));
  SLUICE_TRY(read_member(json, "top_k", path, d.top_k));
  if (const auto eos = json.find("eos_token_id"); eos != json.end() && !eos->is_null()) {
    const Json list = eos->is_array() ? *eos : Json::array({*eos});
    SLUICE_TRY(from_json(list, path + ": eos_token_id", d.end_ids));
  }
  SLUICE_TRY(check(d, path));
  return d;
}

Result<GenerationDefaults> defaults_of_metadata(const model::GgufMetadata& metadata) {
  GenerationDefaults d;
  for (const auto& [name, out] : {std::pair{"temp", &d.temperature},
                                  {"top_p", &d.top_p},
                                  {"min_p", &d.min_p},
                                  {"penalty_repeat", &d.repetition_penalty}}) {
    const std::string key = std::string("general.sampling.") + name;
    if (!metadata.has(key)) continue;
    SLUICE_ASSIGN(*out, metadata.get_float(key));
  }
  if (metadata.has("general.sampling.top_k")) {
    SLUICE_ASSIGN(d.top_k, metadata.get_i64("general.sampling.top_k"));
  }
  SLUICE_TRY(check(d, metadata.origin()));
  return d;
}

}  // namespace

Status check_tokenizer_fits(const text::Tokenizer& tokenizer, int64_t vocab) {
  if (tokenizer.model_vocab_size() <= vocab) return {};
  return invalid_argument("the tokenizer has {} ids, the model only {}: they do not belong together",
                          tokenizer.model_vocab_size(), vocab);
}

std::vector<std::string> text_files(const std::string& directory) {
  std::vector<std::string> out;
  for (const char* name : kTokenizerFiles) out.emplace_back(name);
  for (const char* name : kOtherFiles) out.emplace_back(name);
  std::erase_if(out, [&](const std::string& name) { return !exists(join_path(directory, name)); });
  std::error_code error;
  std::vector<std::string> templates;
  for (fs::directory_iterator it(join_path(directory, kTemplateDir), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(".jinja")) templates.push_back(join_path(kTemplateDir, name));
  }
  std::sort(templates.begin(), templates.end());
  out.insert(out.end(), templates.begin(), templates.end());
  return out;
}

Result<TextAssets> TextAssets::open(const std::string& model) {
  if (is_directory(model)) {
    if (!is_engine_dir(model)) return TextAssets(model);
    const std::string directory = join_path(model, kTokenizerDir);
    const std::string gguf = join_path(directory, kGgufFile);
    return exists(gguf) ? open(gguf) : TextAssets(directory);
  }
  if (model.starts_with(model::kShapePrefix)) return TextAssets(model);  // a directory that is not there
  if (model.ends_with(".safetensors")) {
    const std::string parent = fs::path(model).parent_path().string();
    return TextAssets(parent.empty() ? "." : parent);
  }
  SLUICE_ASSIGN(model::GgufFile file, model::GgufFile::open(model));
  return TextAssets(text_metadata(file.metadata));
}

bool TextAssets::has_tokenizer() const {
  if (directory() == nullptr) {
    // The converters of models without one write "none", or nothing.
    const auto kind = metadata().get_string("tokenizer.ggml.model", "none");
    return !kind.ok() || (*kind != "none" && *kind != "no_vocab");
  }
  return std::any_of(kTokenizerFiles.begin(), kTokenizerFiles.end(),
                     [&](const char* name) { return exists(join_path(*directory(), name)); });
}

Result<text::Tokenizer> TextAssets::tokenizer() const {
  if (!has_tokenizer()) {
    return not_found("{}: the model comes without a tokenizer; give token ids",
                     directory() != nullptr ? *directory() : metadata().origin());
  }
  if (directory() != nullptr) return text::load_tokenizer(*directory());
  SLUICE_ASSIGN(const text::GgufVocab vocab, gguf_vocab(metadata()));
  auto tokenizer = text::make_gguf_tokenizer(vocab);
  if (!tokenizer.ok()) return tokenizer.status().with_context(metadata().origin());
  return tokenizer;
}

Result<std::optional<std::string>> TextAssets::chat_template(bool with_tools) const {
  if (directory() != nullptr) return text::find_chat_template(*directory(), with_tools);
  for (const char* key : {"tokenizer.chat_template.tool_use", "tokenizer.chat_template"}) {
    if (!metadata().has(key) || (!with_tools && std::string_view(key).ends_with("tool_use"))) continue;
    SLUICE_ASSIGN(std::string source, metadata().get_string(key));
    return std::optional(std::move(source));
  }
  return std::optional<std::string>();
}

Status TextAssets::check_chat_templates() const {
  for (const bool with_tools : {false, true}) {
    SLUICE_ASSIGN(auto source, chat_template(with_tools));
    if (!source) continue;
    const Status parsed = text::ChatTemplate::parse(*std::move(source)).status();
    SLUICE_TRY(parsed.with_context(directory() != nullptr ? *directory() : metadata().origin()));
  }
  return {};
}

Result<Json> TextAssets::special_tokens() const {
  if (directory() != nullptr) return text::read_special_tokens(*directory());
  return gguf_special_tokens(metadata());
}

Result<GenerationDefaults> TextAssets::generation_defaults() const {
  if (directory() != nullptr) return defaults_of_file(join_path(*directory(), "generation_config.json"));
  return defaults_of_metadata(metadata());
}

Status TextAssets::copy_into(EngineWriter& writer) const {
  if (directory() == nullptr) {
    SLUICE_ASSIGN(const std::string file, model::serialize_gguf(metadata()));
    return writer.add_file(join_path(kTokenizerDir, kGgufFile), file);
  }
  for (const std::string& name : text_files(*directory())) {
    SLUICE_ASSIGN(const std::string content, read_text_file(join_path(*directory(), name), kMaxTextFile));
    SLUICE_TRY(writer.add_file(join_path(kTokenizerDir, name), content));
  }
  return {};
}

}  // namespace sluice::artifact
