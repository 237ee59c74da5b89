// Arithmetic on sizes that come from outside. Every size in a file or a request goes through here.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <type_traits>

namespace sluice {

/// a + b, or nothing when it overflows.
template <typename T>
std::optional<T> checked_add(T a, std::type_identity_t<T> b) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

/// a * b, or nothing when it overflows.
template <typename T>
std::optional<T> checked_mul(T a, std::type_identity_t<T> b) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

/// The product of all factors, or nothing when it overflows.
inline std::optional<uint64_t> checked_product(std::initializer_list<uint64_t> factors) {
  uint64_t product = 1;
  for (uint64_t f : factors) {
    if (__builtin_mul_overflow(product, f, &product)) return std::nullopt;
  }
  return product;
}

/// The same number in another integer type, or nothing when it does not fit.
template <typename To, typename From>
std::optional<To> checked_cast(From from) {
  static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
  const To to = static_cast<To>(from);
  if (static_cast<From>(to) != from || (to < To{}) != (from < From{})) return std::nullopt;
  return to;
}

template <typename T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}
template <typename T>
constexpr T round_up(T a, T b) {
  return ceil_div(a, b) * b;
}

}  // namespace sluice
