// Memory set aside for when there is no more. A failed allocation takes it and goes on: much cannot fail
// cleanly, the engine's step between two states, say, or destructors that allocate (those of large JSON
// values do). What is too large for it fails all the same, with std::bad_alloc.
#pragma once

namespace sluice {

/// Sets the reserve aside, or tries to have it whole again after it was used. False: there is no memory for
/// it.
bool fill_memory_reserve();
/// False where none was set aside, and from its use until it is whole again: a time to take on no new work.
bool has_memory_reserve();

}  // namespace sluice
