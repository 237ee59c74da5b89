// Plain values list their fields once; printing, storing, reading back and comparing follow from the list.
//
//   struct Norm {
//     NormKind kind = NormKind::rms;
//     float eps = 1e-5f;
//     template <typename Self, typename V> static void fields(Self& s, V&& v) { v("kind", s.kind); v("eps",
//     s.eps); } bool operator==(const Norm&) const = default;
//   };
//
// An enum takes part through `constexpr auto enum_names(E)`: its enumerators' names in order, from 0.
#pragma once

#include <array>
#include <cmath>
#include <concepts>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/checked.h"
#include "base/json.h"

namespace sluice {

namespace fields_detail {
struct AnyVisitor {
  template <typename T>
  void operator()(std::string_view, T&&) {}
};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsNamed : std::false_type {};  // a map from names
template <typename T, typename Less>
struct IsNamed<std::map<std::string, T, Less>> : std::true_type {};
template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
}  // namespace fields_detail

template <typename T>
concept HasFields = requires(T& t, fields_detail::AnyVisitor v) {
  T::fields(t, v);
};

template <typename T>
concept NamedEnum = std::is_enum_v<T> && requires(T e) {
  enum_names(e);
};

template <NamedEnum E>
std::string_view enum_name(E e) {
  return enum_names(e)[static_cast<size_t>(e)];
}

template <NamedEnum E>
std::optional<E> enum_from_name(std::string_view text) {
  const auto names = enum_names(E{});
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return static_cast<E>(i);
  }
  return std::nullopt;
}

/// Value to JSON. Non-finite numbers become null; empty optionals are left out of their object.
template <typename T>
Json to_json(const T& value) {
  if constexpr (HasFields<T>) {
    Json out = Json::object();
    T::fields(value, [&](std::string_view name, const auto& field) {
      using F = std::remove_cvref_t<decltype(field)>;
      if constexpr (fields_detail::IsOptional<F>::value) {
        if (field) out[std::string(name)] = to_json(*field);
      } else {
        out[std::string(name)] = to_json(field);
      }
    });
    return out;
  } else if constexpr (NamedEnum<T>) {
    return Json(std::string(enum_name(value)));
  } else if constexpr (fields_detail::IsVector<T>::value) {
    Json out = Json::array();
    for (const auto& element : value) out.push_back(to_json(element));
    return out;
  } else if constexpr (fields_detail::IsNamed<T>::value) {
    Json out = Json::object();
    for (const auto& [name, element] : value) out[name] = to_json(element);
    return out;
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
  } else {
    return Json(value);
  }
}

/// JSON to value. `path` names the place in messages ("manifest.json: spec.layers[3].norm.eps"). A field that
/// the object lacks keeps its default; a key that no field has is refused.
template <typename T>
Status from_json(const Json& json, const std::string& path, T& out) {
  if constexpr (HasFields<T>) {
    if (!json.is_object()) return invalid_argument("{}: expected an object", path);
    Status status;
    size_t known = 0;
    T::fields(out, [&](std::string_view name, auto& field) {
      const auto it = json.find(std::string(name));
      if (it == json.end()) return;
      ++known;
      if (status.ok()) status = from_json(*it, path + "." + std::string(name), field);
    });
    SLUICE_TRY(status);
    if (known == json.size()) return {};
    for (const auto& member : json.items()) {
      const std::string& key = member.key();
      bool found = false;
      T::fields(out, [&](std::string_view name, auto&) { found |= name == key; });
      if (!found) return invalid_argument("{}: unknown field \"{}\"", path, key);
    }
    return {};
  } else if constexpr (fields_detail::IsOptional<T>::value) {
    if (json.is_null()) {
      out.reset();
      return {};
    }
    return from_json(json, path, out.emplace());
  } else if constexpr (NamedEnum<T>) {
    if (!json.is_string()) return invalid_argument("{}: expected a string", path);
    const std::string& text = json.get_ref<const std::string&>();
    const auto parsed = enum_from_name<T>(text);
    if (!parsed) {
      std::string names;
      for (std::string_view n : enum_names(T{})) names += (names.empty() ? "" : ", ") + std::string(n);
      return invalid_argument("{}: \"{}\" is not one of {}", path, text, names);
    }
    out = *parsed;
    return {};
  } else if constexpr (fields_detail::IsVector<T>::value) {
    if (!json.is_array()) return invalid_argument("{}: expected an array", path);
    out.clear();
    out.resize(json.size());
    for (size_t i = 0; i < json.size(); ++i) {
      if constexpr (std::is_same_v<T, std::vector<bool>>) {
        if (!json[i].is_boolean()) return invalid_argument("{}[{}]: expected true or false", path, i);
        out[i] = json[i].get<bool>();
      } else {
        SLUICE_TRY(from_json(json[i], fmt::format("{}[{}]", path, i), out[i]));
      }
    }
    return {};
  } else if constexpr (fields_detail::IsNamed<T>::value) {
    if (!json.is_object()) return invalid_argument("{}: expected an object", path);
    out.clear();
    for (const auto& [name, element] : json.items()) {
      SLUICE_TRY(from_json(element, path + "." + name, out[name]));
    }
    return {};
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return invalid_argument("{}: expected true or false", path);
    out = json.get<bool>();
    return {};
  } else if constexpr (std::is_integral_v<T>) {
    std::optional<T> fitted;
    if (json.is_number_unsigned()) {
      fitted = checked_cast<T>(json.get<uint64_t>());
    } else if (json.is_number_integer()) {
      fitted = checked_cast<T>(json.get<int64_t>());
    } else if (json.is_number_float()) {  // 32.0 is an integer to Python's json users
      const double v = json.get<double>();
      if (v == std::floor(v) && std::abs(v) < 0x1p53) fitted = checked_cast<T>(static_cast<int64_t>(v));
    }
    if (!fitted) return invalid_argument("{}: expected an integer in range, got {}", path, dump_json(json));
    out = *fitted;
    return {};
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!json.is_number()) return invalid_argument("{}: expected a number, got {}", path, dump_json(json));
    out = json.get<T>();
    if (!std::isfinite(out)) return invalid_argument("{}: {} is out of range", path, dump_json(json));
    return {};
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return invalid_argument("{}: expected a string", path);
    out = json.get<std::string>();
    return {};
  } else {
    static_assert(std::is_same_v<T, Json>, "no JSON form for this type");
    out = json;
    return {};
  }
}

/// "n=960 k=576 weight=q4_1": the fields of a flat value on one line. False and empty fields are left out.
template <HasFields T>
std::string to_line(const T& value) {
  std::string out;
  T::fields(value, [&](std::string_view name, const auto& field) {
    using F = std::remove_cvref_t<decltype(field)>;
    std::string text;
    if constexpr (std::is_same_v<F, bool>) {
      if (field) out += (out.empty() ? "" : " ") + std::string(name);
      return;
    } else if constexpr (NamedEnum<F>) {
      text = enum_name(field);
    } else if constexpr (HasFields<F>) {
      text = "{" + to_line(field) + "}";
    } else if constexpr (fields_detail::IsOptional<F>::value) {
      if (!field) return;
      text = dump_json(to_json(*field));
    } else if constexpr (std::is_arithmetic_v<F>) {
      if (field == F{}) return;
      text = fmt::format("{}", field);
    } else {
      text = dump_json(to_json(field));
    }
    out += (out.empty() ? "" : " ") + std::string(name) + "=" + text;
  });
  return out;
}

}  // namespace sluice
