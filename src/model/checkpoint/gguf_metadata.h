// The typed key-value pairs of a GGUF file, and getters that say in one sentence what is missing or wrong.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/checked.h"
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

  const Map& entries() const { return map_; }
  bool has(std::string_view key) const { return map_.find(key) != map_.end(); }
  const GgufValue* find(std::string_view key) const;

  /// Sets a key, replacing its value.
  void set(std::string key, GgufValue value) { map_.insert_or_assign(std::move(key), std::move(value)); }
  /// Adds a key; false, and nothing changed, when it is there already.
  bool add(std::string key, GgufValue value) { return map_.emplace(std::move(key), std::move(value)).second; }

  /// Each getter refuses, naming file and key: a key that is absent (not_found), a value of another kind and
  /// a number that does not fit (invalid_argument). Integers of every width are accepted for an integer,
  /// integers and floats for a float.
  Result<uint32_t> get_u32(std::string_view key) const { return get_integer<uint32_t>(key); }
  Result<uint64_t> get_u64(std::string_view key) const { return get_integer<uint64_t>(key); }
  Result<int64_t> get_i64(std::string_view key) const { return get_integer<int64_t>(key); }
  Result<double> get_float(std::string_view key) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<std::string> get_string(std::string_view key) const;
  /// Pointers stay valid until this object changes.
  Result<const StringArray*> get_strings(std::string_view key) const;
  Result<const NumberArray*> get_numbers(std::string_view key) const;
  /// An array of numbers or booleans converted to T, each element checked to fit.
  template <typename T>
  Result<std::vector<T>> get_array(std::string_view key) const;

  bool operator==(const GgufMetadata& other) const { return map_ == other.map_; }

 private:
  template <typename T>
  Result<T> get_integer(std::string_view key) const;
  Result<const GgufValue*> require(std::string_view key) const;
  Status wrong_type(std::string_view key, std::string_view wanted, const GgufValue& found) const;
  Status out_of_range(std::string_view key, std::string_view wanted) const;

  std::string origin_;
  Map map_;
};

}  // namespace sluice::model
