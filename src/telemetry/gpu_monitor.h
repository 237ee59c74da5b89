// The state of the machine's GPUs, as NVML tells it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "base/fields.h"
#include "telemetry/nvml.h"

namespace sluice::telemetry {

/// One GPU at one moment. What the driver does not tell is missing.
struct GpuSample {
  int index = 0;
  std::string name, uuid;
  std::optional<double> utilization;         // share of the time in which a kernel ran, 0 to 1
  std::optional<double> memory_utilization;  // and in which its memory was read or written
  std::optional<uint64_t> memory_total_bytes, memory_used_bytes;
  std::optional<int> temperature_c;
  std::optional<double> power_w, power_limit_w, energy_j;  // energy since the driver was loaded
  std::optional<int> sm_clock_mhz, memory_clock_mhz;
  std::vector<std::string> throttling;  // what holds the clocks down: "power_cap", "hw_thermal", ...
  std::optional<int> last_xid;          // the last error that the driver reported since watching began,
  uint64_t xid_count = 0;               // and how many there were

  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("index", s.index), v("name", s.name), v("uuid", s.uuid);
    v("utilization", s.utilization), v("memory_utilization", s.memory_utilization);
    v("memory_total_bytes", s.memory_total_bytes), v("memory_used_bytes", s.memory_used_bytes);
    v("temperature_c", s.temperature_c);
    v("power_w", s.power_w), v("power_limit_w", s.power_limit_w), v("energy_j", s.energy_j);
    v("sm_clock_mhz", s.sm_clock_mhz), v("memory_clock_mhz", s.memory_clock_mhz);
    v("throttling", s.throttling), v("last_xid", s.last_xid), v("xid_count", s.xid_count);
  }
};

/// All reasons for which clocks are held down; idling and clocks that somebody has set are none.
const std::vector<std::string>& throttle_reasons();

class GpuMonitor {
 public:
  /// One sentence when there is no GPU to be seen.
  static Result<GpuMonitor> open(const Nvml& nvml);
  /// With the machine's NVML.
  static Result<GpuMonitor> open();

  /// Asks every GPU. A call on a GPU that is lost may take long, or for ever.
  std::vector<GpuSample> sample();

 private:
  struct Gpu {
    Nvml::Device device;
    GpuSample fixed;  // what does not change, and what its events were
  };

  explicit GpuMonitor(const Nvml& nvml) : nvml_(&nvml) {}
  Status find_gpus();
  void watch_for_xids();
  void take_xids();

  const Nvml* nvml_;
  std::vector<Gpu> gpus_;
  std::unique_ptr<std::remove_pointer_t<Nvml::EventSet>, Nvml::Code (*)(Nvml::EventSet)> events_{nullptr,
                                                                                                 nullptr};
};

}  // namespace sluice::telemetry
