// What bench and profile run: prompts of random tokens through the engine's core, one step after another.
#pragma once

#include <random>

#include "engine/core.h"

namespace sluice::tools {

/// `count` equal runs of the Program: each of `sequences` sequences has `rows` new tokens, after which it has
/// `context` tokens, and wants the logits of `logits` of them.
struct Pass {
  int64_t sequences = 1;
  int64_t rows = 1;
  int64_t logits = 1;
  int64_t context = 1;
  int64_t count = 1;
};

/// What was timed.
struct Phase {
  double seconds = 0;
  int64_t tokens = 0;  // read (prefill) or written (decode)
  std::vector<Pass> passes;
};

enum class PhaseKind { prefill, decode };
constexpr auto enum_names(PhaseKind) { return std::array<std::string_view, 2>{"prefill", "decode"}; }

/// Sees the steps that are timed.
class StepWatcher {
 public:
  virtual ~StepWatcher() = default;
  virtual void step_begins(PhaseKind kind) = 0;
  /// The Program's last op has run; what follows is sampling. Called for each row of logits.
  virtual void logits_ready() = 0;
  virtual void step_ends() = 0;
};

/// `sequences` prompts of `tokens` tokens together, read until each has its first output.
struct PrefillLoad {
  int64_t tokens = 512;
  int64_t sequences = 1;
};

/// `steps` outputs of each of `sequences` sequences together, after prompts of `context` tokens.
struct DecodeLoad {
  int64_t sequences = 1;
  int64_t context = 16;
  int64_t steps = 128;
  bool end_to_end = false;  // the reading of the prompts is timed too
};

/// Chooses the sizes that `recipe` leaves open so that the loads run without preemption: pages are those of
/// `plan`, the model planned from it. Refuses sizes that are too small for the loads, and loads longer than
/// what the model was made for.
Status fit_recipe(model::Recipe& recipe, const engine::LoadedModel& plan,
                  std::span<const PrefillLoad> prefills, std::span<const DecodeLoad> decodes);

/// Runs loads. Each run has fresh random tokens: none is answered from the prefix cache.
class Workload {
 public:
  explicit Workload(engine::Core& core) : core_(core) {}
  Result<Phase> run(const PrefillLoad& load, StepWatcher* watcher = nullptr);
  Result<Phase> run(const DecodeLoad& load, StepWatcher* watcher = nullptr);

 private:
  Result<Phase> run_end_to_end(const DecodeLoad& load);
  Result<engine::RequestId> add(int64_t prompt, int64_t outputs, StepWatcher* watcher);
  /// Outputs that one step gave.
  Result<int64_t> step();
  Result<int64_t> timed_step(PhaseKind kind, StepWatcher* watcher);

  engine::Core& core_;
  std::mt19937 random_{20240229};
  std::vector<engine::CoreEvent> events_;
};

}  // namespace sluice::tools
