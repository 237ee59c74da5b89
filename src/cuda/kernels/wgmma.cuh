// What only Hopper has: barriers in shared memory that count bytes, tiles copied by the tensor memory accelerator, and
// the matrix instructions of a warpgroup (four warps), which read operands from shared memory and run in the
// background. Tiles of 16-bit elements lie in shared memory as rows of 64 (128 bytes), 16-byte pieces exchanged within
// a row as `swizzled<8>` says, from an address that 1024 divides; wider matrices are several such tiles.
#pragma once

#include <cuda.h>

#include <type_traits>

#include "cuda/kernels/mma.cuh"

namespace sluice::cuda {

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// ---- barriers

/// A phase ends when `arrivals` have arrived and all bytes that were announced have come.
__device__ inline void init_barrier(uint64_t& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals));
}
/// Makes initialised barriers known to copies.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void arrive(uint64_t& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
__device__ inline void announce(uint64_t& barrier, int bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}
/// Arrives at a barrier whose phase also waits for `bytes` of copies.
__device__ inline void arrive_expecting(uint64_t& barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}
/// Phases have parities 0, 1, 0, ...: waits for the end of one of this parity. The phase before the first counts as
/// ended, with parity 1.
__device__ inline void await(uint64_t& barrier, int parity) {
  uint32_t done = 0;
  do {
    asm volatile(
        "{ .reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done; }"
        : "=r"(done)
        : "r"(shared_address(&barrier)), "r"(parity)
        : "memory");
  } while (done == 0);
}

// ---- clusters

__device__ inline int rank_in_cluster() {
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// At the barrier in the same place of another block of the cluster.
__device__ inline void arrive_at_rank(uint64_t& barrier, int rank) {
  asm volatile(
      "{ .reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote]; }" ::"r"(shared_address(&barrier)),
      "r"(rank)
      : "memory");
}

/// A ring of places that copies fill and that are free again once all who read them have said so.
template <int kPlaces>
struct Gates {
  uint64_t full[kPlaces], free[kPlaces];
  __device__ void init(int readers, int writers = 1) {
    for (int i = 0; i < kPlaces; ++i) {
      init_barrier(full[i], writers);
      init_barrier(free[i], readers);
    }
  }
};
/// Which place of a ring is next, and the parity of its barriers.
struct Turn {
  int place = 0, parity = 0;
  __device__ void next(int places) {
    place = place + 1 == places ? 0 : place + 1;
    parity ^= place == 0 ? 1 : 0;
  }
};

/// The block's barriers 1 to 15, which `threads` take part in.
__device__ inline void sync_threads_of(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void arrive_at(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/// What this thread wrote to shared memory is seen by copies and matrix instructions that follow.
__device__ inline void publish_to_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- copies

/// The box of the map's tensor that begins at (column, row), to shared memory; its bytes count for `barrier`.
__device__ inline void copy_box(uint32_t to, const CUtensorMap& map, int column, int row, uint64_t& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          to),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(&barrier))
      : "memory");
}
/// How long what a copy reads stays in L2: it is read once, or soon again.
enum class Keep { once, normal, again };
__device__ inline uint64_t cache_policy(Keep keep) {
  uint64_t policy = 0;
  if (keep == Keep::once) {
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  } else if (keep == Keep::normal) {
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  } else {
    asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  }
  return policy;
}
__device__ inline void copy_box(uint32_t to, const CUtensorMap& map, int column, int row, uint64_t& barrier,
                                uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(shared_address(&barrier)), "l"(policy)
      : "memory");
}

/// A box that one block brings to all of its cluster: to the same place in each, counted by each one's barrier.
template <int kCluster>
__device__ inline void copy_box_to_cluster(uint32_t to, const CUtensorMap& map, int column, int row, uint64_t& barrier,
                                           uint64_t policy) {
  if constexpr (kCluster == 1) {
    copy_box(to, map, column, row, barrier, policy);
  } else {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint"
        " [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(to),
        "l"(&map), "r"(column), "r"(row), "r"(shared_address(&barrier)), "h"(uint16_t{(1 << kCluster) - 1}), "l"(policy)
        : "memory");
  }
}
/// The same for a map of pairs; `row` counts those of one of the two matrices.
template <int kCluster>
__device__ inline void copy_pairs_to_cluster(uint32_t to, const CUtensorMap& map, int column, int row, uint64_t& barrier,
                                             uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint"
      " [%0], [%1, {%2, %3, %3, %4}], [%5], %6, %7;" ::"r"(to),
      "l"(&map), "r"(column), "r"(0), "r"(row / 8), "r"(shared_address(&barrier)), "h"(uint16_t{(1 << kCluster) - 1}),
      "l"(policy)
      : "memory");
}

/// A box from shared memory, in the background; the part of it that is outside the map's tensor is left out.
__device__ inline void store_box(const CUtensorMap& map, int column, int row, uint32_t from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map), "r"(column),
               "r"(row), "r"(from)
               : "memory");
}
__device__ inline void end_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Until what this thread stores from may be written again.
__device__ inline void await_stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// ---- registers

/// Of a warpgroup's threads; the sum over the block may not exceed what it was launched with.
template <int kRegisters>
__device__ inline void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- matrix instructions

/// Where an operand begins and how it goes on. `stride`: bytes from eight rows of a tile to the next eight. `leading`:
/// bytes from one tile of 64 columns to the next, where an instruction takes more than 64 of them.
__device__ inline uint64_t operand(uint32_t address, uint32_t leading, uint32_t stride) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{stride >> 4} << 32 | uint64_t{leading >> 4} << 16 | address >> 4;
}
/// Rows are the operand's outer dimension, columns the inner one.
__device__ inline uint64_t operand_by_rows(uint32_t address) { return operand(address, 16, 1024); }
/// Columns are the outer dimension, rows the inner one.
__device__ inline uint64_t operand_by_columns(uint32_t address, uint32_t tile_bytes) {
  return operand(address, tile_bytes, 1024);
}
/// The operand `bytes` further on.
__device__ inline uint64_t advance(uint64_t operand, uint32_t bytes) { return operand + (bytes >> 4); }

/// Between writing registers that matrix instructions use and the first such instruction.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Until at most kLeft groups of instructions are under way; `c` is what the others made.
template <int kLeft, int N>
__device__ inline void await_products(float (&c)[N]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

// A lane's numbers of an accumulator of 64 rows are laid out as those of mma.cuh, warp w having rows 16 w to 16 w + 15:
// c[4 j + e] is element e of the j-th eight columns.
#define SLUICE_E4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define SLUICE_E8(i) SLUICE_E4(i), SLUICE_E4(i + 4)
#define SLUICE_E16(i) SLUICE_E8(i), SLUICE_E8(i + 8)
#define SLUICE_E32(i) SLUICE_E16(i), SLUICE_E16(i + 16)
#define SLUICE_E40(i) SLUICE_E32(i), SLUICE_E8(i + 32)
#define SLUICE_E48(i) SLUICE_E32(i), SLUICE_E16(i + 32)
#define SLUICE_E64(i) SLUICE_E32(i), SLUICE_E32(i + 32)
#define SLUICE_E128(i) SLUICE_E64(i), SLUICE_E64(i + 64)
#define SLUICE_R4 "%0, %1, %2, %3"
#define SLUICE_R8 SLUICE_R4 ", " "%4, %5, %6, %7"
#define SLUICE_R16 SLUICE_R8 ", " "%8, %9, %10, %11, %12, %13, %14, %15"
#define SLUICE_R32 SLUICE_R16 ", " "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SLUICE_R40 SLUICE_R32 ", " "%32, %33, %34, %35, %36, %37, %38, %39"
#define SLUICE_R48 SLUICE_R40 ", " "%40, %41, %42, %43, %44, %45, %46, %47"
#define SLUICE_R64 SLUICE_R48 ", " "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SLUICE_R128 \
  SLUICE_R64 ", " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

/// c (64 x N) = a (64 x 16) b (16 x N), both in shared memory by rows, plus c with `add`.
template <typename T, int N>
__device__ void multiply_rows(float (&c)[N / 2], uint64_t a, uint64_t b, bool add);
/// c (64 x 2 R) += a (64 x 16) b (16 x 2 R); a in registers, b by columns.
template <typename T, int R>
__device__ void multiply_add(float (&c)[R], const uint32_t (&a)[4], uint64_t b);

// R = N / 2 registers of sums; A0, B, ... are the numbers of the operands behind them.
#define SLUICE_MULTIPLY(T, TYPE, N, R, A, B, ADD)                                                                  \
  template <>                                                                                                      \
  __device__ inline void multiply_rows<T, N>(float(&c)[R], uint64_t a, uint64_t b, bool add) {                     \
    asm volatile("{ .reg .pred add;\nsetp.ne.b32 add, %" #ADD ", 0;\n"                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SLUICE_R##R "}, %" #A ", %" #B \
                 ", add, 1, 1, 0, 0; }"                                                                            \
                 : SLUICE_E##R(0)                                                                                  \
                 : "l"(a), "l"(b), "r"(int{add}));                                                                 \
  }
#define SLUICE_MULTIPLY_BOTH(N, R, A, B, ADD)                 \
  SLUICE_MULTIPLY(__nv_bfloat16, "bf16", N, R, A, B, ADD)     \
  SLUICE_MULTIPLY(__half, "f16", N, R, A, B, ADD)
SLUICE_MULTIPLY_BOTH(8, 4, 4, 5, 6)
SLUICE_MULTIPLY_BOTH(16, 8, 8, 9, 10)
SLUICE_MULTIPLY_BOTH(32, 16, 16, 17, 18)
SLUICE_MULTIPLY_BOTH(64, 32, 32, 33, 34)
SLUICE_MULTIPLY_BOTH(128, 64, 64, 65, 66)
SLUICE_MULTIPLY_BOTH(256, 128, 128, 129, 130)
#undef SLUICE_MULTIPLY_BOTH
#undef SLUICE_MULTIPLY

#define SLUICE_MULTIPLY(T, TYPE, N, R, A0, A1, A2, A3, B)                                                             \
  template <>                                                                                                       \
  __device__ inline void multiply_add<T, R>(float(&c)[R], const uint32_t(&a)[4], uint64_t b) {                      \
    asm volatile("{ .reg .pred add;\nsetp.ne.b32 add, 1, 0;\n"                                                      \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SLUICE_R##R "}, {%" #A0 ", %" #A1 \
                 ", %" #A2 ", %" #A3 "}, %" #B ", add, 1, 1, 1; }"                                                  \
                 : SLUICE_E##R(0)                                                                                   \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                             \
  }
#define SLUICE_MULTIPLY_BOTH(N, R, A0, A1, A2, A3, B)                 \
  SLUICE_MULTIPLY(__nv_bfloat16, "bf16", N, R, A0, A1, A2, A3, B)     \
  SLUICE_MULTIPLY(__half, "f16", N, R, A0, A1, A2, A3, B)
SLUICE_MULTIPLY_BOTH(64, 32, 32, 33, 34, 35, 36)
SLUICE_MULTIPLY_BOTH(80, 40, 40, 41, 42, 43, 44)
SLUICE_MULTIPLY_BOTH(96, 48, 48, 49, 50, 51, 52)
SLUICE_MULTIPLY_BOTH(128, 64, 64, 65, 66, 67, 68)
SLUICE_MULTIPLY_BOTH(256, 128, 128, 129, 130, 131, 132)
#undef SLUICE_MULTIPLY_BOTH
#undef SLUICE_MULTIPLY

}  // namespace sluice::cuda
