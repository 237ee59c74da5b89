// Where weights lie when a device may hold only so many bytes of them: all in its memory, or some layers'
// matrices in memory of the host, brought through two slots in turn.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "program/program.h"

namespace sluice::engine {

/// Offsets are bytes from the start of the device's arena and of the host's.
struct WeightPlaces {
  struct Place {
    uint64_t device = 0;           // where kernels read it
    std::optional<uint64_t> host;  // streamed: where it is kept
  };
  std::vector<Place> weights;  // (Program::weights)

  /// A layer whose matrices are streamed: one stretch of the host's arena.
  struct Layer {
    int32_t layer = 0;
    uint64_t host = 0, bytes = 0;
  };
  std::vector<Layer> streamed;             // in order; the i-th goes through slot i % 2
  std::array<uint64_t, 2> slots = {0, 0};  // in the device's arena
  uint64_t device_bytes = 0, host_bytes = 0;
};

/// `budget`: the most bytes of the device's arena; 0: as many as it takes. Streams as few layers as that
/// allows, evenly spread, so that copies go on under the layers between. Refuses a budget below what all
/// layers streamed need, and says how much that is.
Result<WeightPlaces> place_weights(const program::Program& program, uint64_t budget);

}  // namespace sluice::engine
