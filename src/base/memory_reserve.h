// Memory set aside for when there is no more. Threads that all requests depend on (the engine's, those of
// connections) go on with it; work for one request alone fails at once, and takes nobody with it.
#pragma once

namespace sluice {

/// Sets the reserve aside, or tries to have it whole again after it was used. False: there is no memory for
/// it.
bool fill_memory_reserve();
/// False where none was set aside, and from its use until it is whole again: a time to take on no new work.
bool has_memory_reserve();

/// While it lives, an allocation of this thread that fails throws std::bad_alloc, reserve or not.
class WithoutReserve {
 public:
  WithoutReserve();
  ~WithoutReserve();
  WithoutReserve(const WithoutReserve&) = delete;
  WithoutReserve& operator=(const WithoutReserve&) = delete;
};

}  // namespace sluice
