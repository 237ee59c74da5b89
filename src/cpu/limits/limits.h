// What this machine can do at best: the roofs that kernels are measured against.
#pragma once

#include <algorithm>
#include <vector>

#include "base/fields.h"
#include "cpu/features.h"
#include "cpu/thread_pool.h"
#include "ops/bench.h"

namespace sluice::cpu {

/// Of `threads` threads together, best of several short runs.
struct MachineLimit {
  int threads = 1;
  double read_bytes_per_second =
      0;                       // from memory: each thread its own part of a buffer larger than the caches
  double f32_per_second = 0;   // fused multiply-adds, two operations each
  double int8_per_second = 0;  // dot products of bytes, two operations a product
  // Dot products of bf16, and of bytes on tile registers (AMX), likewise; 0 where there are none.
  double bf16_per_second = 0;
  double tile_int8_per_second = 0;
  double copy_bytes_per_second = 0;  // from the host's memory to a device's own; 0 where they are one
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("threads", s.threads), v("read_bytes_per_second", s.read_bytes_per_second);
    v("f32_per_second", s.f32_per_second), v("int8_per_second", s.int8_per_second);
    v("bf16_per_second", s.bf16_per_second), v("tile_int8_per_second", s.tile_int8_per_second);
  }
};

/// For 1, 2, 4, ... and `threads` threads, with kernels of `isa`. Takes about a second for each count, and
/// 512 MiB of the CPU device's memory, which lies in huge pages as weights do: through small ones the
/// prefetchers reach half.
Result<std::vector<MachineLimit>> machine_limits(device::Device& cpu, Isa isa, int threads);

inline ops::Roof roof_of(const MachineLimit& limit) {
  return {.bytes_per_second = limit.read_bytes_per_second,
          .f32_per_second = limit.f32_per_second,
          .int8_per_second = std::max(limit.int8_per_second, limit.tile_int8_per_second),
          .bf16_per_second = std::max(limit.f32_per_second, limit.bf16_per_second)};
}

/// Loops that do one thing as fast as an instruction set can.
struct LimitLoops {
  /// Reads [begin, begin + bytes), a multiple of 1 KiB; returns something that depends on all of it.
  int32_t (*read)(const std::byte* begin, int64_t bytes) = nullptr;
  /// `rounds` rounds of independent operations; returns how many operations one round is.
  double (*f32)(int64_t rounds, float* sink) = nullptr;
  double (*int8)(int64_t rounds, int32_t* sink) = nullptr;
  /// The same of bf16, and on tile registers; nullptr: there are none.
  double (*bf16)(int64_t rounds) = nullptr;
  double (*tile_int8)(int64_t rounds) = nullptr;
};
const LimitLoops& scalar_limit_loops();
const LimitLoops& avx2_limit_loops();
const LimitLoops& avxvnni_limit_loops();
const LimitLoops& avx512_limit_loops();
const LimitLoops& avx512vnni_limit_loops();
const LimitLoops& avx512bf16_limit_loops();
const LimitLoops& amx_limit_loops();

}  // namespace sluice::cpu
