#include "cpu/cpu_set.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "cpu/features.h"

namespace sluice::cpu {
namespace {

constexpr int kMostCpus = CPU_SETSIZE;

Status bad_set(const std::string& text, const std::string& why) {
  return invalid_argument("CPU set \"{}\": {}; give CPUs like 0-3,8 or a mask like 0xf", text, why);
}

/// Reads a number at the front of `text` and takes it off.
bool take_number(std::string_view& text, int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return out >= 0;
}

Result<std::vector<int>> parse_mask(const std::string& text) {
  std::vector<int> cpus;
  for (size_t i = text.size(); i > 2; --i) {
    const char c = text[i - 1];
    int digit = 0;
    if (std::from_chars(&c, &c + 1, digit, 16).ec != std::errc())
      return bad_set(text, "not a hexadecimal number");
    for (int bit = 0; bit < 4; ++bit) {
      if ((digit >> bit & 1) != 0) cpus.push_back(static_cast<int>(text.size() - i) * 4 + bit);
    }
  }
  if (cpus.empty()) return bad_set(text, "it is empty");
  if (cpus.back() >= kMostCpus)
    return bad_set(text, fmt::format("CPUs are counted from 0 to {}", kMostCpus - 1));
  return cpus;
}

std::vector<int> affinity() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < kMostCpus; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

Result<std::vector<int>> parse_cpu_set(const std::string& text) {
  if (text.starts_with("0x")) return parse_mask(text);
  std::set<int> cpus;
  std::string_view rest = text;
  do {
    int first = 0, last = 0;
    if (!take_number(rest, first)) return bad_set(text, "a number is missing");
    last = first;
    if (rest.starts_with("-")) {
      rest.remove_prefix(1);
      if (!take_number(rest, last)) return bad_set(text, "a number is missing");
    }
    if (last < first) return bad_set(text, fmt::format("{}-{} goes down", first, last));
    if (last >= kMostCpus) return bad_set(text, fmt::format("CPUs are counted from 0 to {}", kMostCpus - 1));
    for (int cpu = first; cpu <= last; ++cpu) cpus.insert(cpu);
    if (rest.empty()) break;
    if (!rest.starts_with(",")) return bad_set(text, fmt::format("\"{}\" is not understood", rest));
    rest.remove_prefix(1);
  } while (true);
  return std::vector<int>(cpus.begin(), cpus.end());
}

Status restrict_to(const std::vector<int>& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) CPU_SET(static_cast<size_t>(cpu), &mask);
  if (sched_setaffinity(0, sizeof mask, &mask) == 0) return {};
  if (errno == EINVAL) {
    return invalid_argument("none of the CPUs {} may be used by this process; it may use {}",
                            fmt::join(cpus, ","), fmt::join(affinity(), ","));
  }
  return io_error("cannot choose CPUs: {}", std::strerror(errno));
}

int physical_cores(const std::vector<int>& cpus, const std::string& root) {
  std::set<std::pair<int, int>> cores;  // (package, core)
  for (const int cpu : cpus) {
    const std::string topology = fmt::format("{}/cpu{}/topology/", root, cpu);
    int package = 0, core = 0;
    std::ifstream package_file(topology + "physical_package_id"), core_file(topology + "core_id");
    // A machine that does not say counts each CPU.
    if (!(package_file >> package) || !(core_file >> core)) return static_cast<int>(cpus.size());
    cores.emplace(package, core);
  }
  return static_cast<int>(cores.size());
}

int usable_cores() {
  const std::vector<int> cpus = affinity();
  if (cpus.empty()) return cpu_quota();  // a machine with more CPUs than a set can name
  return std::min(cpu_quota(), physical_cores(cpus, "/sys/devices/system/cpu"));
}

std::vector<int> memory_nodes(const std::vector<int>& cpus, const std::string& root) {
  std::vector<int> nodes;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(root, none)) {
    const std::string name = entry.path().filename();
    std::string_view number = name;
    int node = 0;
    if (!number.starts_with("node")) continue;
    number.remove_prefix(4);
    if (!take_number(number, node) || !number.empty()) continue;
    std::string list;
    std::ifstream(entry.path() / "cpulist") >> list;
    const auto here = parse_cpu_set(list);  // a node without CPUs has an empty list
    if (!here.ok()) continue;
    const bool ours = std::any_of(cpus.begin(), cpus.end(), [&](int cpu) {
      return std::binary_search(here->begin(), here->end(), cpu);
    });
    if (ours) nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

int interleave_memory() {
  const std::vector<int> nodes = memory_nodes(affinity(), "/sys/devices/system/node");
  if (nodes.size() < 2) return static_cast<int>(nodes.size());
  constexpr size_t kBits = 8 * sizeof(unsigned long), kMostNodes = 1024;
  std::array<unsigned long, kMostNodes / kBits> mask{};
  for (const int node : nodes) {
    const auto bit = static_cast<size_t>(node);
    if (bit < kMostNodes) mask[bit / kBits] |= 1UL << bit % kBits;
  }
  // Advice: a kernel that refuses leaves the memory where its threads touch it first.
  syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask.data(), kMostNodes + 1);
  return static_cast<int>(nodes.size());
}

}  // namespace sluice::cpu
