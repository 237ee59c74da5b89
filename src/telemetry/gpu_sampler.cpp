#include "telemetry/gpu_sampler.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace sluice::telemetry {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPeriod = std::chrono::seconds(1);
constexpr auto kStale = std::chrono::seconds(10);

}  // namespace

struct GpuSampler::State {
  mutable std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  std::vector<GpuSample> samples;
  Clock::time_point taken;
};

GpuSampler::GpuSampler(std::function<Result<GpuMonitor>()> open) : state_(std::make_shared<State>()) {
  std::thread([state = state_, open = std::move(open)] {
    Result<GpuMonitor> monitor = open();
    if (!monitor.ok()) return;
    std::unique_lock lock(state->mutex);
    while (!state->stopping) {
      lock.unlock();
      std::vector<GpuSample> samples = monitor->sample();
      lock.lock();
      state->samples = std::move(samples);
      state->taken = Clock::now();
      state->wake.wait_for(lock, kPeriod, [&] { return state->stopping; });
    }
  }).detach();
}

GpuSampler::~GpuSampler() {
  const std::lock_guard lock(state_->mutex);
  state_->stopping = true;
  state_->wake.notify_all();
}

std::vector<GpuSample> GpuSampler::latest() const {
  const std::lock_guard lock(state_->mutex);
  if (Clock::now() - state_->taken > kStale) return {};
  return state_->samples;
}

}  // namespace sluice::telemetry
