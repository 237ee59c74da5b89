#include "model/checkpoint/gguf_metadata.h"

#include <cstring>
#include <type_traits>

#include "base/checked.h"
#include "model/checkpoint/quoted_name.h"

namespace sluice::model {
namespace {

std::string describe(const GgufValue& value) {
  if (value.type != GgufType::array) return std::string(gguf_type_name(value.type));
  if (const auto* numbers = std::get_if<NumberArray>(&value.data)) {
    return fmt::format("array of {}", gguf_type_name(numbers->type));
  }
  return "array of string";
}

// A number as a To, or nothing when it does not fit or would lose its kind (a float for an integer).
template <typename To, typename From>
std::optional<To> convert(From from) {
  if constexpr (std::is_same_v<To, bool>) {
    if constexpr (std::is_same_v<From, bool>) return from;
    return std::nullopt;
  } else if constexpr (std::is_floating_point_v<To>) {
    return static_cast<To>(from);
  } else if constexpr (std::is_floating_point_v<From>) {
    return std::nullopt;
  } else if constexpr (std::is_same_v<From, bool>) {
    return static_cast<To>(from);
  } else {
    return checked_cast<To>(from);
  }
}

// A scalar as a T. Booleans are no numbers here; in arrays, where they stand for patterns, they are.
template <typename T>
std::optional<T> scalar(const GgufValue& value) {
  return std::visit(
      [](const auto& held) -> std::optional<T> {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, T>) {
          return held;
        } else if constexpr (std::is_arithmetic_v<Held> && std::is_arithmetic_v<T> &&
                             !std::is_same_v<Held, bool>) {
          return convert<T>(held);
        } else {
          return std::nullopt;
        }
      },
      value.data);
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  constexpr std::string_view kNames[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "boolean", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<size_t>(type)];
}

size_t gguf_type_bytes(GgufType type) {
  if (type == GgufType::string || type == GgufType::array) return 0;
  return visit_number_type(type, [](auto zero) { return sizeof(zero); });
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto it = map_.find(key);
  return it == map_.end() ? nullptr : &it->second;
}

Result<const GgufValue*> GgufMetadata::require(std::string_view key) const {
  if (const GgufValue* value = find(key)) return value;
  return not_found("{}: the key {} is missing from the metadata", origin_, key);
}

Status GgufMetadata::wrong_type(std::string_view key, std::string_view wanted, const GgufValue& found) const {
  return invalid_argument("{}: {} must be {}, found {}", origin_, key, wanted, describe(found));
}

template <typename T>
Result<T> GgufMetadata::get(std::string_view key, std::optional<T> fallback, std::string_view wanted) const {
  if (fallback && !has(key)) return *std::move(fallback);
  SLUICE_ASSIGN(const GgufValue* value, require(key));
  std::optional<T> converted = scalar<T>(*value);
  if (!converted) return wrong_type(key, wanted, *value);
  return *std::move(converted);
}

Result<uint32_t> GgufMetadata::get_u32(std::string_view key, std::optional<uint32_t> fallback) const {
  return get<uint32_t>(key, fallback, "an integer from 0 to 4294967295");
}
Result<uint64_t> GgufMetadata::get_u64(std::string_view key, std::optional<uint64_t> fallback) const {
  return get<uint64_t>(key, fallback, "an integer that is not negative");
}
Result<int64_t> GgufMetadata::get_i64(std::string_view key, std::optional<int64_t> fallback) const {
  return get<int64_t>(key, fallback, "an integer below 2^63");
}
Result<double> GgufMetadata::get_float(std::string_view key, std::optional<double> fallback) const {
  return get<double>(key, fallback, "a number");
}
Result<bool> GgufMetadata::get_bool(std::string_view key, std::optional<bool> fallback) const {
  return get<bool>(key, fallback, "a boolean");
}
Result<std::string> GgufMetadata::get_string(std::string_view key,
                                             std::optional<std::string> fallback) const {
  return get<std::string>(key, std::move(fallback), "a string");
}

Result<const StringArray*> GgufMetadata::get_strings(std::string_view key) const {
  SLUICE_ASSIGN(const GgufValue* value, require(key));
  if (const auto* strings = std::get_if<StringArray>(&value->data)) return strings;
  return wrong_type(key, "an array of strings", *value);
}

Result<const NumberArray*> GgufMetadata::get_numbers(std::string_view key) const {
  SLUICE_ASSIGN(const GgufValue* value, require(key));
  if (const auto* numbers = std::get_if<NumberArray>(&value->data)) return numbers;
  return wrong_type(key, "an array of numbers", *value);
}

template <typename T>
Result<std::vector<T>> GgufMetadata::get_array(std::string_view key) const {
  SLUICE_ASSIGN(const GgufValue* value, require(key));
  constexpr std::string_view kWanted = std::is_floating_point_v<T> ? "an array of numbers"
                                       : std::is_signed_v<T>       ? "an array of integers"
                                                                   : "an array of integers from 0";
  const auto* numbers = std::get_if<NumberArray>(&value->data);
  if (numbers == nullptr) {
    const std::optional<T> single = scalar<T>(*value);
    if (!single) return wrong_type(key, kWanted, *value);
    return std::vector<T>{*single};
  }
  std::vector<T> out;
  out.reserve(numbers->size());
  const bool fits = visit_number_type(numbers->type, [&](auto zero) {
    for (size_t i = 0; i < numbers->size(); ++i) {
      auto element = zero;
      std::memcpy(&element, numbers->bytes.data() + i * sizeof(element), sizeof(element));
      const std::optional<T> converted = convert<T>(element);
      if (!converted) return false;
      out.push_back(*converted);
    }
    return true;
  });
  if (fits) return out;
  return invalid_argument("{}: {} must be {}; element {} of this {} is not", origin_, key, kWanted,
                          out.size(), describe(*value));
}

template Result<std::vector<uint8_t>> GgufMetadata::get_array(std::string_view) const;
template Result<std::vector<int32_t>> GgufMetadata::get_array(std::string_view) const;
template Result<std::vector<uint32_t>> GgufMetadata::get_array(std::string_view) const;
template Result<std::vector<int64_t>> GgufMetadata::get_array(std::string_view) const;
template Result<std::vector<uint64_t>> GgufMetadata::get_array(std::string_view) const;
template Result<std::vector<float>> GgufMetadata::get_array(std::string_view) const;
template Result<std::vector<double>> GgufMetadata::get_array(std::string_view) const;

}  // namespace sluice::model
