// The two warps of attention by wgmma that bring queries and keys, and queries and values.
#pragma once

#include "cuda/kernels/attention_work.cuh"

namespace sluice::cuda::prefill {

/// Fills one of the two rings.
template <typename T, int D, bool kSegmented, bool kKeysRing>
class Fetcher {
  using Block = Shared<D, kSegmented>;

 public:
  __device__ Fetcher(const AttentionCall& call, Block& shared, const CUtensorMap& queries, const CUtensorMap& pool)
      : c_(call), shared_(shared), queries_(queries), pool_(pool), lane_(static_cast<int>(threadIdx.x % 32)),
        page_bits_(bits(static_cast<int>(call.shape.page_tokens))), box_bits_(min(page_bits_, kKeyBits)) {}

  /// The steps of all work, the last first, after its queries. Those of a single row are read where they are used.
  __device__ void run() {
    Turn works;
    for (Work work = receive_work(shared_, works); work.rows > 0; work = receive_work(shared_, works)) {
      if (!Block::kLarge && !(kSegmented && work.single)) fetch_queries(work);
      for (int step = work.end * Block::kSteps - 1; step >= work.begin * Block::kSteps; --step) fetch_step(work, step);
    }
  }

 private:
  static constexpr int kKeys = Block::kKeys, kKeyBits = Block::kLarge ? 6 : 7;
  static_assert(1 << kKeyBits == kKeys);

  static __device__ int bits(int power_of_two) { return __ffs(power_of_two) - 1; }
  __device__ auto& ring() const {
    if constexpr (kKeysRing) {
      return shared_.keys;
    } else {
      return shared_.values;
    }
  }
  __device__ auto& gates() const { return kKeysRing ? shared_.keys_gates : shared_.values_gates; }
  __device__ const T* pages() const {
    return reinterpret_cast<const T*>(kKeysRing ? c_.cache.keys : c_.cache.values);
  }
  __device__ uint64_t& await_place() const {
    await(gates().free[turn_.place], 1 ^ turn_.parity);
    return gates().full[turn_.place];
  }

  __device__ void fetch_queries(const Work& work) {
    await_previous();
    uint64_t& full = await_place();
    if (lane_ == 0) {
      arrive_expecting(full, kGroupRows * D * sizeof(float));
      copy_box(shared_address(ring()[turn_.place]), queries_, work.head * D,
               work.first_row + (kKeysRing ? 0 : kGroupRows), full);
    }
    __syncwarp();
    turn_.next(Block::kStages);
  }

  /// A step's rows come as boxes of a page's rows, at most kKeys of them, one to a lane. Keys that are not there may be
  /// anything, since their scores are not looked at; values must be zeros: what has weight 0 must not be infinite or no
  /// number.
  __device__ void fetch_step(const Work& work, int step) {
    if (kSegmented && work.single && (step + 1) * kKeys > work.last_position) await_previous();
    const int first = lane_ << box_bits_, key = step * kKeys + first, last = key + (1 << box_bits_) - 1;
    const int row = first < kKeys && key <= work.last_position ? pool_row(work, key) : -1;
    const bool whole = row >= 0 && (kKeysRing || last <= work.last_position);
    const uint32_t boxes = __ballot_sync(0xffffffffu, whole);
    const uint32_t rest = kKeysRing ? 0 : __ballot_sync(0xffffffffu, first < kKeys && !whole);
    uint64_t& full = await_place();
    if (lane_ == 0) announce(full, __popc(boxes) * (Block::kTiles * 128 << box_bits_));
    const uint32_t to = shared_address(ring()[turn_.place]);
    for (int box = 0; box < kKeys >> box_bits_; ++box) {
      const int from = __shfl_sync(0xffffffffu, whole ? row : -1, box);
      if (lane_ != 0 || from < 0) continue;
#pragma unroll
      for (int i = 0; i < Block::kTiles; ++i)
        copy_box(to + static_cast<uint32_t>((i * kKeys + (box << box_bits_)) * 128), pool_, i * 64, from, full);
    }
    if (rest != 0) copy_rows(work, step, row, rest);
    if (lane_ == 0) arrive(full);
    turn_.next(Block::kStages);
  }

  /// Where the pool has a key's row; -1 where a window has passed its page.
  __device__ int pool_row(const Work& work, int key) const {
    const int page = c_.cache.tables.pages[work.table * c_.cache.tables.stride + (key >> page_bits_)];
    const int row = (page * static_cast<int>(c_.shape.kv_heads) + work.kv_head) << page_bits_;
    return page < 0 ? -1 : row + (key & ((1 << page_bits_) - 1));
  }

  /// The rows of the boxes in the set `boxes`, zeros where there are none.
  __device__ void copy_rows(const Work& work, int step, int row_of_mine, uint32_t boxes) const {
    constexpr int kPieces = D / 8;
    auto& to = ring()[turn_.place];
    for (int box = 0; box < kKeys >> box_bits_; ++box) {
      const int from = __shfl_sync(0xffffffffu, row_of_mine, box);
      if ((boxes >> box & 1) == 0) continue;
      for (int i = lane_; i < kPieces << box_bits_; i += 32) {
        const int row = i / kPieces, piece = i % kPieces, in_step = (box << box_bits_) + row;
        const bool valid = from >= 0 && step * kKeys + in_step <= work.last_position;
        copy_async(shared_address(to[piece / 8]) + swizzled<8>(in_step, piece % 8),
                   pages() + (valid ? (int64_t{from} + row) * D + piece * 8 : 0), valid);
      }
    }
    end_copies();
    await_copies<0>();
    publish_to_copies();
    __syncwarp();
  }

  const AttentionCall& c_;
  Block& shared_;
  const CUtensorMap &queries_, &pool_;
  const int lane_, page_bits_, box_bits_;  // tokens of a page and of a box: powers of two
  Turn turn_;
};

}  // namespace sluice::cuda::prefill
