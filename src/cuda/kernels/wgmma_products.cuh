// wgmma of every width that products need: c (64 x N) = a (64 x 16) b (16 x N), both operands in shared memory by rows,
// plus c with `add`. wgmma.cuh says how operands and sums lie.
#pragma once

#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda {

#define SLUICE_E4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define SLUICE_E8(i) SLUICE_E4(i), SLUICE_E4(i + 4)
#define SLUICE_E16(i) SLUICE_E8(i), SLUICE_E8(i + 8)
#define SLUICE_E32(i) SLUICE_E16(i), SLUICE_E16(i + 16)
#define SLUICE_E64(i) SLUICE_E32(i), SLUICE_E32(i + 32)
#define SLUICE_E128(i) SLUICE_E64(i), SLUICE_E64(i + 64)
#define SLUICE_R4 "%0, %1, %2, %3"
#define SLUICE_R8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define SLUICE_R16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define SLUICE_R32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SLUICE_R64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SLUICE_R128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

template <typename T, int N>
__device__ void multiply_rows(float (&c)[N / 2], uint64_t a, uint64_t b, bool add);

// R = N / 2 registers of sums; A, B and ADD are the numbers of the operands behind them.
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

/// Arrives at a barrier whose phase also waits for `bytes` of copies.
__device__ inline void arrive_expecting(uint64_t& barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}

}  // namespace sluice::cuda
