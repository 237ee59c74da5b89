#include "engine/weight_streamer.h"

#include <algorithm>

#include "base/check.h"

namespace sluice::engine {

WeightStreamer::WeightStreamer(device::Device& device, const WeightPlaces& places, std::byte* slots,
                               const std::byte* host)
    : places_(places), slots_(slots), host_(host) {
  SLUICE_CHECK(places.streamed.size() > 2, "{} layers are streamed through 2 slots", places.streamed.size());
  for (auto& stream : copies_) stream = device.make_copy_stream();
}

void WeightStreamer::bring(size_t index) {
  const WeightPlaces::Layer& layer = places_.streamed[index];
  copies_[index % 2]->copy(slots_ + places_.slots[index % 2], host_ + layer.host, layer.bytes);
}

void WeightStreamer::prepare(device::Stream& stream) {
  if (ready_) return;
  for (size_t slot : {0, 1}) {
    copies_[slot]->synchronize();
    bring(slot);
    stream.follow(*copies_[slot]);
  }
  ready_ = true;
}

// Where the step is recorded, copies become part of the recording.
void WeightStreamer::begin(device::Stream& stream) {
  for (auto& copies : copies_) copies->follow(stream);
}
void WeightStreamer::finish(device::Stream& stream) {
  for (auto& copies : copies_) stream.follow(*copies);
}

void WeightStreamer::enter(int32_t layer, device::Stream& stream) {
  if (const auto index = index_of(layer)) stream.follow(*copies_[*index % 2]);
}

void WeightStreamer::leave(int32_t layer, device::Stream& stream) {
  const auto index = index_of(layer);
  if (!index) return;
  copies_[*index % 2]->follow(stream);
  bring(*index + 2 < places_.streamed.size() ? *index + 2 : *index % 2);
}

std::optional<size_t> WeightStreamer::index_of(int32_t layer) const {
  const auto at = std::lower_bound(places_.streamed.begin(), places_.streamed.end(), layer,
                                   [](const WeightPlaces::Layer& l, int32_t n) { return l.layer < n; });
  if (at == places_.streamed.end() || at->layer != layer) return std::nullopt;
  return static_cast<size_t>(at - places_.streamed.begin());
}

}  // namespace sluice::engine
