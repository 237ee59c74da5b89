// The warp of prefill attention that brings queries, keys and values.
#pragma once

#include "cuda/kernels/attention_work.cuh"

namespace sluice::cuda::prefill {

template <typename T, int D>
class Fetcher {
 public:
  __device__ Fetcher(const AttentionCall& call, Shared<D>& memory, const CUtensorMap& query_map,
                     const CUtensorMap& key_map, const CUtensorMap& value_map)
      : c_(call), shared_(memory), query_map_(query_map), key_map_(key_map), value_map_(value_map),
        lane_(static_cast<int>(threadIdx.x % 32)), page_tokens_(static_cast<int>(call.shape.page_tokens)),
        box_(min(kKeys, page_tokens_)) {}

  /// All that this block's warpgroups will need, in their order.
  __device__ void run(int sequences) {
    const int rounds = rounds_of_all(c_, sequences);
    int taken = 0;
    const auto next = [&] {
      // There and back again: who had the longest of one series has the shortest of the next.
      const int grid = static_cast<int>(gridDim.x), at = static_cast<int>(blockIdx.x);
      const int rank = taken * grid + (taken % 2 == 0 ? at : grid - 1 - at);
      ++taken;
      const Work work = find_work(c_, sequences, rounds, rank);
      send(work);
      return work;
    };
    Work work = next();
    while (work.rows > 0) {
      Work coming{};
      fetch_keys(work, work.end - 1);
      for (int round = work.end - 1; round >= work.begin; --round) {
        if (round > work.begin) fetch_keys(work, round - 1);
        fetch_values(work, round);
        if (round == work.end - 1) coming = next();
      }
      work = coming;
    }
  }

 private:
  /// Queries, with the work that they belong to.
  __device__ void send(const Work& work) {
    await(shared_.work_free, 1 ^ sent_);
    sent_ ^= 1;
    if (lane_ == 0) {
      shared_.work = work;
      if (work.rows > 0) {
        announce(shared_.work_full, static_cast<int>(sizeof shared_.arriving));
        copy_box(shared_address(shared_.arriving), query_map_, work.head * D, work.first_row, shared_.work_full);
      }
      arrive(shared_.work_full);
    }
    __syncwarp();
  }

  /// A round's rows come as boxes of a page's rows, at most kKeys of them, one to a lane. The row in the pool of this
  /// lane's box of this round; -1 where no row of it is seen.
  __device__ int row_of_box(const Work& work, int round) const {
    const int key = round * kKeys + lane_ * box_;
    if (lane_ * box_ >= kKeys || key > work.last_position) return -1;
    const int kv_head = work.head / static_cast<int>(c_.shape.heads / c_.shape.kv_heads);
    const int page = c_.cache.tables.pages[work.table * c_.cache.tables.stride + key / page_tokens_];
    return page < 0 ? -1 : (page * static_cast<int>(c_.shape.kv_heads) + kv_head) * page_tokens_ + key % page_tokens_;
  }
  __device__ int box_bytes() const { return box_ * D * static_cast<int>(sizeof(T)); }
  __device__ void copy_boxes(uint16_t (&to)[D / 64][kKeys][64], const CUtensorMap& map, int row,
                             uint64_t& barrier) const {
    for (int i = 0; i < D / 64; ++i)
      copy_box(shared_address(to[i][lane_ * box_]), map, i * 64, row, barrier);
  }

  /// Keys that are not there may be anything: their scores are not looked at.
  __device__ void fetch_keys(const Work& work, int round) {
    const int row = row_of_box(work, round);
    uint64_t& full = shared_.keys_full[keys_.stage];
    await(shared_.keys_free[keys_.stage], 1 ^ keys_.parity);
    const int boxes = __popc(__ballot_sync(0xffffffffu, row >= 0));
    if (lane_ == 0) {
      announce(full, boxes * box_bytes());
      arrive(full);
    }
    __syncwarp();
    if (row >= 0) copy_boxes(shared_.keys[keys_.stage], key_map_, row, full);
    keys_.next();
  }

  /// Values that are not there must be zeros: what has weight 0 must not be infinite or no number.
  __device__ void fetch_values(const Work& work, int round) {
    const int row = row_of_box(work, round);
    uint64_t& full = shared_.values_full[values_.stage];
    const bool whole = row >= 0 && round * kKeys + (lane_ + 1) * box_ - 1 <= work.last_position;
    const uint32_t rest = __ballot_sync(0xffffffffu, !whole && lane_ * box_ < kKeys);
    await(shared_.values_free[values_.stage], 1 ^ values_.parity);
    if (lane_ == 0) announce(full, (kKeys / box_ - __popc(rest)) * box_bytes());
    __syncwarp();
    if (whole) copy_boxes(shared_.values[values_.stage], value_map_, row, full);
    if (rest != 0) copy_values(work, round, row, rest);
    if (lane_ == 0) arrive(full);
    values_.next();
  }

  /// The rows of the boxes in the set `boxes`, zeros where there are none.
  __device__ void copy_values(const Work& work, int round, int row_of_mine, uint32_t boxes) const {
    auto& to = shared_.values[values_.stage];
    constexpr int kPieces = D / 8;
    for (int box = 0; box * box_ < kKeys; ++box) {
      const int first = __shfl_sync(0xffffffffu, row_of_mine, box);
      if ((boxes >> box & 1) == 0) continue;
      for (int i = lane_; i < box_ * kPieces; i += 32) {
        const int row = i / kPieces, piece = i % kPieces;
        const bool valid = first >= 0 && round * kKeys + box * box_ + row <= work.last_position;
        const int64_t from = valid ? (int64_t{first} + row) * D + piece * 8 : 0;
        copy_async(shared_address(to[piece / 8]) + swizzled<8>(box * box_ + row, piece % 8),
                   reinterpret_cast<const T*>(c_.cache.values) + from, valid);
      }
    }
    end_copies();
    await_copies<0>();
    publish_to_copies();
    __syncwarp();
  }

  const AttentionCall& c_;
  Shared<D>& shared_;
  const CUtensorMap &query_map_, &key_map_, &value_map_;
  const int lane_, page_tokens_, box_;
  Turn keys_, values_;
  int sent_ = 0;
};

}  // namespace sluice::cuda::prefill
