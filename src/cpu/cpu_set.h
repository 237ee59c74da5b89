// The CPUs of this machine that the process may use.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace sluice::cpu {

/// Numbers of CPUs from "0-3,8" (as taskset and /sys write them) or a hexadecimal mask "0x10f", rising.
Result<std::vector<int>> parse_cpu_set(const std::string& text);

/// From now on the calling thread, and those it starts, run on these CPUs only. Refuses a set with none that
/// the process may use.
Status restrict_to(const std::vector<int>& cpus);

/// Threads that compute best: one for each physical core among the CPUs in the affinity mask, since hardware
/// threads of a core share what kernels are bound by; no more than the CPU quota of the process's control
/// groups.
int usable_cores();

/// The same from the topology under `root` ("/sys/devices/system/cpu"), without the quota.
int physical_cores(const std::vector<int>& cpus, const std::string& root);

/// The memory nodes (NUMA) that CPUs belong to, rising, by the lists under `root`
/// ("/sys/devices/system/node"); none where the machine does not say.
std::vector<int> memory_nodes(const std::vector<int>& cpus, const std::string& root);

/// Where the CPUs in the affinity mask belong to several memory nodes, the memory that this thread and those
/// it starts take from now on, files they read included, comes from these nodes in turn: any thread may
/// compute with any weight, and together they read at the rate of all nodes. Returns the number of nodes.
int interleave_memory();

}  // namespace sluice::cpu
