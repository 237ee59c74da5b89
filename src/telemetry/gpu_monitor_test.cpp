// The monitor over a table of functions that pretends to be a driver.
#include "telemetry/gpu_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <thread>

#include "telemetry/gpu_sampler.h"

namespace sluice::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What the driver says; each test sets it anew.
struct Driver {
  unsigned gpus = 2;
  Nvml::Code count_code = Nvml::kSuccess, power_code = Nvml::kSuccess;
  unsigned long long reasons = 0;
  std::deque<std::pair<unsigned, unsigned long long>> xids;  // (GPU, Xid) that are reported next
};
Driver driver;
std::atomic<bool> events_freed = false;  // by whatever thread

Nvml::Device handle(unsigned index) { return reinterpret_cast<Nvml::Device>(uintptr_t{index} + 1); }
unsigned index_of(Nvml::Device device) {
  return static_cast<unsigned>(reinterpret_cast<uintptr_t>(device) - 1);
}

Nvml fake() {
  Nvml n;
  n.init = [] { return Nvml::kSuccess; };
  n.error_string = [](Nvml::Code) { return "GPU is lost"; };
  n.device_count = [](unsigned* count) {
    *count = driver.gpus;
    return driver.count_code;
  };
  n.device = [](unsigned index, Nvml::Device* device) {
    *device = handle(index);
    return Nvml::kSuccess;
  };
  n.name = [](Nvml::Device, char* name, unsigned bytes) {
    std::strncpy(name, "Fake 100", bytes);
    return Nvml::kSuccess;
  };
  n.uuid = [](Nvml::Device device, char* uuid, unsigned bytes) {
    std::strncpy(uuid, index_of(device) == 0 ? "GPU-a" : "GPU-b", bytes);
    return Nvml::kSuccess;
  };
  n.utilization = [](Nvml::Device device, Nvml::Utilization* out) {
    *out = {50 + index_of(device), 25};
    return Nvml::kSuccess;
  };
  n.memory = [](Nvml::Device, Nvml::Memory* out) {
    *out = {1000, 400, 600};
    return Nvml::kSuccess;
  };
  n.temperature = [](Nvml::Device, int sensor, unsigned* out) {
    *out = 71;
    return sensor == Nvml::kGpuSensor ? Nvml::kSuccess : Nvml::kNotSupported;
  };
  n.power = [](Nvml::Device, unsigned* out) {
    *out = 350500;
    return driver.power_code;
  };
  n.energy = [](Nvml::Device, unsigned long long* out) {
    *out = 5'000'000'000'000;
    return Nvml::kSuccess;
  };
  n.clock = [](Nvml::Device, int which, unsigned* out) {
    *out = which == Nvml::kSmClock ? 1980 : 2619;
    return Nvml::kSuccess;
  };
  n.throttle_reasons = [](Nvml::Device, unsigned long long* out) {
    *out = driver.reasons;
    return Nvml::kSuccess;
  };
  n.create_event_set = [](Nvml::EventSet* set) {
    *set = reinterpret_cast<Nvml::EventSet>(uintptr_t{1});
    return Nvml::kSuccess;
  };
  n.free_event_set = [](Nvml::EventSet) {
    events_freed = true;
    return Nvml::kSuccess;
  };
  n.register_events = [](Nvml::Device, unsigned long long, Nvml::EventSet) { return Nvml::kSuccess; };
  n.wait_for_event = [](Nvml::EventSet, Nvml::Event* event, unsigned) {
    if (driver.xids.empty()) return Nvml::kTimeout;
    *event = {handle(driver.xids.front().first), Nvml::kXidEvent, driver.xids.front().second, 0, 0};
    driver.xids.pop_front();
    return Nvml::kSuccess;
  };
  return n;
}

class GpuMonitorTest : public ::testing::Test {
 protected:
  void SetUp() override { driver = {}; }
  std::vector<GpuSample> sample() {
    auto monitor = GpuMonitor::open(nvml_);
    EXPECT_TRUE(monitor.ok()) << monitor.status().message();
    return monitor->sample();
  }
  Nvml nvml_ = fake();
};

TEST_F(GpuMonitorTest, ReadsValuesInTheirUnits) {
  const auto gpus = sample();
  ASSERT_EQ(gpus.size(), 2u);
  const GpuSample& g = gpus[1];
  EXPECT_EQ(g.index, 1);
  EXPECT_EQ(g.name, "Fake 100");
  EXPECT_EQ(g.uuid, "GPU-b");
  EXPECT_DOUBLE_EQ(*g.utilization, 0.51);
  EXPECT_EQ(g.memory_total_bytes, 1000u);
  EXPECT_EQ(g.memory_used_bytes, 600u);
  EXPECT_EQ(g.temperature_c, 71);
  EXPECT_DOUBLE_EQ(*g.power_w, 350.5);
  EXPECT_DOUBLE_EQ(*g.energy_j, 5e9);
  EXPECT_EQ(g.sm_clock_mhz, 1980);
  EXPECT_EQ(g.memory_clock_mhz, 2619);
  EXPECT_THAT(g.throttling, IsEmpty());
  EXPECT_FALSE(g.last_xid);
}

TEST_F(GpuMonitorTest, LeavesOutWhatTheDriverDoesNotTell) {
  nvml_.temperature = nullptr;
  nvml_.wait_for_event = nullptr;
  driver.power_code = Nvml::kNotSupported;
  const auto gpus = sample();
  EXPECT_FALSE(gpus[0].temperature_c);
  EXPECT_FALSE(gpus[0].power_w);
  EXPECT_FALSE(gpus[0].power_limit_w);
  const Json json = to_json(gpus[0]);
  EXPECT_FALSE(json.contains("power_w"));
  EXPECT_EQ(json["throttling"], Json::array());
}

TEST_F(GpuMonitorTest, NamesWhatHoldsTheClocksDown) {
  driver.reasons = 0x1 | 0x2 | 0x4 | 0x40 | 0x100;  // idle, set by somebody, power, heat, display
  EXPECT_THAT(sample()[0].throttling, ElementsAre("power_cap", "hw_thermal"));
}

TEST_F(GpuMonitorTest, CountsTheXidsOfEachGpu) {
  auto monitor = GpuMonitor::open(nvml_);
  ASSERT_TRUE(monitor.ok());
  driver.xids = {{1, 31}, {1, 79}};
  monitor->sample();
  const auto gpus = monitor->sample();
  EXPECT_EQ(gpus[0].xid_count, 0u);
  EXPECT_EQ(gpus[1].xid_count, 2u);
  EXPECT_EQ(gpus[1].last_xid, 79);
}

TEST_F(GpuMonitorTest, GivesTheDriverItsEventsBack) {
  events_freed = false;
  sample();
  EXPECT_TRUE(events_freed);
}

TEST_F(GpuMonitorTest, SaysWhyThereIsNothingToSee) {
  driver.gpus = 0;
  EXPECT_THAT(std::string(GpuMonitor::open(nvml_).status().message()), HasSubstr("no GPU"));
  driver.count_code = 15;
  EXPECT_THAT(std::string(GpuMonitor::open(nvml_).status().message()), HasSubstr("GPU is lost"));
}

TEST_F(GpuMonitorTest, IsSampledInTheBackground) {
  static const Nvml nvml = fake();  // the thread may outlive the test
  const GpuSampler sampler([] { return GpuMonitor::open(nvml); });
  for (int i = 0; i < 1000 && sampler.latest().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(sampler.latest().size(), 2u);
  const GpuSampler none([] { return Result<GpuMonitor>(unsupported("no driver")); });
  EXPECT_THAT(none.latest(), IsEmpty());
}

}  // namespace
}  // namespace sluice::telemetry
