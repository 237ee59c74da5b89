// Where a Program's weights come from: a checkpoint, packed while loading, or an engine directory, mapped as
// it is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/device.h"
#include "engine/weight_places.h"
#include "model/recipe.h"
#include "program/program.h"

namespace sluice::engine {

/// Weights in memory, owned by the store that loaded them.
struct LoadedWeights {
  std::vector<const std::byte*> at;  // (Program::weights): where kernels read them
  std::byte* device = nullptr;       // the arenas that places speak of, where there are streamed layers
  const std::byte* host = nullptr;
};

class WeightStore {
 public:
  virtual ~WeightStore() = default;

  /// The path, and what an engine was made for.
  virtual std::string origin() const = 0;
  /// What is known before weights are touched.
  virtual const model::Spec& spec() const = 0;
  /// Types of all matrices under `recipe`; a recipe that cannot be had from this source is refused.
  virtual Result<model::RoleTypes> types(const model::Recipe& recipe,
                                         std::vector<std::string>& notes) const = 0;
  /// Layouts that the weights are in, and kernels that were measured to be the best on such a device.
  virtual program::Wishes wishes(const device::DeviceInfo& device) const = 0;
  /// The recipe of an engine directory, whose sizes are the defaults of whoever runs it; null for
  /// checkpoints.
  virtual const model::Recipe* stored_recipe() const { return nullptr; }

  /// Brings the weights of `program` into memory of `device`, and of the host where `places` has them there.
  virtual Result<LoadedWeights> load(const program::Program& program, const WeightPlaces& places,
                                     device::Device& device, int threads, bool verify_checksums) = 0;
};

/// Opens whatever `path` is.
Result<std::unique_ptr<WeightStore>> open_weights(const std::string& path);

}  // namespace sluice::engine
