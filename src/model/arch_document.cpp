#include "model/arch_document.h"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/edit_distance.h"

namespace sluice::model {

// Generated from src/arch/*.json.
std::span<const std::pair<std::string_view, std::string_view>> embedded_arch_files();

namespace {

// RFC 7386: members of `patch` replace or extend those of `target`; null removes.
void merge(Json& target, const Json& patch) {
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (!target.is_object()) target = Json::object();
  for (const auto& [key, value] : patch.items()) {
    if (value.is_null()) {
      target.erase(key);
    } else if (value.is_object()) {
      merge(target[key], value);
    } else {
      target[key] = value;
    }
  }
}

const std::map<std::string, Json, std::less<>>& documents() {
  static const auto* all = [] {
    auto* map = new std::map<std::string, Json, std::less<>>;
    for (const auto& [name, text] : embedded_arch_files()) {
      auto json = parse_json(text, "src/arch/" + std::string(name) + ".json");
      SLUICE_CHECK(json.ok(), "{}", json.status().message());
      map->emplace(std::string(name), *std::move(json));
    }
    return map;
  }();
  return *all;
}

Json with_ancestors(const Json& document) {
  if (!document.contains("extends")) return document;
  const auto parent = documents().find(document["extends"].get<std::string>());
  SLUICE_CHECK(parent != documents().end(), "src/arch: {} extends an unknown document",
               document["name"].dump());
  Json merged = with_ancestors(parent->second);
  // What a document covers is its own; everything else is inherited.
  merged.erase("model_types");
  merged.erase("classes");
  merged["gguf"]["names"] = Json::array();
  merge(merged, document);
  return merged;
}

Status unknown_architecture(std::string_view what, std::string name, std::vector<std::string> known) {
  if (name.size() > 64) name = name.substr(0, 64) + "...";
  std::sort(known.begin(), known.end());
  std::string all;
  for (const auto& k : known) all += (all.empty() ? "" : ", ") + k;
  std::stable_sort(known.begin(), known.end(), [&](const auto& a, const auto& b) {
    return edit_distance(a, name) < edit_distance(b, name);
  });
  return unsupported("{} \"{}\" is not known; the nearest known ones are {}, {} and {} (all: {})", what, name,
                     known[0], known[1], known[2], all);
}

Json finish(const Json& document, bool gguf) {
  Json merged = with_ancestors(document);
  if (gguf) {
    const Json patch = merged["gguf"]["patch"];
    merge(merged, patch);
  }
  merged.erase("gguf");
  return merged;
}

bool truthy(const Json* v) {
  if (v == nullptr || v->is_null()) return false;
  if (v->is_boolean()) return v->get<bool>();
  if (v->is_number()) return v->get<double>() != 0;
  return true;
}

// A form's value in one layer. Nothing: Json's discarded value, kept apart from null by value_t.
class Evaluator {
 public:
  Evaluator(const Json& config, int64_t layer, const std::string& origin)
      : config_(config), layer_(layer), origin_(origin) {}

  Result<Json> value(const Json& form) const {
    if (form.is_string()) return text(form.get_ref<const std::string&>());
    if (form.is_array()) return first_of(form);
    if (form.is_object()) return object(form);
    return form;
  }

 private:
  static Json none() { return Json(); }

  Result<Json> text(const std::string& s) const {
    if (!s.starts_with('$')) return Json(s);
    const Json* found = config_value(config_, std::string_view(s).substr(1));
    return found == nullptr ? none() : *found;
  }

  Result<Json> first_of(const Json& alternatives) const {
    if (alternatives.empty()) return alternatives;
    for (const Json& alternative : alternatives) {
      SLUICE_ASSIGN(Json v, value(alternative));
      if (!v.is_null()) return v;
    }
    return none();
  }

  Result<Json> object(const Json& form) const {
    if (form.contains("per_layer")) return per_layer(form["per_layer"]);
    if (form.contains("period")) {
      SLUICE_ASSIGN(const Json period, value(form["period"]));
      if (!period.is_number_integer() || period.get<int64_t>() < 1) {
        return invalid_argument("{}: {}: expected a positive integer, got {}", origin_,
                                config_keys(form["period"]), dump_json(period));
      }
      return value(form[(layer_ + 1) % period.get<int64_t>() == 0 ? "last" : "otherwise"]);
    }
    if (form.contains("from_layer")) {
      SLUICE_ASSIGN(const Json first, value(form["from_layer"]));
      if (!first.is_number_integer()) {
        return invalid_argument("{}: {}: expected an integer", origin_, config_keys(form["from_layer"]));
      }
      return value(form[layer_ >= first.get<int64_t>() ? "then" : "otherwise"]);
    }
    if (form.contains("layer_in")) {
      SLUICE_ASSIGN(const Json list, value(form["layer_in"]));
      if (!list.is_array())
        return invalid_argument("{}: {}: expected an array", origin_, config_keys(form["layer_in"]));
      const bool in = std::find(list.begin(), list.end(), Json(layer_)) != list.end();
      return value(form[in ? "then" : "otherwise"]);
    }
    if (form.contains("if")) {
      SLUICE_ASSIGN(const Json condition, value(form["if"]));
      return value(form[truthy(&condition) ? "then" : "otherwise"]);
    }
    if (form.contains("switch")) {
      SLUICE_ASSIGN(const Json selector, value(form["switch"]));
      const Json& cases = form["cases"];
      const auto it = cases.find(selector.is_string() ? selector.get<std::string>() : selector.dump());
      return value(it != cases.end() ? *it : form["otherwise"]);
    }
    Json out = Json::object();
    for (const auto& [key, member] : form.items()) {
      SLUICE_ASSIGN(Json v, value(member));
      if (!v.is_null()) out[key] = std::move(v);
    }
    return out;
  }

  Result<Json> per_layer(const Json& form) const {
    SLUICE_ASSIGN(const Json list, value(form));
    if (list.is_null()) return none();
    if (!list.is_array() || static_cast<int64_t>(list.size()) <= layer_) {
      return invalid_argument("{}: {}: expected an array with an entry for each layer; layer {} has none",
                              origin_, config_keys(form), layer_);
    }
    return list[static_cast<size_t>(layer_)];
  }

  const Json& config_;
  int64_t layer_;
  const std::string& origin_;
};

void collect_keys(const Json& value, std::string& out) {
  if (value.is_string() && value.get_ref<const std::string&>().starts_with('$')) {
    out += (out.empty() ? "" : " or ") + value.get<std::string>().substr(1);
  } else if (value.is_structured()) {
    for (const Json& member : value) collect_keys(member, out);
  }
}

}  // namespace

std::vector<std::string> known_architectures() {
  std::vector<std::string> out;
  for (const auto& [name, document] : documents()) {
    if (document.contains("model_types")) out.push_back(name);
  }
  return out;
}

Result<Json> arch_for_model_type(const std::string& model_type) {
  std::vector<std::string> known;
  for (const auto& [name, document] : documents()) {
    if (!document.contains("model_types")) continue;
    for (const Json& covered : document["model_types"]) {
      if (covered == model_type) return finish(document, false);
      known.push_back(covered.get<std::string>());
    }
  }
  return unknown_architecture("model_type", model_type, known);
}

Result<Json> arch_for_gguf(const std::string& architecture) {
  std::vector<std::string> known;
  for (const auto& [name, document] : documents()) {
    if (!document.contains("gguf") || !document["gguf"].contains("names")) continue;
    for (const Json& covered : document["gguf"]["names"]) {
      if (covered == architecture) return finish(document, true);
      known.push_back(covered.get<std::string>());
    }
  }
  return unknown_architecture("general.architecture", architecture, known);
}

const Json* config_value(const Json& config, std::string_view path) {
  const Json* at = &config;
  while (true) {
    const size_t dot = path.find('.');
    if (!at->is_object()) return nullptr;
    const auto it = at->find(std::string(path.substr(0, dot)));
    if (it == at->end() || it->is_null()) return nullptr;
    at = &*it;
    if (dot == std::string_view::npos) return at;
    path.remove_prefix(dot + 1);
  }
}

Result<Json> evaluate(const Json& value, const Json& config, int64_t layer, const std::string& origin) {
  return Evaluator(config, layer, origin).value(value);
}

std::string config_keys(const Json& value) {
  std::string out;
  collect_keys(value, out);
  return out;
}

}  // namespace sluice::model
