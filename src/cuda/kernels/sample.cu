// The choice of tokens. A cluster of blocks to a row, each with its part of the row in shared memory: logits are read
// once, and once more where log-probabilities are reported. Weights are summed as integers of fixed point, so that no sum
// depends on its order; cuts are found digit by digit of the weights' bits, each by a histogram, and nothing is sorted.
#include <cooperative_groups.h>

#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/choice.h"

namespace sluice::cuda {
namespace {

constexpr int kBlocks = 8, kThreads = 512, kWarps = kThreads / 32, kDigits = 256;

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

/// Numbers in their order, as keys of 32 bits; 0 for what no cut is to keep.
using Key = uint32_t (*)(float);

/// Of weights, such that the first digit tells most apart.
constexpr uint32_t kLeastBits = 0x29800000;  // of 2^-44
__device__ uint32_t key_of(float weight) { return weight > 0 ? (__float_as_uint(weight) - kLeastBits) << 3 : 0; }
__device__ float weight_of(uint32_t key) { return __uint_as_float((key >> 3) + kLeastBits); }

/// Of logits, which are no NaN.
__device__ uint32_t key_of_logit(float logit) {
  const uint32_t bits = __float_as_uint(logit == 0 ? 0.0f : logit);  // zeros of both signs are equal
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

/// As ops::penalised: each operation is rounded by itself.
__device__ float penalised(float logit, ops::Seen seen, const ops::Choice& choice) {
  if (seen == 0) return logit;
  logit = logit > 0 ? __fdiv_rn(logit, choice.repetition_penalty) : __fmul_rn(logit, choice.repetition_penalty);
  const ops::Seen outputs = seen & ~ops::kInPrompt;
  if (outputs == 0) return logit;
  return __fsub_rn(
      logit, __fadd_rn(choice.presence_penalty, __fmul_rn(choice.frequency_penalty, static_cast<float>(outputs))));
}

/// Where a cut goes: through the numbers that have this key.
struct Border {
  uint32_t key;   // 0: it keeps all
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
  // The most likely tokens, gathered by the first block.
  int32_t gathered;
  Best likely[ops::Logprobs::kMost];
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

  /// Brings the row; its largest logit. Nobody may be looking at what was there.
  __device__ Best load(const float* row) {
    const bool packed = reinterpret_cast<uintptr_t>(row) % 16 == 0;
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
    return best_of_all(best);
  }

  /// What the past makes of the row; its largest logit.
  __device__ Best reshape(const ops::Choice& choice, const ops::Seen* seen, const ops::Bias* biases) {
    cluster_.barrier_arrive();
    for (int i = static_cast<int>(threadIdx.x); i < length_; i += kThreads)
      part_[i] = penalised(part_[i], seen[first_ + i], choice);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < choice.biases; i += kThreads) {
      const int at = biases[i].id - first_;
      if (at >= 0 && at < length_) atomicAdd(part_ + at, biases[i].value);
    }
    __syncthreads();
    Best best{-INFINITY, INT32_MAX};
    each([&](float v, int id) { best = better(best, {v, isnan(v) ? -1 : id}); });
    return best_of_all(best);
  }

  /// f(value, id) for the thread's piece, in order.
  template <typename F>
  __device__ void each(F&& f) {
    for (int i = begin_; i < end_; ++i) f(part_[i], first_ + i);
  }

  /// All blocks' best, of each thread's. The threads have arrived at the cluster's barrier before.
  __device__ Best best_of_all(Best best) {
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

  /// found(id) by one thread of the cluster: in its amount falls place_of(sum of all) of the amounts in order
  /// of ids.
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
  template <typename Amount, typename Place>
  __device__ int32_t locate_for_all(Amount&& amount, Place&& place_of) {
    locate(amount, place_of, [&](int32_t id) {
      for (int b = 0; b < kBlocks; ++b) *cluster_.map_shared_rank(&shared_.place, b) = id;
    });
    cluster_.sync();
    return shared_.place;
  }

  /// The last id that is kept where `taken` of the `equals` numbers of a key are, the lowest first.
  template <Key kKey>
  __device__ int32_t last_of(uint32_t key, Sum equals, Sum taken) {
    if (taken >= equals) return INT32_MAX;
    return locate_for_all([&](float v, int) { return Sum{kKey(v) == key}; }, [=](Sum) { return taken - 1; });
  }

  /// The first block's list of what any thread adds; no longer than its place, and complete at the next
  /// barrier.
  __device__ void begin_list() {
    if (threadIdx.x == 0) shared_.gathered = 0;
  }
  __device__ void add_to_list(Best entry) {
    const int at = atomicAdd(cluster_.map_shared_rank(&shared_.gathered, 0), 1);
    cluster_.map_shared_rank(shared_.likely, 0)[at] = entry;
  }
  /// The list, in the first block; nothing in the others.
  struct List {
    const Best* entries;
    int count;
  };
  __device__ List list() {
    cluster_.sync();
    return {shared_.likely, rank_ == 0 ? shared_.gathered : 0};
  }
  __device__ bool is_first_thread() const { return rank_ == 0 && threadIdx.x == 0; }

  /// The largest key such that the amounts of this and larger ones reach `target`.
  template <Key kKey, typename Amount>
  __device__ Border cut(Amount&& amount, Sum target) {
    Border border{};
    for (int shift = 24; shift >= 0; shift -= 8) {
      Shared::Turn& turn = next_turn();
      if (threadIdx.x < kDigits) turn.bins[threadIdx.x] = 0;
      __syncthreads();
      if (threadIdx.x == 0) shared_.border = {};
      each([&](float w, int) {
        const uint32_t key = kKey(w);
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

/// The token that `place` draws from the row's weights.
__device__ int32_t draw(Row& row, const ops::Choice& choice) {
  Border border{};
  Sum equals = 0, taken = 0;  // weights on the border, and how many of them are kept
  if (choice.top_k > 0) {
    border = row.cut<key_of>([](float) { return Sum{1}; }, static_cast<Sum>(choice.top_k));
    equals = border.at;
    taken = equals > 0 ? static_cast<Sum>(choice.top_k) - border.above : 0;
  }
  if (choice.top_p < 1) {
    Sum mine = 0;
    row.each([&](float w, int) { mine += key_of(w) > border.key ? fixed(w) : 0; });
    const Sum all = row.share(mine).all + (taken > 0 ? taken * fixed(weight_of(border.key)) : 0);
    const auto wanted = static_cast<Sum>(ceil(static_cast<double>(choice.top_p) * static_cast<double>(all)));
    const Sum target = min(max(wanted, Sum{1}), all);
    const Border by_p = row.cut<key_of>([](float w) { return fixed(w); }, target);
    const Sum each = fixed(weight_of(by_p.key)), needed = (target - by_p.above + each - 1) / each;
    taken = by_p.key == border.key ? min(taken, needed) : needed;
    equals = by_p.at / each;
    border = by_p;
  }
  const int32_t last = row.last_of<key_of>(border.key, equals, taken);
  return row.locate_for_all(
      [&](float w, int id) {
        const uint32_t key = key_of(w);
        return (key > border.key || (key == border.key && id <= last)) && w >= choice.min_p ? fixed(w) : 0;
      },
      [&](Sum all) { return min(static_cast<Sum>(choice.place * static_cast<double>(all)), all - 1); });
}

/// What the model itself makes of the chosen token and of the `wanted` most likely ones. Not inlined: those
/// who do not ask for it are not to pay for its registers.
__device__ __noinline__ void report(Shared& shared, float* part, int64_t dim, const float* logits, int32_t token,
                                    int32_t wanted, ops::Logprobs* out) {
  Row row(shared, part, dim);
  const float largest = row.load(logits).value, own = logits[token];
  Sum weights = 0, larger = 0;
  row.each([&](float v, int) {
    const float scaled = v - largest;
    if (scaled >= -30.0f) weights += fixed(expf(scaled));
    larger += v > own ? 1 : 0;
  });
  const double lse = static_cast<double>(largest) + log(static_cast<double>(row.share(weights).all) * 0x1p-44);
  const auto logprob = [lse](float logit) { return static_cast<float>(static_cast<double>(logit) - lse); };
  row.begin_list();
  const Sum rank = row.share(larger).all;
  if (wanted > 0) {
    const Border border = row.cut<key_of_logit>([](float) { return Sum{1}; }, static_cast<Sum>(wanted));
    const int32_t last =
        row.last_of<key_of_logit>(border.key, border.at, border.at > 0 ? static_cast<Sum>(wanted) - border.above : 0);
    row.each([&](float v, int id) {
      const uint32_t key = key_of_logit(v);
      if (key > border.key || (key == border.key && id <= last)) row.add_to_list({v, id});
    });
  }
  const Row::List list = row.list();
  for (int i = static_cast<int>(threadIdx.x); i < list.count; i += kThreads) {
    const Best entry = list.entries[i];
    int place = 0;
    for (int j = 0; j < list.count; ++j) {
      const Best other = list.entries[j];
      place += other.value > entry.value || (other.value == entry.value && other.place < entry.place) ? 1 : 0;
    }
    out->ids[place] = entry.place;
    out->values[place] = logprob(entry.value);
  }
  if (row.is_first_thread()) {
    out->chosen = logprob(own);
    out->rank = static_cast<int32_t>(rank);
    out->count = list.count;
  }
}

__global__ void __launch_bounds__(kThreads, 3) sample_kernel(SampleCall c) {
  extern __shared__ float4 part[];
  __shared__ Shared shared;
  allow_next();
  const ops::Choice choice = c.choices[blockIdx.x];
  await_previous();
  const int64_t r = choice.row - c.first_row;
  if (r < 0 || r >= c.x.rows) {  // all blocks of the cluster alike, as below
    if (blockIdx.y == 0 && threadIdx.x == 0) c.out[blockIdx.x] = -1;
    return;
  }
  auto* row_part = reinterpret_cast<float*>(part);
  Row row(shared, row_part, c.limit);
  const float* logits = static_cast<const float*>(c.x.data) + r * c.x.stride;
  ops::Seen* seen = choice.slot < 0 ? nullptr : c.seen + choice.slot * c.x.cols;
  const auto usable = [](const Best& best) { return best.place >= 0 && isfinite(best.value); };
  Best best = row.load(logits);
  if (seen != nullptr && usable(best)) best = row.reshape(choice, seen, c.biases + choice.slot * ops::kMostBiases);
  int32_t token = usable(best) ? best.place : -1;
  if (token >= 0 && choice.temperature > 0) {
    const float inverse = 1 / fmaxf(choice.temperature, 1e-30f);
    row.each([&](float& v, int) {
      const float scaled = (v - best.value) * inverse;
      v = scaled >= -30.0f ? expf(scaled) : 0.0f;
    });
    token = draw(row, choice);
  }
  if (row.is_first_thread()) {
    c.out[blockIdx.x] = token;
    if (seen != nullptr && token >= 0) ++seen[token];
  }
  if (choice.logprobs >= 0 && token >= 0)
    report(shared, row_part, c.limit, logits, token, choice.logprobs, c.logprobs + blockIdx.x);
}

}  // namespace

void sample(Queue queue, const SampleCall& c) {
  const size_t shared = static_cast<size_t>(Row::part_length(c.limit)) * sizeof(float);
  launch(sample_kernel, {{static_cast<unsigned>(c.count), kBlocks}, kThreads, shared, kBlocks}, queue, c);
}

}  // namespace sluice::cuda
