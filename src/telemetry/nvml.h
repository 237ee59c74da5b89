// The few functions of NVIDIA's management library that are called, as its ABI has them. It comes with the
// driver and is looked for at run time: nothing is needed to build.
#pragma once

#include "base/error.h"

namespace sluice::telemetry {

struct Nvml {
  using Code = int;
  using Device = struct NvmlDevice*;
  using EventSet = struct NvmlEventSet*;

  static constexpr Code kSuccess = 0, kNotSupported = 3, kTimeout = 10;
  static constexpr int kNameBytes = 96;  // of names and UUIDs
  static constexpr int kGpuSensor = 0;
  static constexpr int kSmClock = 1, kMemoryClock = 2;
  static constexpr unsigned long long kXidEvent = 8;

  struct Utilization {
    unsigned gpu, memory;  // percent of the time that something ran
  };
  struct Memory {
    unsigned long long total, free, used;  // bytes
  };
  struct Event {
    Device device;
    unsigned long long type, data;  // data: the Xid
    unsigned gpu_instance, compute_instance;
  };

  Code (*init)() = nullptr;
  const char* (*error_string)(Code) = nullptr;
  Code (*device_count)(unsigned* count) = nullptr;
  Code (*device)(unsigned index, Device* device) = nullptr;
  Code (*name)(Device, char* name, unsigned bytes) = nullptr;
  Code (*uuid)(Device, char* uuid, unsigned bytes) = nullptr;
  // Any of these may be missing in an older driver.
  Code (*utilization)(Device, Utilization*) = nullptr;
  Code (*memory)(Device, Memory*) = nullptr;
  Code (*temperature)(Device, int sensor, unsigned* celsius) = nullptr;
  Code (*power)(Device, unsigned* milliwatts) = nullptr;
  Code (*power_limit)(Device, unsigned* milliwatts) = nullptr;
  Code (*energy)(Device, unsigned long long* millijoules) = nullptr;
  Code (*clock)(Device, int which, unsigned* megahertz) = nullptr;
  Code (*throttle_reasons)(Device, unsigned long long* bits) = nullptr;
  Code (*create_event_set)(EventSet*) = nullptr;
  Code (*register_events)(Device, unsigned long long types, EventSet) = nullptr;
  Code (*wait_for_event)(EventSet, Event*, unsigned milliseconds) = nullptr;
  Code (*free_event_set)(EventSet) = nullptr;
};

/// The machine's library, loaded once and initialised; or one sentence that says why there is none.
Result<const Nvml*> load_nvml();

}  // namespace sluice::telemetry
