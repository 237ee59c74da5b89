#include "ops/bench.h"

#include <gtest/gtest.h>

#include <set>

#include "cpu/cpu_device.h"

namespace sluice::cpu {
namespace {

TEST(BenchOps, TimesEveryKernelOfAnOpAgainstTheRoof) {
  auto backend = make_cpu_backend({.threads = 2});
  ASSERT_TRUE(backend.ok());
  const ops::Roof roof{1e10, 1e11, 1e11};
  std::set<std::string> timed;
  ops::bench_ops(*backend, roof, {.op = "add_norm", .seconds_per_case = 1e-4}, [&](const ops::BenchRow& row) {
    EXPECT_EQ(row.op, "add_norm");
    EXPECT_GT(row.min_seconds, 0);
    EXPECT_LE(row.min_seconds, row.median_seconds);
    // One add and one norm of 576 columns in fp32: h is read and written, the branch read, y written.
    EXPECT_NEAR(row.bytes_per_second * row.median_seconds, 4.0 * 576 * static_cast<double>(row.rows) * 4, 1);
    EXPECT_NEAR(row.share_of_roof, row.bytes_per_second / roof.bytes_per_second, 1e-9);
    EXPECT_EQ(row.bound, "memory");
    timed.insert(row.kernel);
  });
  std::set<std::string> existing;
  for (const auto& kernel : backend->kernels.all<ops::AddNorm>()) {
    if (!kernel.name.ends_with(".reference")) existing.emplace(kernel.name);
  }
  EXPECT_EQ(timed, existing);
}

}  // namespace
}  // namespace sluice::cpu
