// Brings the weights of streamed layers to the device while the layers before them compute.
#pragma once

#include <array>
#include <memory>

#include "engine/weight_places.h"
#include "program/run.h"

namespace sluice::engine {

/// Streamed layer i computes from slot i % 2. When it is done, the layer after the next one takes its slot;
/// the last two make way for the first two, so that every step begins with those in place and ends as it
/// began.
class WeightStreamer final : public program::LayerGate {
 public:
  /// `slots` and `host` are the arenas that the places speak of.
  WeightStreamer(device::Device& device, const WeightPlaces& places, std::byte* slots, const std::byte* host);

  /// Before a step, recorded or not: has the first two layers brought, unless a step has left them there.
  void prepare(device::Stream& stream);
  /// After a step that failed: what is in the slots is not known.
  void forget() { ready_ = false; }

  void begin(device::Stream& stream) override;
  void enter(int32_t layer, device::Stream& stream) override;
  void leave(int32_t layer, device::Stream& stream) override;
  void finish(device::Stream& stream) override;

 private:
  std::optional<size_t> index_of(int32_t layer) const;
  void bring(size_t index);

  WeightPlaces places_;
  std::byte* slots_;
  const std::byte* host_;
  std::array<std::unique_ptr<device::Stream>, 2> copies_;  // one for each slot
  bool ready_ = false;
};

}  // namespace sluice::engine
