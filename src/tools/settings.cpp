#include "tools/settings.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "tools/cli.h"

namespace sluice::tools {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

// "max_num_seqs"; "model" for the argument MODEL.
std::vector<std::string> keys_of(const CLI::Option& option) {
  if (!option.get_positional()) return option.get_lnames();
  std::string name = option.get_name(true);
  for (char& c : name) c = static_cast<char>(std::tolower(c));
  return {name};
}

bool settable(const CLI::Option& option) {
  return option.get_name() != "--help" && option.get_name() != "--config";
}

// For a Service called sluice Kubernetes sets SLUICE_PORT in every pod beside it: tcp://10.0.0.1:8000.
bool is_address_of_service(std::string_view value) {
  return value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
}

const char* variable(const std::string& key) {
  std::string name = "SLUICE_" + key;
  for (char& c : name) c = static_cast<char>(std::toupper(c));
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return nullptr;
  if (key == "port" && is_address_of_service(value)) {
    log_info("SLUICE_PORT is {}, the address of a Kubernetes Service called sluice: it is ignored", value);
    return nullptr;
  }
  return value;
}

// The options that the words give, and --config's value.
struct Given {
  std::set<const CLI::Option*> options;
  std::string config;
};

Given given_by(const CLI::App& app, const std::vector<std::string>& words) {
  Given out;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const size_t name_end = std::min(word.find('='), word.size());
    const CLI::Option* option =
        word.starts_with('-') ? app.get_option_no_throw(word.substr(0, name_end)) : nullptr;
    if (option == nullptr) {
      // A word of its own is the one argument that there is.
      for (const CLI::Option* argument : app.get_options()) {
        if (argument->get_positional() && !word.starts_with('-')) out.options.insert(argument);
      }
      continue;
    }
    out.options.insert(option);
    std::string value = name_end < word.size() ? word.substr(name_end + 1) : "";
    if (name_end == word.size() && option->get_items_expected_min() > 0 && i + 1 < words.size())
      value = words[++i];
    if (option->get_name() == "--config") out.config = value;
  }
  return out;
}

// The texts of a key's value: one, or several of a list.
Result<std::vector<std::string>> texts_of(const Json& value, const std::string& where) {
  const auto text = [](const Json& v) { return v.is_string() ? v.get<std::string>() : dump_json(v); };
  const auto scalar = [](const Json& v) { return v.is_string() || v.is_number() || v.is_boolean(); };
  std::vector<std::string> out;
  if (scalar(value)) {
    out.push_back(text(value));
  } else if (value.is_array() && std::all_of(value.begin(), value.end(), scalar)) {
    for (const Json& one : value) out.push_back(text(one));
  } else {
    return invalid_argument("{}: expected a text, a number, true, false or a list of these", where);
  }
  return out;
}

// What the file says, by key with `_`.
Result<std::map<std::string, std::vector<std::string>>> read_config(const CLI::App& app,
                                                                    const std::string& path) {
  std::map<std::string, std::vector<std::string>> out;
  if (path.empty()) return out;
  SLUICE_ASSIGN(const Json document, read_json_file(path, kMaxConfigBytes));
  if (!document.is_object())
    return invalid_argument("{}: expected a JSON object with options as its keys", path);
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    if (!settable(*option)) continue;
    for (std::string& key : keys_of(*option)) known.push_back(std::move(key));
  }
  for (const auto& member : document.items()) {
    std::string key = member.key();
    std::replace(key.begin(), key.end(), '-', '_');
    if (std::find(known.begin(), known.end(), key) == known.end())
      return invalid_argument("{}: \"{}\" is no option{}", path, key.substr(0, 100), suggestion(key, known));
    SLUICE_ASSIGN(out[key], texts_of(member.value(), path + ": " + key));
  }
  return out;
}

}  // namespace

void declare_config(CLI::App& app, std::string& path) {
  app.add_option("--config", path, "A JSON object with options as its keys: {\"port\": 8000}")
      ->type_name("FILE");
  app.footer(
      "Every option can also be set in the environment (--max_num_seqs as SLUICE_MAX_NUM_SEQS, MODEL as\n"
      "SLUICE_MODEL) and in the file of --config. The command line goes before the environment, the\n"
      "environment before the file. Flags take true or false there; lists are for the file.");
}

Result<Settings> complete_settings(const CLI::App& app, std::vector<std::string> words) {
  Settings out{std::move(words), {}};
  if (app.get_option_no_throw("--config") == nullptr) return out;
  Given given = given_by(app, out.words);
  if (const char* path = variable("config"); path != nullptr && given.config.empty()) given.config = path;
  SLUICE_ASSIGN(const auto file, read_config(app, given.config));
  std::vector<std::string> added;
  for (const CLI::Option* option : app.get_options()) {
    if (!settable(*option) || given.options.contains(option)) continue;
    const bool argument = option->get_positional();
    const auto add = [&](const std::string& key, const std::string& value, const std::string& source) {
      added.push_back(argument ? value : "--" + key + "=" + value);
      out.sources[option->get_name()] = source;
    };
    bool in_environment = false;
    for (const std::string& key : keys_of(*option)) {
      if (const char* value = variable(key)) {
        add(key, value, "the environment");
        in_environment = true;
      }
    }
    for (const std::string& key : keys_of(*option)) {
      const auto found = file.find(key);
      if (in_environment || found == file.end()) continue;
      for (const std::string& value : found->second) add(key, value, given.config);
    }
  }
  out.words.insert(out.words.begin(), added.begin(), added.end());
  return out;
}

}  // namespace sluice::tools
