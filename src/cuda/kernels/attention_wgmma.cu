// Attention of sequences with several new rows, as FlashAttention-3 arranges it (Shah et al. 2024). In a
// block one warp says what comes next, two warps bring keys and values, page by page, and two warpgroups multiply, 64
// rows of one head of one sequence each. They take turns, so that the exponentials of one run under the products of the
// other. Within a warpgroup the next keys are multiplied before the values of this round, and exponentials run under
// those. One block stays on each multiprocessor and takes tile after tile of rows, those with the most keys first.
//
// By segments (attention_multiply.cuh) the same kernel also takes single rows, and a row's result does not depend on
// which way it is computed.
#include "cuda/kernels/attention_fetch.cuh"
#include "cuda/kernels/attention_multiply.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/tensor_map.cuh"

namespace sluice::cuda {
namespace {

using namespace prefill;

constexpr int kThreads = (kGroups + 1) * 128;
// Registers of a thread.
template <int D>
constexpr int kFetchRegisters = D > 128 ? 40 : 56;
template <int D>
constexpr int kMultiplyRegisters = D > 128 ? 232 : 224;

template <typename T, int D, bool kPlain, bool kSegmented>
__global__ void __launch_bounds__(kThreads, 1)
    wgmma_kernel(const __grid_constant__ AttentionCall c, int sequences, const __grid_constant__ Segments segments,
                 const __grid_constant__ CUtensorMap queries, const __grid_constant__ CUtensorMap keys,
                 const __grid_constant__ CUtensorMap values) {
  extern __shared__ std::byte unaligned[];
  auto& shared = *reinterpret_cast<Shared<D, kSegmented>*>(unaligned + (1024 - shared_address(unaligned) % 1024) % 1024);
  if (threadIdx.x == 0) {
    shared.keys_gates.init(kGroups * 4);
    shared.values_gates.init(kGroups * 4);
    shared.work_gates.init(kWorkReaders);
    publish_barriers();
    for (const CUtensorMap* map : {&queries, &keys, &values}) prefetch_map(*map);
  }
  __syncthreads();
  allow_next();
  if (threadIdx.x < 128) {
    give_registers_back<kFetchRegisters<D>>();
    const unsigned warp = threadIdx.x / 32;
    if (warp == 0) announce_work(c, shared, sequences, segments.sums != nullptr);
    if (warp == 1) Fetcher<T, D, kSegmented, true>(c, shared, queries, keys).run();
    if (warp == 2) Fetcher<T, D, kSegmented, false>(c, shared, queries, values).run();
    await_previous();  // also where there was no work
  } else {
    take_registers<kMultiplyRegisters<D>>();
    Multiplier<T, D, kPlain, kSegmented>(c, segments, shared).run();
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

/// What a launch is made for. No most_rows: single rows only. No `segments`: none of them.
struct Launch {
  Queue queue;
  const AttentionCall& call;
  int64_t sequences, most_rows;
  const Segments* segments;
};

template <typename T, int D, bool kPlain, bool kSegmented>
void run(const Launch& l) {
  using Block = Shared<D, kSegmented>;
  const AttentionCall& c = l.call;
  const auto pages = [&](const std::byte* pool) {
    constexpr int64_t kAnyRows = (int64_t{1} << 38) / (D * int64_t{sizeof(T)});  // 256 GiB of them
    return tensor_map(pool, c.shape.type, {kAnyRows, D, D}, std::min<int64_t>(Block::kKeys, c.shape.page_tokens), 64, true);
  };
  constexpr size_t kShared = sizeof(Block) + 1024;
  const int64_t tiles = l.sequences * blocks_for(l.most_rows, kRows) * c.shape.heads;
  const int64_t segments = kSegmented ? l.sequences * c.shape.kv_heads * kMostSegments : 0;
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(std::max(tiles, segments), multiprocessors())));
  launch(wgmma_kernel<T, D, kPlain, kSegmented>, {grid, kThreads, kShared}, l.queue, c, static_cast<int>(l.sequences),
         kSegmented ? *l.segments : Segments{},
         tensor_map(c.q.data, DType::f32, {c.q.rows, c.q.cols, c.q.stride}, kGroupRows, Block::kLarge ? 64 : D, false),
         pages(c.cache.keys), pages(c.cache.values));
}

template <typename T, int D, bool kPlain>
void run(const Launch& l) {
  l.segments != nullptr ? run<T, D, kPlain, true>(l) : run<T, D, kPlain, false>(l);
}
void run(const Launch& l) {
  const AttentionCall& c = l.call;
  if (reinterpret_cast<uintptr_t>(c.q.data) % 16 != 0 || c.q.stride % 4 != 0)
    throw CudaError("queries are not aligned to 16 bytes");
  const bool plain = c.softcap <= 0 && c.slopes == nullptr && c.scale > 0;
  with_head(c.shape, [&](auto t, auto d) {
    using T = decltype(t);
    constexpr int kDims = decltype(d)::value;
    plain ? run<T, kDims, true>(l) : run<T, kDims, false>(l);
  });
}

// Blocks share single rows where there are at most so many, each KV head counted; more fill the GPU as they are.
constexpr int64_t kMostSlots = 512;
static_assert(kMostSlots <= kCounters);

}  // namespace

void attention_prefill(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows) {
  run({queue, c, sequences, most_rows, nullptr});
}

uint64_t attention_segments_workspace(const KvShape& s, int64_t most_rows, int64_t multiprocessors) {
  const int64_t slots = std::min(most_rows * s.kv_heads, kMostSlots);
  const int64_t folded = s.d_v > 128 ? multiprocessors * kRows * s.d_v : 0;
  return static_cast<uint64_t>(folded + slots * kMostSegments * (s.heads / s.kv_heads) * (s.d_v + 5)) * sizeof(float);
}

void attention_segments(Queue queue, const AttentionCall& c, int64_t sequences, int64_t most_rows, std::byte* workspace,
                        uint32_t* counters) {
  Segments segments;
  auto* room = reinterpret_cast<float*>(workspace);
  if (c.shape.d_v > 128) {
    segments.folded = reinterpret_cast<float4*>(room);
    room += multiprocessors() * kRows * c.shape.d_v;
  }
  if (const int64_t slots = sequences * c.shape.kv_heads; slots <= kMostSlots) {
    const int64_t places = slots * kMostSegments * (c.shape.heads / c.shape.kv_heads);
    segments.sums = room;
    segments.totals = segments.sums + places * c.shape.d_v;
    segments.tops = segments.totals + places * 4;
    segments.arrived = counters;
  }
  run({queue, c, sequences, most_rows, &segments});
}

}  // namespace sluice::cuda
