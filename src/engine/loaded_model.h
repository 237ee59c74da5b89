// A model in memory, ready to run: its Program, the weights and caches, and the plan of every byte.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/weight_streamer.h"
#include "kv/layout.h"
#include "model/recipe.h"
#include "ops/ops.h"
#include "program/run.h"

namespace sluice::engine {

/// What the engine takes, in bytes, decided before any of it is allocated.
struct MemoryPlan {
  uint64_t weights = 0;   // on the device: without what is streamed, with the slots that it goes through
  uint64_t streamed = 0;  // weights kept in pinned memory of the host
  uint64_t activations = 0;
  uint64_t workspace = 0;
  struct Group {
    int64_t window = 0;  // tokens; 0: full attention
    int64_t pages = 0;
    uint64_t page_bytes = 0;
  };
  std::vector<Group> kv;
  uint64_t batch = 0;      // page tables and other inputs of a step
  uint64_t sampling = 0;   // where the device has memory of its own: sampled tokens, and what was seen before
  uint64_t stream = 0;     // what the device keeps for the queue of steps
  uint64_t pinned = 0;     // of the host, for copies to and from such a device
  uint64_t tokenizer = 0;  // tables of the tokenizer, as it reports them

  uint64_t kv_bytes() const;
  /// In the device's memory.
  uint64_t on_device() const {
    return weights + activations + workspace + kv_bytes() + batch + sampling + stream;
  }
  uint64_t total() const { return on_device() + streamed + pinned + tokenizer; }
  /// "weights 14 MiB, KV cache 3 MiB, ...": what a refusal shows.
  std::string summary() const;
};

struct LoadOptions {
  int64_t logit_rows = 0;  // rows whose logits are computed at once; 0: as many as sequences
  int threads = 1;         // for reading, packing and checking
  bool verify_checksums = true;
  bool generation_config = true;  // see Codec::open
};

class WeightStore;  // the bytes under Memory::weights, whoever owns them

class LoadedModel {
 public:
  /// `path` is an engine directory, a Hugging Face directory or a GGUF file; the last two are packed now, as
  /// `optimize` would. `recipe` is what the user asked for: an engine directory's own precision stands, and
  /// asking for another is refused. Memory is allocated here and nowhere later.
  static Result<std::unique_ptr<LoadedModel>> load(const std::string& path, model::Recipe recipe,
                                                   ops::Backend backend, const LoadOptions& options);

  /// The plan alone: nothing but headers is read and nothing of size is allocated.
  static Result<std::unique_ptr<LoadedModel>> plan_only(const std::string& path, model::Recipe recipe,
                                                        ops::Backend backend, const LoadOptions& options);

  const model::Spec& spec() const { return spec_; }
  const model::Recipe& recipe() const { return recipe_; }
  const program::Program& program() const { return program_; }
  const program::Memory& memory() const { return memory_; }
  const MemoryPlan& plan() const { return plan_; }
  const kv::Layout& kv_layout() const { return kv_layout_; }
  const model::RoleTypes& types() const { return types_; }
  ops::Backend& backend() { return backend_; }
  WeightStreamer* streamer() const { return streamer_.get(); }  // null where all weights are in place
  const std::vector<std::string>& notes() const { return notes_; }

  ~LoadedModel();

 private:
  LoadedModel() = default;
  Status prepare(const std::string& path, model::Recipe recipe, const LoadOptions& options);
  void dequantise_types();
  Status plan_memory();
  Status allocate(const LoadOptions& options);
  Status allocate_caches();

  ops::Backend backend_;
  model::Spec spec_;
  model::Recipe recipe_;
  model::RoleTypes types_;
  program::Program program_;
  MemoryPlan plan_;
  kv::Layout kv_layout_;
  WeightPlaces places_;
  std::unique_ptr<WeightStore> weights_;
  std::unique_ptr<WeightStreamer> streamer_;
  device::Buffer activations_, workspace_, caches_;
  program::Memory memory_;
  std::vector<std::string> notes_;
};

}  // namespace sluice::engine
