// Cutting a kernel's scratch memory into arrays, each on its own cache lines.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/checked.h"

namespace sluice::cpu {

constexpr uint64_t kCacheLine = 64;

/// Bytes that an array of `count` elements takes of a workspace.
template <typename T>
constexpr uint64_t scratch_bytes(int64_t count) {
  return round_up(static_cast<uint64_t>(count) * sizeof(T), kCacheLine);
}

class Workspace {
 public:
  explicit Workspace(std::byte* begin) : next_(begin) {}
  template <typename T>
  T* take(int64_t count) {
    T* array = reinterpret_cast<T*>(next_);
    next_ += scratch_bytes<T>(count);
    return array;
  }

 private:
  std::byte* next_;
};

}  // namespace sluice::cpu
