#include "engine/weight_store.h"

#include <cstring>
#include <map>

#include "artifact/reader.h"
#include "artifact/tuning.h"
#include "base/check.h"
#include "base/file.h"
#include "engine/upload.h"
#include "program/pack.h"

namespace sluice::engine {
namespace {

std::vector<const std::byte*> addresses(const program::Program& program, const std::byte* arena) {
  std::vector<const std::byte*> out;
  for (const program::WeightInfo& weight : program.weights) out.push_back(arena + weight.offset);
  return out;
}

class CheckpointWeights final : public WeightStore {
 public:
  explicit CheckpointWeights(model::Model model) : model_(std::move(model)) {}

  const model::Spec& spec() const override { return model_.spec; }
  Result<model::RoleTypes> types(const model::Recipe& recipe,
                                 std::vector<std::string>& notes) const override {
    return model::resolve_types(model_, recipe, notes);
  }
  program::Wishes wishes(const device::DeviceInfo&) const override { return {}; }

  Result<std::vector<const std::byte*>> load(const program::Program& program, device::Device& device,
                                             int threads, bool) override {
    SLUICE_ASSIGN(arena_, device.allocate(program.weight_bytes, "weights"));
    SLUICE_ASSIGN(Uploader uploader, Uploader::make(device, threads));
    std::vector<std::byte> packed;  // of one copy, where the device does not share the host's memory
    for (size_t i = 0; i < program.weights.size(); ++i) {
      const program::WeightInfo& weight = program.weights[i];
      std::byte* at = arena_.data() + weight.offset;
      if (weight.constant) {
        uploader.put(at, std::as_bytes(std::span(program.constants[i])));
        continue;
      }
      const uint64_t copy_bytes = weight.bytes / static_cast<uint64_t>(weight.copies);
      for (int64_t c = 0; c < weight.copies; ++c, at += copy_bytes) {
        if (device.shares_host_memory()) {
          SLUICE_TRY(program::pack_weight(model_, weight, c, {at, copy_bytes}, threads));
          continue;
        }
        packed.assign(copy_bytes, std::byte{0});
        SLUICE_TRY(program::pack_weight(model_, weight, c, packed, threads));
        uploader.put(at, packed);
      }
    }
    uploader.finish();
    return addresses(program, arena_.data());
  }

 private:
  model::Model model_;
  device::Buffer arena_;
};

class EngineWeights final : public WeightStore {
 public:
  EngineWeights(artifact::EngineDir dir, artifact::Tuning tuning)
      : dir_(std::move(dir)), tuning_(std::move(tuning)) {}

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

  Result<std::vector<const std::byte*>> load(const program::Program& program, device::Device& device,
                                             int threads, bool verify_checksums) override {
    SLUICE_TRY(dir_.load({.verify = verify_checksums, .threads = threads}));
    std::map<std::string_view, const artifact::TensorEntry*> entries;
    for (const artifact::TensorEntry& tensor : dir_.manifest().tensors) entries[tensor.name] = &tensor;
    std::vector<const std::byte*> out;
    for (size_t i = 0; i < program.weights.size(); ++i) {
      const program::WeightInfo& w = program.weights[i];
      if (w.constant) {
        out.push_back(reinterpret_cast<const std::byte*>(program.constants[i].data()));
        continue;
      }
      const auto it = entries.find(w.name);
      const artifact::TensorEntry* t = it == entries.end() ? nullptr : it->second;
      if (t == nullptr || t->type != w.dtype || t->n != w.n || t->k != w.k || t->copies != w.copies ||
          t->bytes != w.bytes || t->layout != w.layout->name) {
        return corrupt("{}: weight {} is not stored as this version needs it; run optimize again",
                       dir_.path(), w.name);
      }
      out.push_back(dir_.weights().data() + t->offset);
    }
    if (!device.shares_host_memory()) return copy_to(device, program, out, threads);
    return out;
  }

 private:
  Result<std::vector<const std::byte*>> copy_to(device::Device& device, const program::Program& program,
                                                std::span<const std::byte* const> mapped, int threads) {
    SLUICE_ASSIGN(arena_, device.allocate(program.weight_bytes, "weights"));
    SLUICE_ASSIGN(Uploader uploader, Uploader::make(device, threads));
    for (size_t i = 0; i < program.weights.size(); ++i)
      uploader.put(arena_.data() + program.weights[i].offset, {mapped[i], program.weights[i].bytes});
    uploader.finish();
    return addresses(program, arena_.data());
  }

  artifact::EngineDir dir_;
  artifact::Tuning tuning_;
  device::Buffer arena_;  // of devices that do not read the mapped files
};

}  // namespace

Result<std::unique_ptr<WeightStore>> open_weights(const std::string& path) {
  if (artifact::is_engine_dir(path)) {
    SLUICE_ASSIGN(artifact::EngineDir dir, artifact::EngineDir::open(path));
    SLUICE_ASSIGN(artifact::Tuning tuning, artifact::read_tuning(path));
    return std::unique_ptr<WeightStore>(new EngineWeights(std::move(dir), std::move(tuning)));
  }
  SLUICE_ASSIGN(model::Model model, model::load_model(path));
  return std::unique_ptr<WeightStore>(new CheckpointWeights(std::move(model)));
}

}  // namespace sluice::engine
