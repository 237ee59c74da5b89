// What a machine allows at best for the passes of a Program.
#pragma once

#include <algorithm>

#include "cpu/limits/limits.h"
#include "tools/workload.h"

namespace sluice::tools {

/// Measures the machine with as many threads and the instruction set that the device uses. Takes a second or
/// more.
Result<cpu::MachineLimit> measure_limit(device::Device& device);

/// Bytes and operations of one step of the Program in one run of a pass.
ops::Cost cost_of(const program::Step& step, const Pass& pass);

/// Seconds that memory and arithmetic allow for that much work of a step; it cannot be done in less than
/// either.
struct RoofSeconds {
  double memory = 0, compute = 0;
  double least() const { return std::max(memory, compute); }
};
RoofSeconds roof_seconds(const ops::Roof& roof, const program::Step& step, const ops::Cost& cost);

/// Seconds of arithmetic alone for a whole phase, at the measured peak of the instructions that its steps
/// use.
double compute_seconds(const ops::Roof& roof, const program::Program& program, std::span<const Pass> passes);

/// Bytes of weights, and of cached keys and values, that a phase must bring from memory: activations stay in
/// the caches.
double streamed_bytes(const program::Program& program, std::span<const Pass> passes);

}  // namespace sluice::tools
