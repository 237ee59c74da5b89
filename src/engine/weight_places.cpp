#include "engine/weight_places.h"

#include <algorithm>
#include <map>

namespace sluice::engine {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int32_t kResident = -1;

uint64_t aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// The layer of each weight that is a matrix of one layer; kResident for all others.
std::vector<int32_t> layers_of_matrices(const program::Program& program) {
  std::vector<std::optional<int32_t>> seen(program.weights.size());
  const auto use = [&](int32_t weight, int32_t layer) {
    auto& known = seen[static_cast<size_t>(weight)];
    known = !known || *known == layer ? layer : kResident;
  };
  for (const program::Step& step : program.steps) {
    if (const auto* linear = std::get_if<program::LinearStep>(&step.op)) use(linear->weight, step.layer);
    if (const auto* embed = std::get_if<program::EmbedStep>(&step.op)) use(embed->weight, kResident);
    if (const auto* moe = std::get_if<program::MoeMlpStep>(&step.op)) {
      use(moe->gate_up, step.layer);
      use(moe->down, step.layer);
    }
  }
  std::vector<int32_t> out;
  for (const auto& layer : seen) out.push_back(layer.value_or(kResident));
  return out;
}

class Placing {
 public:
  explicit Placing(const program::Program& program)
      : program_(program), layer_of_(layers_of_matrices(program)) {
    for (size_t i = 0; i < program.weights.size(); ++i) {
      const uint64_t bytes = aligned(program.weights[i].bytes);
      total_ += bytes;
      if (layer_of_[i] != kResident) bytes_of_[layer_of_[i]] += bytes;
    }
  }

  Result<WeightPlaces> within(uint64_t budget) const {
    if (budget == 0 || total_ <= budget) return places({});
    std::vector<int32_t> layers;
    for (const auto& [layer, bytes] : bytes_of_) layers.push_back(layer);
    uint64_t least = total_;
    for (size_t count = 3; count <= layers.size(); ++count) {  // two slots hold two layers anyway
      const std::vector<int32_t> chosen = spread(layers, count);
      const uint64_t needed = device_bytes(chosen);
      if (needed <= budget) return places(chosen);
      least = std::min(least, needed);
    }
    return resource_exhausted(
        "--weight_budget {}: at least {} bytes are needed, for the two largest layers and what is outside "
        "layers",
        budget, least);
  }

 private:
  static std::vector<int32_t> spread(const std::vector<int32_t>& layers, size_t count) {
    std::vector<int32_t> out;
    for (size_t i = 0; i < layers.size(); ++i) {
      if ((i + 1) * count / layers.size() > i * count / layers.size()) out.push_back(layers[i]);
    }
    return out;
  }
  uint64_t slot_bytes(const std::vector<int32_t>& streamed) const {
    uint64_t most = 0;
    for (int32_t layer : streamed) most = std::max(most, bytes_of_.at(layer));
    return most;
  }
  uint64_t device_bytes(const std::vector<int32_t>& streamed) const {
    uint64_t bytes = total_ + 2 * slot_bytes(streamed);
    for (int32_t layer : streamed) bytes -= bytes_of_.at(layer);
    return bytes;
  }

  WeightPlaces places(const std::vector<int32_t>& streamed) const {
    WeightPlaces out;
    out.weights.resize(program_.weights.size());
    std::map<int32_t, size_t> index;
    for (int32_t layer : streamed) {
      index[layer] = out.streamed.size();
      out.streamed.push_back({layer, out.host_bytes, bytes_of_.at(layer)});
      out.host_bytes += bytes_of_.at(layer);
    }
    if (!streamed.empty()) {
      out.slots = {0, slot_bytes(streamed)};
      out.device_bytes = 2 * slot_bytes(streamed);
    }
    std::vector<uint64_t> used(streamed.size());  // of each streamed layer
    for (size_t i = 0; i < program_.weights.size(); ++i) {
      const uint64_t bytes = aligned(program_.weights[i].bytes);
      const auto at = index.find(layer_of_[i]);
      if (at == index.end()) {
        out.weights[i] = {out.device_bytes, std::nullopt};
        out.device_bytes += bytes;
        continue;
      }
      uint64_t& offset = used[at->second];
      out.weights[i] = {out.slots[at->second % 2] + offset, out.streamed[at->second].host + offset};
      offset += bytes;
    }
    return out;
  }

  const program::Program& program_;
  std::vector<int32_t> layer_of_;
  std::map<int32_t, uint64_t> bytes_of_;  // of a layer's matrices
  uint64_t total_ = 0;
};

}  // namespace

Result<WeightPlaces> place_weights(const program::Program& program, uint64_t budget) {
  return Placing(program).within(budget);
}

}  // namespace sluice::engine
