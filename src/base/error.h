// Ways to make and to pass on a Status inside the project.
#pragma once

#include <fmt/format.h>

#include "sluice/status.h"

namespace sluice {

template <typename... Args>
Status invalid_argument(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::invalid_argument, fmt::format(f, std::forward<Args>(args)...)};
}
template <typename... Args>
Status not_found(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::not_found, fmt::format(f, std::forward<Args>(args)...)};
}
template <typename... Args>
Status unsupported(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::unsupported, fmt::format(f, std::forward<Args>(args)...)};
}
template <typename... Args>
Status corrupt(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::corrupt, fmt::format(f, std::forward<Args>(args)...)};
}
template <typename... Args>
Status resource_exhausted(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::resource_exhausted, fmt::format(f, std::forward<Args>(args)...)};
}
template <typename... Args>
Status io_error(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::io_error, fmt::format(f, std::forward<Args>(args)...)};
}
template <typename... Args>
Status internal_error(fmt::format_string<Args...> f, Args&&... args) {
  return {StatusCode::internal, fmt::format(f, std::forward<Args>(args)...)};
}

/// An operating-system failure: "what: strerror (errno)".
Status errno_error(const std::string& what);

}  // namespace sluice

/// Returns the Status of `expr` from the enclosing function unless it is ok.
#define SLUICE_TRY(expr)                                                                                   \
  do {                                                                                                     \
    if (::sluice::Status sluice_try_status_ = (expr); !sluice_try_status_.ok()) return sluice_try_status_; \
  } while (false)

#define SLUICE_CONCAT_INNER_(a, b) a##b
#define SLUICE_CONCAT_(a, b) SLUICE_CONCAT_INNER_(a, b)

/// SLUICE_ASSIGN(auto x, f()): x is f()'s value; a failure is returned from the enclosing function.
#define SLUICE_ASSIGN(decl, expr) SLUICE_ASSIGN_IMPL_(SLUICE_CONCAT_(sluice_result_, __LINE__), decl, expr)
#define SLUICE_ASSIGN_IMPL_(tmp, decl, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  decl = std::move(tmp).value()
