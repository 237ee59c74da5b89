// Invariants. A failed check prints its values and fails the step that broke it, never the process.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace sluice {

/// Thrown by SLUICE_CHECK. The engine turns it into an `internal` error of the requests of that step.
class CheckFailure : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& detail);

}  // namespace sluice

/// SLUICE_CHECK(n <= cap, "n={} cap={}", n, cap)
#define SLUICE_CHECK(cond, ...)                                                       \
  do {                                                                                \
    if (!(cond)) [[unlikely]]                                                         \
      ::sluice::check_failed(__FILE__, __LINE__, #cond, fmt::format("" __VA_ARGS__)); \
  } while (false)
