#include "serve/metrics/gpu_metrics.h"

#include <algorithm>

namespace sluice::serve {

using telemetry::GpuSample;

namespace {

/// One family: a series for each GPU that tells the value.
class Family {
 public:
  Family(Exposition& out, std::span<const GpuSample> gpus) : out_(out), gpus_(gpus) {}

  template <typename Value>
  void gauge(std::string_view name, std::string_view help, std::optional<Value> GpuSample::*field) const {
    for (const GpuSample& gpu : gpus_) {
      if (!(gpu.*field)) continue;
      const Label uuid[] = {{"gpu_uuid", gpu.uuid}};
      out_.gauge(name, help, static_cast<double>(*(gpu.*field)), uuid);
    }
  }

 private:
  Exposition& out_;
  std::span<const GpuSample> gpus_;
};

}  // namespace

void write_gpu_metrics(Exposition& out, std::span<const GpuSample> gpus) {
  const Family family(out, gpus);
  family.gauge("nv_gpu_utilization", "Share of the time in which a kernel ran, 0 to 1.",
               &GpuSample::utilization);
  family.gauge("nv_gpu_memory_utilization", "Share of the time in which memory was read or written, 0 to 1.",
               &GpuSample::memory_utilization);
  family.gauge("nv_gpu_memory_total_bytes", "Memory.", &GpuSample::memory_total_bytes);
  family.gauge("nv_gpu_memory_used_bytes", "Memory in use.", &GpuSample::memory_used_bytes);
  family.gauge("nv_gpu_temperature_celsius", "Temperature.", &GpuSample::temperature_c);
  family.gauge("nv_gpu_power_usage", "Power drawn, in watts.", &GpuSample::power_w);
  family.gauge("nv_gpu_power_limit", "Power that may be drawn, in watts.", &GpuSample::power_limit_w);
  for (const GpuSample& gpu : gpus) {
    const Label uuid[] = {{"gpu_uuid", gpu.uuid}};
    if (gpu.energy_j)
      out.counter("nv_energy_consumption", "Energy since the driver was loaded, in joules.", *gpu.energy_j,
                  uuid);
  }
  family.gauge("nv_gpu_sm_clock_mhz", "Clock of the multiprocessors.", &GpuSample::sm_clock_mhz);
  family.gauge("nv_gpu_memory_clock_mhz", "Clock of the memory.", &GpuSample::memory_clock_mhz);
  for (const GpuSample& gpu : gpus) {
    for (const std::string& reason : telemetry::throttle_reasons()) {
      const bool is = std::find(gpu.throttling.begin(), gpu.throttling.end(), reason) != gpu.throttling.end();
      const Label labels[] = {{"gpu_uuid", gpu.uuid}, {"reason", reason}};
      out.gauge("nv_gpu_throttled", "1 while this holds the clocks down.", is ? 1 : 0, labels);
    }
  }
  family.gauge("nv_gpu_last_xid", "The last error that the driver reported.", &GpuSample::last_xid);
  for (const GpuSample& gpu : gpus) {
    const Label uuid[] = {{"gpu_uuid", gpu.uuid}};
    out.counter("nv_gpu_xid_errors_total", "Errors that the driver reported.",
                static_cast<double>(gpu.xid_count), uuid);
  }
}

}  // namespace sluice::serve
