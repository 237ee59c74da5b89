#include "cpu/features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>

namespace sluice::cpu {
namespace {

struct CpuId {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};
CpuId cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuId r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}
bool bit(uint32_t word, int index) { return ((word >> index) & 1u) != 0; }

/// Register state that the operating system saves: XCR0.
uint64_t enabled_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

/// Linux gives a process the large state of tile registers only when asked. Asking again does no harm.
bool may_use_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, since Linux 5.16
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::string brand() {
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const CpuId part = cpuid(0x80000002u + i);
    std::memcpy(text + 16 * i, &part, 16);
  }
  std::string name(text);
  name.erase(0, name.find_first_not_of(' '));
  name.erase(name.find_last_not_of(' ') + 1);
  return name.empty() ? "x86-64" : name;
}

/// Visits the directory of this process's control group (version 2) and those above it.
template <typename Visit>
void for_each_cgroup(const Visit& visit) {
  std::ifstream file("/proc/self/cgroup");
  std::string group;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) group = line.substr(3);
  }
  while (!group.empty()) {
    visit("/sys/fs/cgroup" + (group == "/" ? std::string() : group));
    group = group == "/" ? "" : group.rfind('/') == 0 ? "/" : group.substr(0, group.rfind('/'));
  }
}

/// The first number of a file; nothing when it is absent or says "max". A second number goes to `second`.
std::optional<double> read_limit(const std::string& path, double* second = nullptr) {
  std::ifstream file(path);
  double value = 0;
  if (!(file >> value)) return std::nullopt;
  if (second != nullptr && !(file >> *second)) return std::nullopt;
  return value;
}

}  // namespace

CpuFeatures detect_features() {
  const CpuId one = cpuid(1), seven = cpuid(7), seven_one = cpuid(7, 1);
  const bool osxsave = bit(one.c, 27);
  const uint64_t state = osxsave ? enabled_state() : 0;
  const bool ymm = (state & 0x06) == 0x06;
  const bool zmm = (state & 0xe6) == 0xe6;
  const bool avx2 = ymm && bit(one.c, 28) && bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29);
  const bool avxvnni = avx2 && bit(seven_one.a, 4);
  const bool avx512 =
      avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
  const bool vnni = avx512 && bit(seven.c, 11);
  const bool tiles = vnni && (state & 0x60000) == 0x60000 && bit(seven.d, 22) && bit(seven.d, 24) &&
                     bit(seven.d, 25) && may_use_tiles();
  const CpuId maker = cpuid(0);  // "AuthenticAMD" in b, d, c
  const bool bf16 = vnni && bit(seven_one.a, 5) && maker.b == 0x68747541 && maker.d == 0x69746e65;
  const Isa best = tiles     ? Isa::amx
                   : bf16    ? Isa::avx512bf16
                   : vnni    ? Isa::avx512vnni
                   : avx512  ? Isa::avx512
                   : avxvnni ? Isa::avxvnni
                   : avx2    ? Isa::avx2
                             : Isa::scalar;
  return {best, avxvnni, brand()};
}

int cpu_quota() {
  int cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  for_each_cgroup([&](const std::string& dir) {
    double period = 0;
    const auto quota = read_limit(dir + "/cpu.max", &period);
    // Rounded down: one thread too many runs into the quota and stalls all.
    if (quota && period > 0) cpus = std::min(cpus, static_cast<int>(std::floor(*quota / period)));
  });
  return std::max(cpus, 1);
}

uint64_t usable_memory() {
  uint64_t bytes =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for_each_cgroup([&](const std::string& dir) {
    if (const auto limit = read_limit(dir + "/memory.max"))
      bytes = std::min(bytes, static_cast<uint64_t>(*limit));
  });
  return bytes;
}

}  // namespace sluice::cpu
