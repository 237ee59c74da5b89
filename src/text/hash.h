// A fast hash of short byte strings, for tables that live in memory only.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace sluice::text {

/// Mixes two words through one 128-bit product.
inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kA = 0x9E3779B97F4A7C15u;
  constexpr uint64_t kB = 0xD1B54A32D192ED03u;
  uint64_t hash = bytes.size() * kA;
  uint64_t word;
  while (bytes.size() > 8) {
    std::memcpy(&word, bytes.data(), 8);
    hash = hash_mix(hash ^ word, kB);
    bytes.remove_prefix(8);
  }
  word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  return hash_mix(hash ^ word, kA ^ kB);
}

}  // namespace sluice::text
