// Engines over checkpoints, stepped by hand, for tests.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "engine/core.h"

namespace sluice::engine::testing {

/// A core on two threads of the CPU. `isa`: kernels of no better instruction set; empty: the machine's best.
inline Result<std::unique_ptr<Core>> open_core(const std::string& path, const model::Recipe& recipe,
                                               const std::string& isa = "") {
  SLUICE_ASSIGN(auto backend, cpu::make_cpu_backend({.threads = 2, .isa = isa}));
  SLUICE_ASSIGN(auto model, LoadedModel::load(path, recipe, std::move(backend), {.threads = 2}));
  return Core::create(std::move(model));
}
inline std::unique_ptr<Core> make_core(const std::string& path, const model::Recipe& recipe,
                                       const std::string& isa = "") {
  auto core = open_core(path, recipe, isa);
  SLUICE_CHECK(core.ok(), "{}", core.status().message());
  return *std::move(core);
}

/// Everything that can be seen of a request.
struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;                // (tokens), and of the alternatives, where asked for
  std::map<int, std::vector<float>> logits;   // by position
  std::optional<sched::FinishReason> finish;  // none: still running
  Status error;
};

/// Steps a core and keeps each request's outcome.
class Driver {
 public:
  explicit Driver(Core& core) : core_(core) {}

  RequestId add(CoreRequest request) {
    auto outcome = std::make_shared<Outcome>();
    request.on_logits = [outcome](int position, std::span<const float> row) {
      outcome->logits[position].assign(row.begin(), row.end());
    };
    auto id = core_.add(std::move(request));
    SLUICE_CHECK(id.ok(), "{}", id.status().message());
    outcomes_[*id] = outcome;
    return *id;
  }

  void cancel(RequestId id) {
    if (core_.finish(id, sched::FinishReason::cancelled))
      outcomes_.at(id)->finish = sched::FinishReason::cancelled;
  }

  /// False when there was nothing to do.
  bool step() {
    std::vector<CoreEvent> events;
    const bool moved = core_.step(events);
    for (CoreEvent& e : events) {
      Outcome& out = *outcomes_.at(e.id);
      SLUICE_CHECK(!out.finish, "request {} goes on after its end", e.id);
      if (e.token >= 0) out.tokens.push_back(e.token);
      if (e.logprobs) {
        out.logprobs.push_back(e.logprobs->logprob);
        for (const auto& [id, logprob] : e.logprobs->top) out.logprobs.push_back(logprob);
      }
      if (e.finish) out.finish = e.finish, out.error = std::move(e.error);
    }
    return moved;
  }
  void drain() {
    while (core_.busy()) SLUICE_CHECK(step(), "the core stands still");
  }

  const Outcome& operator[](RequestId id) const { return *outcomes_.at(id); }

 private:
  Core& core_;
  std::map<RequestId, std::shared_ptr<Outcome>> outcomes_;
};

/// One request on a core with nothing else to do and no prefix to find.
inline Outcome alone(Core& core, CoreRequest request) {
  static uint64_t count = 0;
  request.salt = fmt::format("alone {}", ++count);
  Driver driver(core);
  const RequestId id = driver.add(std::move(request));
  driver.drain();
  return driver[id];
}

}  // namespace sluice::engine::testing
