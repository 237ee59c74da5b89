// Reading a request's JSON object field by field. The first thing that is wrong is kept, with the field's
// name; everything after it is ignored, so that a reader is a plain list of fields.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/json.h"
#include "serve/api_error.h"

namespace sluice::serve {

class Fields {
 public:
  /// `prefix` stands before field names in messages: "messages[3].". `object` must outlive this.
  explicit Fields(const Json& object, std::string prefix = "") : object_(object), prefix_(std::move(prefix)) {
    if (!object.is_object()) fail("", "expected a JSON object");
  }

  const std::string& prefix() const { return prefix_; }
  const std::optional<ApiError>& error() const { return error_; }

  /// The field's value; null where it is absent or null. Notes that the field is known.
  const Json& get(const char* name) {
    static const Json kNull;
    known_.push_back(name);
    if (error_) return kNull;
    const auto it = object_.find(name);
    return it == object_.end() ? kNull : *it;
  }
  bool has(const char* name) { return !get(name).is_null(); }

  /// Reads bool, integers, floating point, std::string, vectors of them and optional ones; absent and null
  /// leave `out` as it is. False if there was nothing to read.
  template <typename T>
  bool read(const char* name, T& out) {
    const Json& value = get(name);
    if (error_ || value.is_null()) return false;
    if (const char* expected = convert(value, out)) {
      fail(name, std::string("expected ") + expected);
      return false;
    }
    return true;
  }

  template <typename T>
  bool read(const char* name, T& out, std::type_identity_t<T> low, std::type_identity_t<T> high) {
    T value = out;
    if (!read(name, value)) return false;
    if (!(value >= low && value <= high)) {
      fail(name, fmt::format("{} is out of range; expected {} to {}", value, low, high));
      return false;
    }
    out = value;
    return true;
  }

  void fail(const std::string& name, const std::string& why, const char* code = nullptr) {
    if (error_) return;
    error_ = ApiError{.status = 400, .message = prefix_ + name + (name.empty() ? "" : ": ") + why};
    if (name.empty() && prefix_.empty()) return;
    error_->param = prefix_ + name;
    if (name.empty() && error_->param->ends_with('.')) error_->param->pop_back();
    if (code != nullptr) error_->code = code;
  }
  void adopt(const std::optional<ApiError>& other) {
    if (!error_ && other) error_ = other;
  }
  /// The error of a parser whose messages begin with the field's name; ok is none.
  void adopt(const Status& status);
  /// Refuses a field that asks for what is not there, unless it is absent, null or false.
  void unsupported(const char* name, const char* why) {
    const Json& value = get(name);
    if (value.is_null() || value == false) return;
    fail(name, why, "unsupported_parameter");
  }

  /// A key that nothing has asked for; nothing when all are known.
  std::optional<std::string> unknown() const;

 private:
  template <typename T>
  static const char* convert(const Json& value, T& out) {
    if constexpr (std::is_same_v<T, bool>) {
      if (!value.is_boolean()) return "true or false";
      out = value.get<bool>();
    } else if constexpr (std::is_integral_v<T>) {
      // JSON knows one kind of number: 5.0 is an integer.
      if (value.is_number_float()) {
        const double number = value.get<double>();
        if (std::floor(number) != number || std::abs(number) > 9e15) return "an integer";
        return narrow(static_cast<int64_t>(number), out);
      }
      if (!value.is_number_integer()) return "an integer";
      if (value.is_number_unsigned() &&
          value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return "a smaller integer";
      return narrow(value.get<int64_t>(), out);
    } else if constexpr (std::is_floating_point_v<T>) {
      if (!value.is_number()) return "a number";
      out = static_cast<T>(value.get<double>());
      if (!std::isfinite(out)) return "a finite number";
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (!value.is_string()) return "a string";
      out = value.get<std::string>();
    } else if constexpr (requires { out.has_value(); }) {
      return convert(value, out.emplace());
    } else {
      if (!value.is_array()) return "an array";
      std::vector<typename T::value_type> items;
      items.reserve(value.size());
      for (const Json& element : value) {
        typename T::value_type item{};
        if (const char* expected = convert(element, item)) return expected;
        items.push_back(std::move(item));
      }
      out = std::move(items);
    }
    return nullptr;
  }
  template <typename T>
  static const char* narrow(int64_t number, T& out) {
    if (number < static_cast<int64_t>(std::numeric_limits<T>::min()) ||
        (sizeof(T) < 8 && number > static_cast<int64_t>(std::numeric_limits<T>::max())))
      return "an integer of ordinary size";
    out = static_cast<T>(number);
    return nullptr;
  }

  const Json& object_;
  std::string prefix_;
  std::vector<std::string> known_;
  std::optional<ApiError> error_;
};

}  // namespace sluice::serve
