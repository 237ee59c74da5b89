#include "telemetry/gpu_monitor.h"

#include <array>

namespace sluice::telemetry {
namespace {

struct Reason {
  unsigned long long bit;
  const char* name;
};
constexpr std::array<Reason, 6> kReasons = {{{0x04, "power_cap"},
                                             {0x08, "hw_slowdown"},
                                             {0x10, "sync_boost"},
                                             {0x20, "sw_thermal"},
                                             {0x40, "hw_thermal"},
                                             {0x80, "hw_power_brake"}}};

// What `get(arguments..., &out)` gives, in units of `scale`; nothing where it fails or does not exist.
template <typename Out, typename Value, typename Function, typename... Arguments>
void ask(std::optional<Out>& out, Value scale, Function* get, Arguments... arguments) {
  Value value{};
  if (get == nullptr || get(arguments..., &value) != Nvml::kSuccess) return;
  out = static_cast<Out>(value) / static_cast<Out>(scale);
}

std::string text_of(Nvml::Code (*get)(Nvml::Device, char*, unsigned), Nvml::Device device) {
  std::array<char, Nvml::kNameBytes> text{};
  return get(device, text.data(), text.size()) == Nvml::kSuccess ? text.data() : "";
}

}  // namespace

const std::vector<std::string>& throttle_reasons() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Reason& reason : kReasons) out.emplace_back(reason.name);
    return out;
  }();
  return names;
}

Result<GpuMonitor> GpuMonitor::open(const Nvml& nvml) {
  GpuMonitor monitor(nvml);
  SLUICE_TRY(monitor.find_gpus());
  monitor.watch_for_xids();
  return monitor;
}

Result<GpuMonitor> GpuMonitor::open() {
  SLUICE_ASSIGN(const Nvml* nvml, load_nvml());
  return open(*nvml);
}

Status GpuMonitor::find_gpus() {
  unsigned count = 0;
  if (const Nvml::Code code = nvml_->device_count(&count); code != Nvml::kSuccess)
    return unsupported("NVML cannot count the GPUs: {}", nvml_->error_string(code));
  for (unsigned i = 0; i < count; ++i) {
    Gpu gpu{};
    if (nvml_->device(i, &gpu.device) != Nvml::kSuccess) continue;  // not for this process
    gpu.fixed.index = static_cast<int>(i);
    gpu.fixed.name = text_of(nvml_->name, gpu.device);
    gpu.fixed.uuid = text_of(nvml_->uuid, gpu.device);
    gpus_.push_back(std::move(gpu));
  }
  return gpus_.empty() ? unsupported("NVML sees no GPU here") : Status();
}

void GpuMonitor::watch_for_xids() {
  const Nvml& n = *nvml_;
  if (!n.create_event_set || !n.register_events || !n.wait_for_event || !n.free_event_set) return;
  Nvml::EventSet events = nullptr;
  if (n.create_event_set(&events) != Nvml::kSuccess) return;
  events_ = {events, n.free_event_set};
  // A GPU that reports none refuses; the others are watched all the same.
  for (const Gpu& gpu : gpus_) n.register_events(gpu.device, Nvml::kXidEvent, events);
}

void GpuMonitor::take_xids() {
  constexpr int kMost = 1000;  // in one sample: a broken GPU may report without end
  Nvml::Event event{};
  for (int i = 0; i < kMost && events_ && nvml_->wait_for_event(events_.get(), &event, 0) == Nvml::kSuccess;
       ++i) {
    for (Gpu& gpu : gpus_) {
      if (gpu.device != event.device || event.type != Nvml::kXidEvent) continue;
      gpu.fixed.last_xid = static_cast<int>(event.data);
      ++gpu.fixed.xid_count;
    }
  }
}

std::vector<GpuSample> GpuMonitor::sample() {
  take_xids();
  std::vector<GpuSample> out;
  for (const Gpu& gpu : gpus_) {
    GpuSample& s = out.emplace_back(gpu.fixed);
    const Nvml::Device device = gpu.device;
    Nvml::Utilization used{};
    if (nvml_->utilization && nvml_->utilization(device, &used) == Nvml::kSuccess) {
      s.utilization = used.gpu / 100.0;
      s.memory_utilization = used.memory / 100.0;
    }
    Nvml::Memory memory{};
    if (nvml_->memory && nvml_->memory(device, &memory) == Nvml::kSuccess) {
      s.memory_total_bytes = memory.total;
      s.memory_used_bytes = memory.used;
    }
    ask(s.temperature_c, 1u, nvml_->temperature, device, Nvml::kGpuSensor);
    ask(s.power_w, 1000u, nvml_->power, device);
    ask(s.power_limit_w, 1000u, nvml_->power_limit, device);
    ask(s.energy_j, 1000ull, nvml_->energy, device);
    ask(s.sm_clock_mhz, 1u, nvml_->clock, device, Nvml::kSmClock);
    ask(s.memory_clock_mhz, 1u, nvml_->clock, device, Nvml::kMemoryClock);
    unsigned long long reasons = 0;
    if (nvml_->throttle_reasons && nvml_->throttle_reasons(device, &reasons) == Nvml::kSuccess) {
      for (const Reason& reason : kReasons) {
        if (reasons & reason.bit) s.throttling.emplace_back(reason.name);
      }
    }
  }
  return out;
}

}  // namespace sluice::telemetry
