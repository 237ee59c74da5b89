#include "engine/weight_store.h"

#include <map>

#include "artifact/reader.h"
#include "artifact/tuning.h"
#include "base/check.h"
#include "base/file.h"
#include "engine/block_upload.h"
#include "engine/upload.h"
#include "program/pack.h"

namespace sluice::engine {
namespace {

/// The memory that weights are put into.
class Arenas {
 public:
  static Result<Arenas> make(const WeightPlaces& places, device::Device& device) {
    Arenas arenas(places);
    SLUICE_ASSIGN(arenas.device_, device.allocate(places.device_bytes, "weights"));
    if (places.host_bytes > 0) {
      SLUICE_ASSIGN(arenas.host_, device.allocate_host(places.host_bytes, "streamed weights"));
    }
    return arenas;
  }

  /// Where a weight lies, and whether that is the host's memory.
  std::pair<std::byte*, bool> at(size_t weight) const {
    const WeightPlaces::Place& place = places_->weights[weight];
    return place.host ? std::pair(host_.data() + *place.host, true)
                      : std::pair(device_.data() + place.device, false);
  }
  /// Where a part of a weight can be written at once; nullptr: it must be copied.
  std::byte* direct(size_t weight, uint64_t offset, bool shares_host_memory) const {
    const WeightPlaces::Place& place = places_->weights[weight];
    if (place.host) return host_.data() + *place.host + offset;
    return shares_host_memory ? device_.data() + place.device + offset : nullptr;
  }
  LoadedWeights weights() const {
    LoadedWeights out{.at = {}, .device = device_.data(), .host = host_.data()};
    for (const WeightPlaces::Place& place : places_->weights) out.at.push_back(device_.data() + place.device);
    return out;
  }
  /// The memory itself, for whoever keeps it.
  std::pair<device::Buffer, device::Buffer> release() { return {std::move(device_), std::move(host_)}; }

 private:
  explicit Arenas(const WeightPlaces& places) : places_(&places) {}
  const WeightPlaces* places_;
  device::Buffer device_, host_;
};

class CheckpointWeights final : public WeightStore {
 public:
  explicit CheckpointWeights(model::Model model) : model_(std::move(model)) {}

  std::string origin() const override { return model_.checkpoint.path(); }
  const model::Spec& spec() const override { return model_.spec; }
  Result<model::RoleTypes> types(const model::Recipe& recipe,
                                 std::vector<std::string>& notes) const override {
    return model::resolve_types(model_, recipe, notes);
  }
  program::Wishes wishes(const device::DeviceInfo&) const override { return {}; }

  Result<LoadedWeights> load(const program::Program& program, const WeightPlaces& places,
                             device::Device& device, int threads, bool) override {
    SLUICE_ASSIGN(Arenas arenas, Arenas::make(places, device));
    SLUICE_ASSIGN(Uploader uploader, Uploader::make(device, threads));
    std::vector<program::Packing> direct;
    std::vector<std::byte> packed;  // of one copy, where it cannot be packed into its place
    for (size_t i = 0; i < program.weights.size(); ++i) {
      const program::WeightInfo& weight = program.weights[i];
      if (weight.constant) {
        uploader.put(arenas.at(i).first, std::as_bytes(std::span(program.constants[i])));
        continue;
      }
      const uint64_t copy_bytes = weight.bytes / static_cast<uint64_t>(weight.copies);
      for (int64_t c = 0; c < weight.copies; ++c) {
        const uint64_t offset = static_cast<uint64_t>(c) * copy_bytes;
        if (std::byte* to = arenas.direct(i, offset, device.shares_host_memory())) {
          direct.push_back({&weight, c, {to, copy_bytes}});
          continue;
        }
        packed.assign(copy_bytes, std::byte{0});
        SLUICE_TRY(program::pack_weight(model_, weight, c, packed, threads));
        uploader.put(arenas.at(i).first + offset, packed);
      }
    }
    SLUICE_TRY(program::pack_weights(model_, direct, threads));
    uploader.finish();
    LoadedWeights out = arenas.weights();
    memory_ = arenas.release();
    return out;
  }

 private:
  model::Model model_;
  std::pair<device::Buffer, device::Buffer> memory_;
};

class EngineWeights final : public WeightStore {
 public:
  EngineWeights(artifact::EngineDir dir, artifact::Tuning tuning)
      : dir_(std::move(dir)), tuning_(std::move(tuning)) {}

  std::string origin() const override {
    const artifact::Hardware& hardware = dir_.manifest().hardware;
    return fmt::format("{}, made for {} {}", dir_.path(), hardware.device, hardware.name);
  }
  const model::Spec& spec() const override { return dir_.manifest().spec; }
  const model::Recipe* stored_recipe() const override { return &dir_.manifest().recipe; }

  Result<model::RoleTypes> types(const model::Recipe& recipe, std::vector<std::string>&) const override {
    if (!recipe.precision.empty() && recipe.precision != dir_.manifest().recipe.precision) {
      return invalid_argument(
          "{}: an engine's precision was decided by optimize; run optimize again for another", dir_.path());
    }
    return dir_.manifest().types;
  }

  program::Wishes wishes(const device::DeviceInfo& device) const override {
    program::Wishes wishes;
    for (const artifact::TensorEntry& tensor : dir_.manifest().tensors)
      wishes.layouts[tensor.name] = tensor.layout;
    // What cost chose, this release and this machine choose for themselves.
    if (tuning_.hardware != artifact::Hardware{device.kind, device.name, device.features}) return wishes;
    for (const artifact::TunedKernel& tuned : tuning_.kernels) {
      if (tuned.microseconds) wishes.kernels[tuned.op] = tuned.kernel;
    }
    return wishes;
  }

  Result<LoadedWeights> load(const program::Program& program, const WeightPlaces& places,
                             device::Device& device, int threads, bool verify_checksums) override {
    SLUICE_ASSIGN(const std::vector<const artifact::TensorEntry*> stored, stored_weights(program));
    if (!device.shares_host_memory())
      return bring(device, program, places, stored, threads, verify_checksums);
    SLUICE_TRY(dir_.load({.verify = verify_checksums, .threads = threads}));
    LoadedWeights out;
    for (size_t i = 0; i < stored.size(); ++i) {
      out.at.push_back(stored[i] != nullptr ? dir_.weights().data() + stored[i]->offset
                                            : std::as_bytes(std::span(program.constants[i])).data());
    }
    return out;
  }

 private:
  /// Where the engine has each weight of the program; null for constants.
  Result<std::vector<const artifact::TensorEntry*>> stored_weights(const program::Program& program) const {
    std::map<std::string_view, const artifact::TensorEntry*> entries;
    for (const artifact::TensorEntry& tensor : dir_.manifest().tensors) entries[tensor.name] = &tensor;
    std::vector<const artifact::TensorEntry*> out;
    for (const program::WeightInfo& w : program.weights) {
      if (w.constant) {
        out.push_back(nullptr);
        continue;
      }
      const auto it = entries.find(w.name);
      const artifact::TensorEntry* t = it == entries.end() ? nullptr : it->second;
      if (t == nullptr || t->type != w.dtype || t->n != w.n || t->k != w.k || t->copies != w.copies ||
          t->bytes != w.bytes || t->layout != w.layout->name) {
        return corrupt("{}: weight {} is not stored as this version needs it; run optimize again",
                       dir_.path(), w.name);
      }
      out.push_back(t);
    }
    return out;
  }

  Result<LoadedWeights> bring(device::Device& device, const program::Program& program,
                              const WeightPlaces& places,
                              std::span<const artifact::TensorEntry* const> stored, int threads,
                              bool verify) {
    SLUICE_ASSIGN(Arenas arenas, Arenas::make(places, device));
    const auto constants = device.make_copy_stream();
    std::vector<BlockUpload::Part> parts;
    for (size_t i = 0; i < stored.size(); ++i) {
      const auto [to, on_host] = arenas.at(i);
      if (stored[i] == nullptr) {
        const std::vector<float>& values = program.constants[i];
        constants->copy(to, values.data(), values.size() * sizeof(float));
      } else {
        parts.push_back({stored[i]->offset, stored[i]->bytes, to, on_host});
      }
    }
    SLUICE_TRY(BlockUpload::run(device, dir_, std::move(parts), threads, verify));
    constants->synchronize();
    LoadedWeights out = arenas.weights();
    memory_ = arenas.release();
    return out;
  }

  artifact::EngineDir dir_;
  artifact::Tuning tuning_;
  std::pair<device::Buffer, device::Buffer> memory_;  // of devices that do not read the mapped files
};

Result<std::unique_ptr<WeightStore>> open_engine(const std::string& path) {
  SLUICE_ASSIGN(artifact::EngineDir dir, artifact::EngineDir::open(path));
  SLUICE_ASSIGN(artifact::Tuning tuning, artifact::read_tuning(path));
  return std::unique_ptr<WeightStore>(new EngineWeights(std::move(dir), std::move(tuning)));
}

}  // namespace

Result<std::unique_ptr<WeightStore>> open_weights(const std::string& path) {
  if (artifact::is_engine_dir(path)) return open_engine(path);
  auto model = model::load_model(path);
  // Without weights and with a manifest it is an engine whose manifest is damaged.
  if (model.status().code() == StatusCode::not_found && exists(join_path(path, artifact::kManifestFile)))
    return open_engine(path);
  if (!model.ok()) return model.status();
  return std::unique_ptr<WeightStore>(new CheckpointWeights(*std::move(model)));
}

}  // namespace sluice::engine
