// What this machine's cores can execute, and how many of them we may use.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cpu {

/// Instruction sets that kernels are compiled for; see CpuFeatures::has().
enum class Isa {
  scalar,      // the x86-64 baseline
  avx2,        // AVX2, FMA, F16C
  avxvnni,     // + AVX-VNNI, which not every better one has
  avx512,      // AVX-512 F, BW, DQ, VL
  avx512vnni,  // + VNNI
  avx512bf16,  // + VDPBF16PS, where it does twice the products of a fused multiply-add (AMD)
  amx,         // + AMX tiles, bf16 and int8
};
constexpr auto enum_names(Isa) {
  return std::array<std::string_view, 7>{"scalar",     "avx2",       "avxvnni", "avx512",
                                         "avx512vnni", "avx512bf16", "amx"};
}

struct CpuFeatures {
  Isa isa = Isa::scalar;  // the best one that processor and operating system support, or that is wanted
  bool avxvnni = false;   // whether the processor has it; it may be there beside better ones
  std::string name;       // the processor's own, "AMD EPYC 9B14"

  /// Whether kernels for it are of use: each includes those before it, but AMX not VDPBF16PS: Intel's
  /// processors have both and run the latter at half the rate of multiply-adds in fp32.
  bool has(Isa part) const {
    return part <= isa && (part != Isa::avxvnni || avxvnni) && !(isa == Isa::amx && part == Isa::avx512bf16);
  }
};

CpuFeatures detect_features();

/// CPUs whose time the control groups of this process grant it, rounded down; at most the CPUs of the
/// machine.
int cpu_quota();

/// Memory of the machine, cut to the limit of this process's control groups. Bytes.
uint64_t usable_memory();

}  // namespace sluice::cpu
