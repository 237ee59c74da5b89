#include "cpu/limits/limits.h"

#include <gtest/gtest.h>

#include "cpu/cpu_device.h"

namespace sluice::cpu {
namespace {

TEST(MachineLimits, AreMeasuredForEachThreadCount) {
  const auto backend = make_cpu_backend({.threads = 1});
  ASSERT_TRUE(backend.ok()) << backend.status().message();
  const auto limits = machine_limits(*backend->device, detect_features().isa, 3);
  ASSERT_TRUE(limits.ok()) << limits.status().message();
  ASSERT_EQ(limits->size(), 3u);  // 1, 2, 3
  for (const MachineLimit& limit : *limits) {
    EXPECT_GT(limit.read_bytes_per_second, 1e8) << to_line(limit);
    EXPECT_LT(limit.read_bytes_per_second, 1e13) << to_line(limit);
    EXPECT_GT(limit.f32_per_second, 1e8) << to_line(limit);
    EXPECT_LT(limit.f32_per_second, 1e13)
        << to_line(limit);  // a loop that the compiler removed would be beyond
    EXPECT_GT(limit.int8_per_second, 1e8) << to_line(limit);
    EXPECT_LT(limit.int8_per_second, 1e14) << to_line(limit);
    const Isa isa = detect_features().isa;
    EXPECT_EQ(limit.bf16_per_second > 1e10, isa >= Isa::avx512bf16) << to_line(limit);
    EXPECT_EQ(limit.tile_int8_per_second > 1e10, isa >= Isa::amx) << to_line(limit);
  }
}

}  // namespace
}  // namespace sluice::cpu
