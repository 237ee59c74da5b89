#include "telemetry/nvml.h"

#include <dlfcn.h>

namespace sluice::telemetry {
namespace {

constexpr const char* kLibrary = "libnvidia-ml.so.1";

template <typename Function>
void find(void* library, const char* symbol, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, symbol));
}

Result<const Nvml*> load() {
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    return unsupported("NVML ({}) was not found: there is no NVIDIA driver here", kLibrary);
  static Nvml n;
  find(library, "nvmlInit_v2", n.init);
  find(library, "nvmlErrorString", n.error_string);
  find(library, "nvmlDeviceGetCount_v2", n.device_count);
  find(library, "nvmlDeviceGetHandleByIndex_v2", n.device);
  find(library, "nvmlDeviceGetName", n.name);
  find(library, "nvmlDeviceGetUUID", n.uuid);
  find(library, "nvmlDeviceGetUtilizationRates", n.utilization);
  find(library, "nvmlDeviceGetMemoryInfo", n.memory);
  find(library, "nvmlDeviceGetTemperature", n.temperature);
  find(library, "nvmlDeviceGetPowerUsage", n.power);
  find(library, "nvmlDeviceGetEnforcedPowerLimit", n.power_limit);
  find(library, "nvmlDeviceGetTotalEnergyConsumption", n.energy);
  find(library, "nvmlDeviceGetClockInfo", n.clock);
  find(library, "nvmlDeviceGetCurrentClocksThrottleReasons", n.throttle_reasons);
  find(library, "nvmlEventSetCreate", n.create_event_set);
  find(library, "nvmlDeviceRegisterEvents", n.register_events);
  find(library, "nvmlEventSetWait_v2", n.wait_for_event);
  find(library, "nvmlEventSetFree", n.free_event_set);
  if (!n.init || !n.error_string || !n.device_count || !n.device || !n.name || !n.uuid)
    return unsupported("NVML ({}) lacks functions that every driver of the last ten years has", kLibrary);
  if (const Nvml::Code code = n.init(); code != Nvml::kSuccess)
    return unsupported("NVML cannot be used: {}", n.error_string(code));
  return &n;
}

}  // namespace

Result<const Nvml*> load_nvml() {
  static const Result<const Nvml*> loaded = load();
  return loaded;
}

}  // namespace sluice::telemetry
