#include "engine/weight_store.h"

#include <cstring>

#include "base/check.h"
#include "base/file.h"
#include "program/pack.h"

namespace sluice::engine {
namespace {

class CheckpointWeights final : public WeightStore {
 public:
  explicit CheckpointWeights(model::Model model) : model_(std::move(model)) {}

  const model::Spec& spec() const override { return model_.spec; }
  Result<model::RoleTypes> types(const model::Recipe& recipe,
                                 std::vector<std::string>& notes) const override {
    return model::resolve_types(model_, recipe, notes);
  }
  program::Wishes wishes() const override { return {}; }

  Result<std::vector<const std::byte*>> load(const program::Program& program, device::Device& device,
                                             int threads, bool) override {
    SLUICE_CHECK(device.shares_host_memory(), "weights are packed on the host");
    SLUICE_ASSIGN(arena_, device.allocate(program.weight_bytes, "weights"));
    std::vector<const std::byte*> out;
    for (size_t i = 0; i < program.weights.size(); ++i) {
      const program::WeightInfo& weight = program.weights[i];
      std::byte* at = arena_.data() + weight.offset;
      out.push_back(at);
      if (weight.constant) {
        std::memcpy(at, program.constants[i].data(), program.constants[i].size() * sizeof(float));
        continue;
      }
      const uint64_t copy_bytes = weight.bytes / static_cast<uint64_t>(weight.copies);
      for (int64_t c = 0; c < weight.copies; ++c) {
        SLUICE_TRY(program::pack_weight(model_, weight, c,
                                        {at + static_cast<uint64_t>(c) * copy_bytes, copy_bytes}, threads));
      }
    }
    return out;
  }

 private:
  model::Model model_;
  device::Buffer arena_;
};

}  // namespace

Result<std::unique_ptr<WeightStore>> open_weights(const std::string& path) {
  SLUICE_ASSIGN(model::Model model, model::load_model(path));
  return std::unique_ptr<WeightStore>(new CheckpointWeights(std::move(model)));
}

}  // namespace sluice::engine
