#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <span>
#include <utility>

#include "base/log.h"
#include "model/arch_document.h"

namespace sluice::model {

// Generated from gguf_keys.json.
std::span<const std::pair<std::string_view, std::string_view>> embedded_gguf_key_files();

namespace {

Result<Json> metadata_value(const GgufMetadata& metadata, const std::string& key) {
  const GgufValue& value = *metadata.find(key);
  if (const auto* u = std::get_if<uint64_t>(&value.data)) return Json(*u);
  if (const auto* i = std::get_if<int64_t>(&value.data)) return Json(*i);
  if (const auto* d = std::get_if<double>(&value.data)) {
    if (!std::isfinite(*d)) return corrupt("{} is not a finite number", key);
    return Json(*d);
  }
  if (const auto* b = std::get_if<bool>(&value.data)) return Json(*b);
  if (const auto* s = std::get_if<std::string>(&value.data)) return Json(*s);
  if (std::holds_alternative<NumberArray>(value.data)) {
    // Files that give a number for each layer are fine as long as all layers agree.
    SLUICE_ASSIGN(const std::vector<int64_t> per_layer, metadata.get_array<int64_t>(key));
    for (int64_t v : per_layer) {
      if (v != per_layer.front())
        return unsupported("{} differs between layers, which is not supported", key);
    }
    if (!per_layer.empty()) return Json(per_layer.front());
  }
  return corrupt("{} has an unexpected type", key);
}

void set_path(Json& object, std::string_view path, Json value) {
  const size_t dot = path.find('.');
  Json& member = object[std::string(path.substr(0, dot))];
  if (dot == std::string_view::npos) {
    member = std::move(value);
  } else {
    set_path(member, path.substr(dot + 1), std::move(value));
  }
}

Result<Json> config_from_gguf(const Checkpoint& checkpoint, const std::string& architecture) {
  static const Json* keys = new Json(*parse_json(embedded_gguf_key_files()[0].second, "gguf_keys.json"));
  const GgufMetadata& metadata = *checkpoint.gguf();
  Json config = Json::object();
  for (const auto& [suffix, target] : keys->items()) {
    const std::string key = architecture + "." + suffix;
    if (!metadata.has(key)) continue;
    auto value = metadata_value(metadata, key);
    if (!value.ok()) return value.status().with_context(checkpoint.path());
    set_path(config, target.get<std::string>(), *std::move(value));
  }
  // Whether there are biases, and some norms, is told by the tensors alone: "$blk.attn_q.bias" is true if the
  // first layer has one.
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    constexpr std::string_view kFirst = "blk.0.";
    if (tensor.name.starts_with(kFirst) && std::count(tensor.name.begin(), tensor.name.end(), '.') == 3) {
      set_path(config["blk"], std::string_view(tensor.name).substr(kFirst.size()), true);
    }
  }
  if (const TensorInfo* embed = checkpoint.find("token_embd.weight");
      embed != nullptr && embed->shape.size() == 2) {
    config["vocab_size"] = embed->shape[0];
  }
  config["tie_word_embeddings"] = checkpoint.find("output.weight") == nullptr;
  for (const auto& [key, target] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                    std::pair{"tokenizer.ggml.eos_token_id", "eos_token_id"}}) {
    if (!metadata.has(key)) continue;
    SLUICE_ASSIGN(const int64_t id, metadata.get_i64(key));
    if (std::string(target) == "eos_token_id" && metadata.has("tokenizer.ggml.eot_token_id")) {
      SLUICE_ASSIGN(const int64_t eot, metadata.get_i64("tokenizer.ggml.eot_token_id"));
      config[target] = {id, eot};
    } else {
      config[target] = id;
    }
  }
  return config;
}

// "architectures" names the class of the model: a base model or a classifier has the same model_type.
Status check_class(const Json& config, const Json& document, const std::string& origin) {
  const Json* given = config_value(config, "architectures");
  const Json& known = document["classes"];
  if (given != nullptr && given->is_array() && given->size() == 1) {
    if (std::find(known.begin(), known.end(), given->front()) != known.end()) return {};
  }
  return unsupported("{}: \"architectures\" is {}; models of this model_type can be run as {}", origin,
                     given == nullptr ? "missing" : in_brief(*given), dump_json(known));
}

// A multimodal checkpoint keeps its language model's config in text_config; top-level keys that it lacks
// apply to it too. Releases of the library that writes them differ in which of the two says whether the head
// is tied: where they disagree, the tensors tell.
Json text_part(const Json& config, const Checkpoint& checkpoint) {
  const auto text = config.find("text_config");
  if (text == config.end() || !text->is_object()) return config;
  Json out = *text;
  for (const char* key : {"tie_word_embeddings", "bos_token_id", "eos_token_id", "quantization_config"}) {
    if (!out.contains(key) && config.contains(key)) out[key] = config[key];
  }
  constexpr const char* kTied = "tie_word_embeddings";
  if (config.contains(kTied) && config[kTied] != out[kTied]) {
    const auto& tensors = checkpoint.tensors();
    out[kTied] = std::none_of(tensors.begin(), tensors.end(),
                              [](const TensorInfo& t) { return t.name.ends_with("lm_head.weight"); });
  }
  return out;
}

// Models that come with code of their own are run by ours, or not at all.
void warn_of_code(const Json& config, const Checkpoint& checkpoint, const std::string& origin) {
  if (config.contains("auto_map")) {
    log_warn("{}: \"auto_map\" is ignored: code that comes with a model is never run", origin);
  }
  std::error_code error;
  for (std::filesystem::directory_iterator it(checkpoint.directory(), error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".py")
      log_warn("{} is ignored: code that comes with a model is never run", it->path().string());
  }
}

// What the model's own code takes for a key that the config lacks, where that is not the same as null.
void add_defaults(Config& config) {
  if (!config.document.contains("defaults")) return;
  for (const auto& [key, value] : config.document["defaults"].items()) {
    if (!config.values.contains(key)) config.values[key] = value;
  }
}

// Keys that the model's own code never reads: the logits are those without them.
void warn_of_inert_keys(const Config& config) {
  if (!config.document.contains("inert")) return;
  for (const auto& [key, harmless] : config.document["inert"].items()) {
    const Json* value = config_value(config.values, key);
    if (value == nullptr || std::find(harmless.begin(), harmless.end(), *value) != harmless.end()) continue;
    log_warn("{}: \"{}\": {} is ignored: {} models do not use it", config.origin, key, in_brief(*value),
             config.document["name"].get<std::string>());
  }
}

Status check_refusals(const Config& config) {
  if (const Json* q = config_value(config.values, "quantization_config")) {
    const Json* method = config_value(*q, "quant_method");
    return unsupported(
        "{}: quantization_config: checkpoints quantised by \"{}\" cannot be loaded yet; use the unquantised "
        "one",
        config.origin,
        method != nullptr && method->is_string() ? method->get<std::string>().substr(0, 100) : "?");
  }
  if (!config.document.contains("refuse")) return {};
  for (const auto& [key, allowed] : config.document["refuse"].items()) {
    const Json* value = config_value(config.values, key);
    const Json given = value == nullptr ? Json(nullptr) : *value;
    bool fine = value == nullptr;
    for (const Json& a : allowed) fine |= a == given;
    if (!fine) return unsupported("{}: \"{}\": {} is not supported", config.origin, key, in_brief(given));
  }
  return {};
}

}  // namespace

std::string in_brief(const Json& value) { return dump_json(value).substr(0, 100); }

Result<Config> read_config(const Checkpoint& checkpoint) {
  Config config;
  if (const GgufMetadata* metadata = checkpoint.gguf()) {
    config.origin = checkpoint.path();
    SLUICE_ASSIGN(const std::string architecture, metadata->get_string("general.architecture"));
    auto document = arch_for_gguf(architecture);
    if (!document.ok()) return document.status().with_context(checkpoint.path());
    config.document = *std::move(document);
    SLUICE_ASSIGN(config.values, config_from_gguf(checkpoint, architecture));
    return config;
  }
  config.origin = join_path(checkpoint.directory(), "config.json");
  auto json = read_json_file(config.origin, size_t{64} << 20, {.allow_nan_literals = true});
  if (!json.ok()) return json.status();
  if (!json->is_object()) return corrupt("{}: expected a JSON object", config.origin);
  config.values = text_part(*json, checkpoint);
  warn_of_code(*json, checkpoint, config.origin);
  const Json* model_type = config_value(config.values, "model_type");
  if (model_type == nullptr || !model_type->is_string()) {
    return invalid_argument("{}: \"model_type\" is missing; it names the architecture", config.origin);
  }
  auto document = arch_for_model_type(model_type->get<std::string>());
  if (!document.ok()) return document.status().with_context(config.origin);
  config.document = *std::move(document);
  // Around a text_config stands the class of the multimodal whole.
  if (config_value(*json, "text_config") == nullptr) {
    SLUICE_TRY(check_class(config.values, config.document, config.origin));
  }
  SLUICE_TRY(check_refusals(config));
  warn_of_inert_keys(config);
  add_defaults(config);
  return config;
}

}  // namespace sluice::model
