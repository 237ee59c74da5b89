// Samples the GPUs once a second on a thread of its own, so that nobody waits for a driver that hangs.
#pragma once

#include <functional>
#include <memory>

#include "telemetry/gpu_monitor.h"

namespace sluice::telemetry {

class GpuSampler {
 public:
  /// Samples nothing until there is a GPU to be seen; `open` is called on the thread, once.
  explicit GpuSampler(std::function<Result<GpuMonitor>()> open);
  /// Does not wait for the thread: a call on a GPU that is lost may not come back.
  ~GpuSampler();
  GpuSampler(const GpuSampler&) = delete;

  /// The last sample of each GPU; empty without NVML, or when the driver has not answered for ten seconds.
  std::vector<GpuSample> latest() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::telemetry
