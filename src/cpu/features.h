// What this machine's cores can execute, and how many of them we may use.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cpu {

/// Instruction sets that kernels are compiled for; see includes().
enum class Isa {
  scalar,      // the x86-64 baseline
  avx2,        // AVX2, FMA, F16C
  avx512,      // AVX-512 F, BW, DQ, VL
  avx512vnni,  // + VNNI
  avx512bf16,  // + VDPBF16PS, where it does twice the products of a fused multiply-add (AMD)
  amx,         // + AMX tiles, bf16 and int8
};
constexpr auto enum_names(Isa) {
  return std::array<std::string_view, 6>{"scalar", "avx2", "avx512", "avx512vnni", "avx512bf16", "amx"};
}

/// Each includes those before it, but AMX not VDPBF16PS: Intel's processors have both and run the latter at
/// half the rate of multiply-adds in fp32.
constexpr bool includes(Isa set, Isa part) {
  return part <= set && !(set == Isa::amx && part == Isa::avx512bf16);
}

struct CpuFeatures {
  Isa isa = Isa::scalar;  // the best one that processor and operating system support
  std::string name;       // the processor's own, "AMD EPYC 9B14"
};

CpuFeatures detect_features();

/// CPUs whose time the control groups of this process grant it, rounded down; at most the CPUs of the
/// machine.
int cpu_quota();

/// Memory of the machine, cut to the limit of this process's control groups. Bytes.
uint64_t usable_memory();

}  // namespace sluice::cpu
