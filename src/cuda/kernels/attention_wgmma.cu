// Attention of sequences with several new rows, as FlashAttention-3 arranges it (Shah et al. 2024). In a
// block one warp says what comes next, two warps bring keys and values, page by page, and two warpgroups multiply, 64
// rows of one head of one sequence each. They take turns, so that the exponentials of one run under the products of the
// other. Within a warpgroup the next keys are multiplied before the values of this round, and exponentials run under
// those. One block stays on each multiprocessor and takes tile after tile of rows, those with the most keys first.
#include "cuda/kernels/attention_fetch.cuh"
#include "cuda/kernels/attention_multiply.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/tensor_map.cuh"

namespace sluice::cuda {
namespace {

using namespace prefill;

constexpr int kThreads = (kGroups + 1) * 128;
constexpr int kFetchRegisters = 56, kMultiplyRegisters = 224;  // of a thread

template <typename T, int D, bool kPlain>
__global__ void __launch_bounds__(kThreads, 1)
    wgmma_kernel(const __grid_constant__ AttentionCall c, int sequences, const __grid_constant__ CUtensorMap queries,
                 const __grid_constant__ CUtensorMap keys, const __grid_constant__ CUtensorMap values) {
  extern __shared__ std::byte unaligned[];
  auto& shared = *reinterpret_cast<Shared<D>*>(unaligned + (1024 - shared_address(unaligned) % 1024) % 1024);
  if (threadIdx.x == 0) {
    shared.keys_gates.init(kGroups * 4);
    shared.values_gates.init(kGroups * 4);
    shared.work_gates.init(kWorkReaders);
    publish_barriers();
    for (const CUtensorMap* map : {&queries, &keys, &values}) prefetch_map(*map);
  }
  __syncthreads();
  await_previous();
  allow_next();
  if (threadIdx.x < 128) {
    give_registers_back<kFetchRegisters>();
    const unsigned warp = threadIdx.x / 32;
    if (warp == 0) announce_work(c, shared, sequences);
    if (warp == 1) Fetcher<T, D, true>(c, shared, queries, keys).run();
    if (warp == 2) Fetcher<T, D, false>(c, shared, queries, values).run();
  } else {
    take_registers<kMultiplyRegisters>();
    Multiplier<T, D, kPlain>(c, shared).run();
  }
}

int multiprocessors() {
  static const int count = [] {
    int n = 0;
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0), "reading the device's properties");
    return n;
  }();
  return count;
}

template <typename T, int D, bool kPlain>
void run(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows) {
  const auto pages = [&](const std::byte* pool) {
    constexpr int64_t kAnyRows = (int64_t{1} << 38) / (D * int64_t{sizeof(T)});  // 256 GiB of them
    return tensor_map(pool, c.shape.type, {kAnyRows, D, D}, std::min<int64_t>(kKeys, c.shape.page_tokens), 64, true);
  };
  constexpr size_t kShared = sizeof(Shared<D>) + 1024;
  allow_shared(wgmma_kernel<T, D, kPlain>, kShared);
  const int64_t most = sequences * blocks_for(most_rows, kRows) * c.shape.heads;
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(most, multiprocessors())));
  launch(wgmma_kernel<T, D, kPlain>, {grid, kThreads, kShared}, queue, c, static_cast<int>(sequences),
         tensor_map(c.q.data, DType::f32, {c.q.rows, c.q.cols, c.q.stride}, kGroupRows, D, false), pages(c.cache.keys),
         pages(c.cache.values));
}

template <typename T>
void run(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows) {
  const bool plain = c.softcap <= 0 && c.slopes == nullptr && c.scale > 0;
  if (c.shape.d_qk == 128) {
    plain ? run<T, 128, true>(queue, c, sequences, most_rows) : run<T, 128, false>(queue, c, sequences, most_rows);
  } else {
    plain ? run<T, 64, true>(queue, c, sequences, most_rows) : run<T, 64, false>(queue, c, sequences, most_rows);
  }
}

}  // namespace

bool attention_wgmma(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows) {
  const int64_t page = c.shape.page_tokens;
  const bool pages_fit = page >= 8 && (page & (page - 1)) == 0;
  const bool rows_fit = reinterpret_cast<uintptr_t>(c.q.data) % 16 == 0 && c.q.stride % 4 == 0;
  if (!pages_fit || !rows_fit) return false;
  c.shape.type == DType::bf16 ? run<__nv_bfloat16>(queue, c, sequences, most_rows)
                              : run<__half>(queue, c, sequences, most_rows);
  return true;
}

}  // namespace sluice::cuda
