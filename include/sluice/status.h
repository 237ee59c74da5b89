// Status and Result<T>: how every public call and every reader of outside input reports failure.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace sluice {

enum class StatusCode {
  ok = 0,
  invalid_argument,    // the caller's input is wrong: the message names the field and the remedy
  not_found,           // a file or a name that does not exist
  unsupported,         // understood, and not implemented or not possible here
  corrupt,             // a file that contradicts itself or its checksum
  resource_exhausted,  // memory, disk, queue or page limits
  io_error,            // the operating system refused
  cancelled,
  internal,  // a broken invariant of ours
};

/// Name of a code, as printed in JSON ("invalid_argument").
const char* status_code_name(StatusCode code);

/// Success, or a code with one sentence that names the file or field and says what to do about it.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::ok; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The same failure with "context: " in front of its message; success stays success.
  Status with_context(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }

 private:
  StatusCode code_ = StatusCode::ok;
  std::string message_;
};

/// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}         // NOLINT(implicit)
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}  // NOLINT(implicit)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  Status status() const { return ok() ? Status() : std::get<1>(state_); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace sluice
