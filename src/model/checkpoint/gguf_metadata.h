// The typed key-value pairs of a GGUF file, and getters that say in one sentence what is missing or wrong.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"
#include "base/error.h"

namespace sluice::model {

/// Types of a GGUF value, numbered as in the file.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// "u32", "string", ...
std::string_view gguf_type_name(GgufType type);
/// Bytes of a value of a number type or boolean; 0 for string and array.
size_t gguf_type_bytes(GgufType type);

/// Many strings in one arena: two allocations for a vocabulary of any size.
class StringArray {
 public:
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t i) const {
    const uint64_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(arena_).substr(begin, ends_[i] - begin);
  }
  void reserve(size_t count, size_t text_bytes) {
    ends_.reserve(count);
    arena_.reserve(text_bytes);
  }
  void push_back(std::string_view text) {
    arena_ += text;
    ends_.push_back(arena_.size());
  }
  bool operator==(const StringArray&) const = default;

 private:
  std::string arena_;
  std::vector<uint64_t> ends_;
};

/// An array of numbers or booleans in the bytes of the file (little endian).
struct NumberArray {
  GgufType type = GgufType::u8;  // of an element
  std::vector<std::byte> bytes;

  size_t size() const { return bytes.size() / gguf_type_bytes(type); }
  bool operator==(const NumberArray&) const = default;
};

/// One value. Integers are held widened, with the type that the file gave them beside.
struct GgufValue {
  GgufType type = GgufType::u8;
  std::variant<uint64_t, int64_t, double, bool, std::string, NumberArray, StringArray> data;

  static GgufValue u32(uint32_t v) { return {GgufType::u32, uint64_t{v}}; }
  static GgufValue f32(float v) { return {GgufType::f32, double{v}}; }
  static GgufValue boolean(bool v) { return {GgufType::boolean, v}; }
  static GgufValue string(std::string v) { return {GgufType::string, std::move(v)}; }
  static GgufValue strings(StringArray v) { return {GgufType::array, std::move(v)}; }
  static GgufValue numbers(NumberArray v) { return {GgufType::array, std::move(v)}; }
  bool operator==(const GgufValue&) const = default;
};

/// Metadata by key. A plain value: it can be filtered, extended and written again.
class GgufMetadata {
 public:
  using Map = std::map<std::string, GgufValue, std::less<>>;

  /// Where messages say a key was looked for: the path of the file.
  explicit GgufMetadata(std::string origin = "GGUF metadata") : origin_(std::move(origin)) {}

  const std::string& origin() const { return origin_; }
  const Map& entries() const { return map_; }
  bool has(std::string_view key) const { return map_.find(key) != map_.end(); }
  const GgufValue* find(std::string_view key) const;

  /// Sets a key, replacing its value.
  void set(std::string key, GgufValue value) { map_.insert_or_assign(std::move(key), std::move(value)); }
  /// Adds a key; false, and nothing changed, when it is there already.
  bool add(std::string key, GgufValue value) { return map_.emplace(std::move(key), std::move(value)).second; }

  /// Each getter refuses, naming file and key: a value of another kind and a number that does not fit
  /// (invalid_argument); a key that is absent (not_found) unless a fallback is given. Integers of every width
  /// are accepted for an integer, integers and floats for a float.
  Result<uint32_t> get_u32(std::string_view key, std::optional<uint32_t> fallback = {}) const;
  Result<uint64_t> get_u64(std::string_view key, std::optional<uint64_t> fallback = {}) const;
  Result<int64_t> get_i64(std::string_view key, std::optional<int64_t> fallback = {}) const;
  Result<double> get_float(std::string_view key, std::optional<double> fallback = {}) const;
  Result<bool> get_bool(std::string_view key, std::optional<bool> fallback = {}) const;
  Result<std::string> get_string(std::string_view key, std::optional<std::string> fallback = {}) const;
  /// Pointers stay valid until this object changes.
  Result<const StringArray*> get_strings(std::string_view key) const;
  Result<const NumberArray*> get_numbers(std::string_view key) const;
  /// An array of numbers or booleans, or a single one as an array of one, converted to T, each element
  /// checked to fit. T: uint8_t, int32_t, uint32_t, int64_t, uint64_t, float, double.
  template <typename T>
  Result<std::vector<T>> get_array(std::string_view key) const;

  bool operator==(const GgufMetadata& other) const { return map_ == other.map_; }

 private:
  template <typename T>
  Result<T> get(std::string_view key, std::optional<T> fallback, std::string_view wanted) const;
  Result<const GgufValue*> require(std::string_view key) const;
  Status wrong_type(std::string_view key, std::string_view wanted, const GgufValue& found) const;

  std::string origin_;
  Map map_;
};

/// Calls f with a zero of the C++ type of a number type (bool for boolean) and returns its result. Not for
/// string and array.
template <typename F>
decltype(auto) visit_number_type(GgufType type, F&& f) {
  switch (type) {
    case GgufType::u8:
      return f(uint8_t{});
    case GgufType::i8:
      return f(int8_t{});
    case GgufType::u16:
      return f(uint16_t{});
    case GgufType::i16:
      return f(int16_t{});
    case GgufType::u32:
      return f(uint32_t{});
    case GgufType::i32:
      return f(int32_t{});
    case GgufType::f32:
      return f(float{});
    case GgufType::boolean:
      return f(bool{});
    case GgufType::u64:
      return f(uint64_t{});
    case GgufType::i64:
      return f(int64_t{});
    case GgufType::f64:
      return f(double{});
    case GgufType::string:
    case GgufType::array:
      break;
  }
  check_failed(__FILE__, __LINE__, "a number type", std::string(gguf_type_name(type)));
}

}  // namespace sluice::model
