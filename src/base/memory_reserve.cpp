#include "base/memory_reserve.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace sluice {
namespace {

constexpr size_t kBytes = size_t{4} << 20;

std::atomic<void*> g_reserve{nullptr};

// What operator new calls before it tries again.
void give_reserve() {
  void* memory = g_reserve.exchange(nullptr);
  if (memory == nullptr) throw std::bad_alloc();
  std::free(memory);
}

}  // namespace

bool fill_memory_reserve() {
  if (has_memory_reserve()) return true;
  std::set_new_handler(give_reserve);
  void* memory = std::malloc(kBytes);
  if (void* none = nullptr; memory != nullptr && !g_reserve.compare_exchange_strong(none, memory))
    std::free(memory);  // another thread was faster
  return memory != nullptr;
}

bool has_memory_reserve() { return g_reserve.load() != nullptr; }

}  // namespace sluice
