// The choice of tokens. A cluster of blocks to a row, each with its part of the row in shared memory: logits are read
// once. Weights are summed as integers of fixed point, so that no sum depends on its order; cuts are found digit by digit
// of the weights' bits, each by a histogram, and nothing is sorted.
#include <cooperative_groups.h>

#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/choice.h"

namespace sluice::cuda {
namespace {

constexpr int kBlocks = 8, kThreads = 512, kWarps = kThreads / 32, kDigits = 256;
constexpr int64_t kMostPart = kMostSampleDim / kBlocks;

using Sum = unsigned long long;

struct Best {
  float value;
  int32_t place;  // -1: a NaN was met
};
__device__ Best better(Best a, Best b) {
  if (a.place < 0 || b.place < 0) return {0, -1};
  return b.value > a.value || (b.value == a.value && b.place < a.place) ? b : a;
}

/// A weight as fixed point: more than e^-30, at most 1; as many as kMostSampleDim can be added up.
__device__ Sum fixed(float weight) { return static_cast<Sum>(weight * 0x1p44f); }

/// Weights in their order, as numbers of 32 bits of which the first digit tells most apart; 0 for none.
constexpr uint32_t kLeastBits = 0x29800000;  // of 2^-44
__device__ uint32_t key_of(float weight) { return weight > 0 ? (__float_as_uint(weight) - kLeastBits) << 3 : 0; }
__device__ float weight_of(uint32_t key) { return __uint_as_float((key >> 3) + kLeastBits); }

/// Where a cut goes: through the weights that have this key.
struct Border {
  uint32_t key;    // 0: it keeps all
  Sum above, at;  // amounts of larger keys, and of this one
};

/// What the blocks of a cluster tell each other lies in one of two places in turn: behind the barrier that ends a turn,
/// everyone has read what the turn before left.
struct Shared {
  Best bests[kWarps], best_of[kBlocks];
  struct Turn {
    Sum bins[kDigits], sums[kWarps], sum_of[kBlocks];
  } turns[2];
  Border border;
  int32_t place;
};

/// By words: shared memory adds 32 bits at a time.
__device__ void add(Sum& to, Sum amount) {
  auto* words = reinterpret_cast<uint32_t*>(&to);
  const auto low = static_cast<uint32_t>(amount);
  const uint32_t before = atomicAdd(words, low);
  const uint32_t high = static_cast<uint32_t>(amount >> 32) + (before + low < low ? 1 : 0);
  if (high != 0) atomicAdd(words + 1, high);
}

/// A row as one of its blocks sees it. Each thread has a piece of the block's part, pieces in order of ids and of an odd
/// length, which keeps the threads of a warp out of each other's banks.
class Row {
 public:
  __device__ Row(Shared& shared, float* part, int64_t dim)
      : shared_(shared), part_(part), rank_(static_cast<int>(cluster_.block_rank())), lane_(threadIdx.x % 32),
        warp_(threadIdx.x / 32) {
    const int whole = part_length(dim);
    first_ = rank_ * whole;
    length_ = static_cast<int>(min(max(dim - first_, int64_t{0}), int64_t{whole}));
    const int piece = ((whole + kThreads - 1) / kThreads) | 1;
    begin_ = min(static_cast<int>(threadIdx.x) * piece, length_);
    end_ = min(begin_ + piece, length_);
  }
  static __host__ __device__ int part_length(int64_t dim) {
    return static_cast<int>((dim + 4 * kBlocks - 1) / (4 * kBlocks) * 4);
  }

  /// Brings the row; its largest logit.
  __device__ Best load(const float* row, bool packed) {
    cluster_.barrier_arrive();
    Best best{-INFINITY, INT32_MAX};
    const auto take = [&](int i, float v) {
      part_[i] = v;
      best = better(best, {v, isnan(v) ? -1 : first_ + i});
    };
    const float* from = row + first_;
    const int packs = packed ? length_ / 4 : 0;
    constexpr int kAtOnce = 4;
    for (int base = static_cast<int>(threadIdx.x); base < packs; base += kAtOnce * kThreads) {
      float4 v[kAtOnce];
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) {
        if (base + p * kThreads < packs) v[p] = reinterpret_cast<const float4*>(from)[base + p * kThreads];
      }
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) {
        const int i = 4 * (base + p * kThreads);
        if (i < 4 * packs) take(i, v[p].x), take(i + 1, v[p].y), take(i + 2, v[p].z), take(i + 3, v[p].w);
      }
    }
    for (int i = 4 * packs + static_cast<int>(threadIdx.x); i < length_; i += kThreads) take(i, from[i]);
    for (int offset = 16; offset > 0; offset /= 2)
      best = better(best, {__shfl_xor_sync(kAll, best.value, offset), __shfl_xor_sync(kAll, best.place, offset)});
    if (lane_ == 0) shared_.bests[warp_] = best;
    __syncthreads();
    cluster_.barrier_wait();  // nothing is written to a block that has not begun
    if (threadIdx.x < kBlocks) {
      for (const Best& b : shared_.bests) best = better(best, b);
      cluster_.map_shared_rank(shared_.best_of, threadIdx.x)[rank_] = best;
    }
    cluster_.sync();
    best = {-INFINITY, INT32_MAX};
    for (const Best& b : shared_.best_of) best = better(best, b);
    return best;
  }

  /// f(value, id) for the thread's piece, in order.
  template <typename F>
  __device__ void each(F&& f) {
    for (int i = begin_; i < end_; ++i) f(part_[i], first_ + i);
  }

  /// What is before the thread's share in order of ids, and the sum of all.
  struct Share {
    Sum before, all;
  };
  __device__ Share share(Sum mine) {
    Shared::Turn& turn = next_turn();
    const Sum upto = up_to_lane(mine);
    if (lane_ == 31) turn.sums[warp_] = upto;
    __syncthreads();
    if (threadIdx.x < kBlocks) {
      Sum sum = 0;
      for (const Sum s : turn.sums) sum += s;
      cluster_.map_shared_rank(turn.sum_of, threadIdx.x)[rank_] = sum;
    }
    cluster_.sync();
    Share share{upto - mine, 0};
    for (int b = 0; b < kBlocks; ++b) {
      share.all += turn.sum_of[b];
      if (b < rank_) share.before += turn.sum_of[b];
    }
    for (int w = 0; w < warp_; ++w) share.before += turn.sums[w];
    return share;
  }

  /// found(id) by one thread of the cluster: in its amount falls place_of(sum of all) of the amounts in order of ids.
  template <typename Amount, typename Place, typename Found>
  __device__ void locate(Amount&& amount, Place&& place_of, Found&& found) {
    Sum mine = 0;
    each([&](float w, int id) { mine += amount(w, id); });
    const Share share = this->share(mine);
    const Sum place = place_of(share.all);
    if (place < share.before || place >= share.before + mine) return;
    Sum upto = share.before;
    for (int i = begin_; i < end_; ++i) {
      upto += amount(part_[i], first_ + i);
      if (place < upto) return found(first_ + i);
    }
  }
  /// The same, and all learn the id.
  template <typename Amount>
  __device__ int32_t locate_for_all(Amount&& amount, Sum place) {
    locate(amount, [=](Sum) { return place; }, [&](int32_t id) {
      for (int b = 0; b < kBlocks; ++b) *cluster_.map_shared_rank(&shared_.place, b) = id;
    });
    cluster_.sync();
    return shared_.place;
  }

  /// The largest key such that the amounts of this and larger ones reach `target`.
  template <typename Amount>
  __device__ Border cut(Amount&& amount, Sum target) {
    Border border{};
    for (int shift = 24; shift >= 0; shift -= 8) {
      Shared::Turn& turn = next_turn();
      if (threadIdx.x < kDigits) turn.bins[threadIdx.x] = 0;
      __syncthreads();
      if (threadIdx.x == 0) shared_.border = {};
      each([&](float w, int) {
        const uint32_t key = key_of(w);
        if (key != 0 && (shift == 24 || (key ^ border.key) >> (shift + 8) == 0))
          add(turn.bins[kDigits - 1 - (key >> shift) % kDigits], amount(w));
      });
      cluster_.sync();
      Sum mine = 0;
      if (threadIdx.x < kDigits) {
        for (int b = 0; b < kBlocks; ++b) mine += cluster_.map_shared_rank(turn.bins, b)[threadIdx.x];
      }
      const Sum upto = up_to_lane(mine);
      if (lane_ == 31) turn.sums[warp_] = upto;
      __syncthreads();
      Sum above = border.above + upto - mine;
      for (int w = 0; w < warp_; ++w) above += turn.sums[w];
      if (above < target && target <= above + mine)
        shared_.border = {border.key | (kDigits - 1 - threadIdx.x) << shift, above, mine};
      __syncthreads();
      border = shared_.border;
      if (border.at == 0) break;  // all together do not reach it
    }
    return border;
  }

 private:
  static constexpr unsigned kAll = 0xffffffffu;

  __device__ Shared::Turn& next_turn() {
    turn_ = 1 - turn_;
    return shared_.turns[turn_];
  }
  /// The sum over the warp's lanes up to this one.
  __device__ Sum up_to_lane(Sum v) const {
    for (int offset = 1; offset < 32; offset *= 2) {
      const Sum other = __shfl_up_sync(kAll, v, offset);
      if (lane_ >= offset) v += other;
    }
    return v;
  }

  cooperative_groups::cluster_group cluster_ = cooperative_groups::this_cluster();
  Shared& shared_;
  float* part_;
  int rank_, lane_, warp_, turn_ = 0;
  int first_ = 0, length_ = 0;  // of the block's part, in ids
  int begin_ = 0, end_ = 0;     // of the thread's piece, in the part
};

/// The token that `place` draws from the row's weights; written by one thread of the cluster.
__device__ void draw(Row& row, const ops::Choice& choice, int32_t* out) {
  Border border{};
  Sum equals = 0, taken = 0;  // weights on the border, and how many of them are kept
  if (choice.top_k > 0) {
    border = row.cut([](float) { return Sum{1}; }, static_cast<Sum>(choice.top_k));
    equals = border.at;
    taken = equals > 0 ? static_cast<Sum>(choice.top_k) - border.above : 0;
  }
  if (choice.top_p < 1) {
    Sum mine = 0;
    row.each([&](float w, int) { mine += key_of(w) > border.key ? fixed(w) : 0; });
    const Sum all = row.share(mine).all + (taken > 0 ? taken * fixed(weight_of(border.key)) : 0);
    const auto wanted = static_cast<Sum>(ceil(static_cast<double>(choice.top_p) * static_cast<double>(all)));
    const Sum target = min(max(wanted, Sum{1}), all);
    const Border by_p = row.cut([](float w) { return fixed(w); }, target);
    const Sum each = fixed(weight_of(by_p.key)), needed = (target - by_p.above + each - 1) / each;
    taken = by_p.key == border.key ? min(taken, needed) : needed;
    equals = by_p.at / each;
    border = by_p;
  }
  const int32_t last =  // of the equals that are kept
      taken < equals ? row.locate_for_all([&](float w, int) { return Sum{key_of(w) == border.key}; }, taken - 1)
                     : INT32_MAX;
  row.locate(
      [&](float w, int id) {
        const uint32_t key = key_of(w);
        return (key > border.key || (key == border.key && id <= last)) && w >= choice.min_p ? fixed(w) : 0;
      },
      [&](Sum all) { return min(static_cast<Sum>(choice.place * static_cast<double>(all)), all - 1); },
      [&](int32_t id) { *out = id; });
}

__global__ void __launch_bounds__(kThreads, 3) sample_kernel(SampleCall c) {
  extern __shared__ float4 part[];
  __shared__ Shared shared;
  allow_next();
  const ops::Choice choice = c.choices[blockIdx.x];
  await_previous();
  const bool first = blockIdx.y == 0 && threadIdx.x == 0;
  int32_t* out = c.out + blockIdx.x;
  const int64_t r = choice.row - c.first_row;
  if (r < 0 || r >= c.x.rows) {  // all blocks of the cluster alike, as below
    if (first) *out = -1;
    return;
  }
  Row row(shared, reinterpret_cast<float*>(part), c.limit);
  const bool packed = c.x.stride % 4 == 0 && reinterpret_cast<uintptr_t>(c.x.data) % 16 == 0;
  const Best best = row.load(static_cast<const float*>(c.x.data) + r * c.x.stride, packed);
  const bool usable = best.place >= 0 && isfinite(best.value);
  if (!usable || choice.temperature == 0) {
    if (first) *out = usable ? best.place : -1;
    return;
  }
  const float inverse = 1 / fmaxf(choice.temperature, 1e-30f);
  row.each([&](float& v, int) {
    const float scaled = (v - best.value) * inverse;
    v = scaled >= -30.0f ? expf(scaled) : 0.0f;
  });
  draw(row, choice, out);
}

}  // namespace

void sample(Queue queue, const SampleCall& c) {
  const size_t shared = static_cast<size_t>(Row::part_length(c.limit)) * sizeof(float);
  allow_shared(sample_kernel, kMostPart * sizeof(float));
  launch(sample_kernel, {{static_cast<unsigned>(c.count), kBlocks}, kThreads, shared, kBlocks}, queue, c);
}

}  // namespace sluice::cuda
