#include "cpu/cpu_set.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace sluice::cpu {
namespace {

TEST(CpuSet, ListsAndMasks) {
  EXPECT_EQ(*parse_cpu_set("0-3,8"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(*parse_cpu_set("5,1,1-2"), (std::vector<int>{1, 2, 5}));
  EXPECT_EQ(*parse_cpu_set("0x10f"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(*parse_cpu_set("0xA0"), (std::vector<int>{5, 7}));
  for (const char* bad : {"", "x", "1-", "-1", "3-1", "1,,2", "1;2", "0x", "0x0", "0xg", "99999", "0-99999",
                          "99999999999999999999"}) {
    const auto refused = parse_cpu_set(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.status().message().find("0-3,8"), std::string::npos) << refused.status().message();
  }
}

TEST(CpuSet, RestrictsTheThreadAndThoseItStarts) {
  std::thread([] {
    const int here = sched_getcpu();
    ASSERT_TRUE(restrict_to({here}).ok());
    EXPECT_EQ(usable_cores(), 1);
    int there = -1;
    std::thread([&] { there = sched_getcpu(); }).join();
    EXPECT_EQ(there, here);
  }).join();
  EXPECT_FALSE(restrict_to({CPU_SETSIZE - 1}).ok());
}

TEST(CpuSet, HardwareThreadsOfACoreCountOnce) {
  const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "topology";
  // Two packages with cores 0 and 1, the second of the first package with two threads.
  const int kCores[][2] = {{0, 0}, {0, 1}, {0, 1}, {1, 0}, {1, 1}};
  for (int cpu = 0; cpu < 5; ++cpu) {
    const auto dir = root / ("cpu" + std::to_string(cpu)) / "topology";
    std::filesystem::create_directories(dir);
    std::ofstream(dir / "physical_package_id") << kCores[cpu][0] << "\n";
    std::ofstream(dir / "core_id") << kCores[cpu][1] << "\n";
  }
  EXPECT_EQ(physical_cores({0, 1, 2, 3, 4}, root.string()), 4);
  EXPECT_EQ(physical_cores({1, 2}, root.string()), 1);
  EXPECT_EQ(physical_cores({1, 2, 7}, root.string()), 3) << "where the topology is not told, each CPU counts";
  std::filesystem::remove_all(root);
}

TEST(CpuSet, MemoryNodesOfCpus) {
  const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "nodes";
  const auto describe = [&](const char* name, const char* cpus) {
    std::filesystem::create_directories(root / name);
    std::ofstream(root / name / "cpulist") << cpus << "\n";
  };
  describe("node0", "0-3,8-11");
  describe("node1", "4-7,12-15");
  describe("node2", "");  // memory without CPUs
  describe("power", "0-15");
  EXPECT_EQ(memory_nodes({0, 1, 12}, root.string()), (std::vector<int>{0, 1}));
  EXPECT_EQ(memory_nodes({5, 6}, root.string()), std::vector<int>{1});
  EXPECT_EQ(memory_nodes({16}, root.string()), std::vector<int>{});
  EXPECT_EQ(memory_nodes({0}, (root / "absent").string()), std::vector<int>{});
  std::filesystem::remove_all(root);
}

TEST(CpuSet, MemoryIsInterleavedOverSeveralNodesOnly) {
  std::thread([] {
    const bool several = interleave_memory() > 1;
    int policy = -1;
    ASSERT_EQ(syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0), 0);
    EXPECT_EQ(policy, several ? MPOL_INTERLEAVE : MPOL_DEFAULT);
  }).join();
}

}  // namespace
}  // namespace sluice::cpu
