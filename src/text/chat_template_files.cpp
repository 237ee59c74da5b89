// Where a model directory keeps its chat template and its special tokens.
#include <dirent.h>

#include <map>

#include "base/file.h"
#include "text/chat_template.h"

namespace sluice::text {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20;  // tokenizer_config.json lists every added token
constexpr const char* kConfigFile = "tokenizer_config.json";

using Templates = std::map<std::string, std::string>;  // by name

Result<Json> read_object(const std::string& path) {
  SLUICE_ASSIGN(Json json, read_json_file(path, kMaxFileBytes));
  if (!json.is_object()) return invalid_argument("{}: must be a JSON object", path);
  return json;
}

/// `chat_template` of a JSON file: a string, or a list of {name, template}.
Result<Templates> templates_of(const Json& json, const std::string& path) {
  Templates out;
  const auto field = json.find("chat_template");
  if (field == json.end() || field->is_null()) return out;
  if (field->is_string()) {
    out["default"] = field->get<std::string>();
    return out;
  }
  const auto bad = [&] {
    return invalid_argument("{}: chat_template must be a string or a list of {{name, template}} objects",
                            path);
  };
  if (!field->is_array()) return bad();
  for (const Json& entry : *field) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) return bad();
    if (!entry["name"].is_string() || !entry["template"].is_string()) return bad();
    out[entry["name"].get<std::string>()] = entry["template"].get<std::string>();
  }
  return out;
}

Result<Templates> read_json_templates(const std::string& path) {
  if (!exists(path)) return Templates();
  SLUICE_ASSIGN(const Json json, read_object(path));
  return templates_of(json, path);
}

/// chat_template.jinja, and the named ones beside it.
Result<Templates> read_jinja_files(const std::string& dir) {
  Templates out;
  const std::string main = join_path(dir, "chat_template.jinja");
  if (exists(main)) {
    SLUICE_ASSIGN(out["default"], read_text_file(main, kMaxFileBytes));
  }
  const std::string more = join_path(dir, "additional_chat_templates");
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(more.c_str()), closedir);
  if (listing == nullptr) return out;
  constexpr std::string_view kSuffix = ".jinja";
  while (const dirent* entry = readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (!name.ends_with(kSuffix)) continue;
    SLUICE_ASSIGN(out[name.substr(0, name.size() - kSuffix.size())],
                  read_text_file(join_path(more, name), kMaxFileBytes));
  }
  return out;
}

Result<Templates> read_templates(const std::string& dir) {
  SLUICE_ASSIGN(Templates found, read_jinja_files(dir));
  if (!found.empty()) return found;
  SLUICE_ASSIGN(found, read_json_templates(join_path(dir, "chat_template.json")));
  if (!found.empty()) return found;
  return read_json_templates(join_path(dir, kConfigFile));
}

}  // namespace

Result<std::optional<std::string>> find_chat_template(const std::string& dir, bool with_tools) {
  SLUICE_ASSIGN(Templates found, read_templates(dir));
  if (found.empty()) return std::optional<std::string>();
  auto chosen = with_tools ? found.find("tool_use") : found.end();
  if (chosen == found.end()) chosen = found.find("default");
  if (chosen == found.end() && found.size() == 1) chosen = found.begin();
  if (chosen == found.end()) {
    return invalid_argument("{}: has {} chat templates and none is named 'default': name one of them so", dir,
                            found.size());
  }
  return std::optional(std::move(chosen->second));
}

Result<Json> read_special_tokens(const std::string& dir) {
  static constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
  Json out = Json::object();
  for (const char* file : {kConfigFile, "special_tokens_map.json"}) {
    const std::string path = join_path(dir, file);
    if (!exists(path)) continue;
    SLUICE_ASSIGN(const Json json, read_object(path));
    for (const char* name : kNames) {
      const auto field = json.find(name);
      if (field == json.end() || field->is_null() || out.contains(name)) continue;
      // An added token is spelt out as an object.
      const Json& token = field->is_object() && field->contains("content") ? (*field)["content"] : *field;
      if (!token.is_string()) return invalid_argument("{}: {} must be a string", path, name);
      out[name] = token;
    }
  }
  return out;
}

}  // namespace sluice::text
