// The warpgroups of attention by wgmma that multiply.
//
// By segments, a row's result is the same bits whoever computes it: each segment is summed by itself, from its last
// round to its first, and added to those behind it, the newest first. What other rows of a tile need besides changes
// nothing: a round without a key that the row sees leaves its sums as they are. All roundings are spelt out, so that
// one compiled instance cannot differ from another.
#pragma once

#include "cuda/kernels/attention_work.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda::prefill {

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Sums over keys are relative to their largest score: how those of two sets of keys become those of both.
struct Fold {
  float top, first, second;
  __device__ Fold(float first_top, float second_top) : top(fmaxf(first_top, second_top)) {
    const float zero = top == -INFINITY ? 0.0f : top;
    first = exp2_fast(__fsub_rn(first_top, zero));
    second = exp2_fast(__fsub_rn(second_top, zero));
  }
  __device__ float sum(float a, float b) const { return __fmaf_rn(b, second, __fmul_rn(a, first)); }
  __device__ float4 sum(float4 a, float4 b) const { return {sum(a.x, b.x), sum(a.y, b.y), sum(a.z, b.z), sum(a.w, b.w)}; }
};

template <typename T, int D, bool kPlain, bool kSegmented>
class Multiplier {
  using Block = Shared<D, kSegmented>;

 public:
  __device__ Multiplier(const AttentionCall& call, const Segments& segments, Block& memory)
      : c_(call), segments_(segments), shared_(memory), group_(static_cast<int>(threadIdx.x) / 128 - 1),
        thread_(static_cast<int>(threadIdx.x) % 128), lane_(thread_ % 32), warp_(thread_ / 32) {}

  __device__ __forceinline__ void run() {
    if (group_ == 0) arrive_at(kTurn, 256);  // the first turn is the first group's
    for (;;) {
      const Work work = receive_work(shared_, works_);
      if (work.rows == 0) return;
      single_ = kSegmented && work.single;
      if (single_ && group_ > 0) {
        pass_over(work);
        continue;
      }
      begin(work);
      float out[D / 2];
      Sums sums;
#pragma unroll
      for (float& x : out) x = 0;
      sum(work, out, sums);
      if (!kSegmented || work.segments == 0) {
        finish(work, out, sums);
      } else if (arrive_last(work)) {
        add_up(work);
      }
    }
  }

 private:
  static constexpr int kKeys = Block::kKeys, kSteps = Block::kSteps;
  static constexpr int kTurn = 1, kGroup = 1 + kGroups;  // the first of kGroups barriers each
  // There are no turns in the work on a single row, which the first group does alone.
  __device__ void await_turn() const {
    if (!single_) sync_threads_of(kTurn + group_, 256);
  }
  __device__ void pass_turn() const {
    if (!single_) arrive_at(kTurn + (group_ + 1) % kGroups, 256);
  }
  __device__ void await_group() const { sync_threads_of(kGroup + group_, 128); }

  /// Of a thread's two rows: the largest score in units of log2, the sum of weights relative to it.
  struct Sums {
    float top[2] = {-INFINITY, -INFINITY}, total[2] = {};
  };

  __device__ void await_keys() const { await(shared_.keys_gates.full[keys_.place], keys_.parity); }
  __device__ void await_values() const { await(shared_.values_gates.full[values_.place], values_.parity); }
  // Each warp for itself: instructions of one warp may end before those of the next.
  __device__ void release_keys() {
    if (lane_ == 0) arrive(shared_.keys_gates.free[keys_.place]);
    keys_.next(Block::kStages);
  }
  __device__ void release_values() {
    if (lane_ == 0) arrive(shared_.values_gates.free[values_.place]);
    values_.next(Block::kStages);
  }

  /// What the first group does alone.
  __device__ void pass_over(const Work& work) {
    for (int step = work.begin * kSteps; step < work.end * kSteps; ++step) {
      await_keys();
      release_keys();
      await_values();
      release_values();
    }
  }

  /// What this group and this thread have of the work.
  __device__ void begin(const Work& work) {
    const int mine = group_ * kGroupRows, row = warp_ * 16 + lane_ / 4;
    rows_ = work.rows - mine;
    receive_queries(work);
    first_position_ = work.first_position + mine;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      positions_[h] = first_position_ + (single_ ? 0 : row + h * 8);
      slopes_[h] = c_.slopes == nullptr ? 0.0f : c_.slopes[head_of(work, min(row + h * 8, rows_ - 1))];
      if constexpr (kSegmented) segment_steps_[h] = segment_rounds(c_, positions_[h]) * kSteps;
    }
  }
  __device__ int head_of(const Work& work, int row) const { return work.head + (single_ ? row : 0); }

  /// This group's queries, rounded to T where matrix instructions read them. They come in one of the two rings; those of
  /// a single row are few.
  __device__ void receive_queries(const Work& work) {
    const bool direct = single_ || Block::kLarge;
    const float* from = nullptr;
    int64_t stride = D;
    if (direct) {
      await_previous();
      const int64_t row = work.first_row + group_ * kGroupRows;
      from = static_cast<const float*>(c_.q.data) + row * c_.q.stride + work.head * D;
      if (!single_) stride = c_.q.stride;
    } else {
      await_keys();
      await_values();
      from = reinterpret_cast<const float*>(group_ == 0 ? shared_.keys[keys_.place] : shared_.values[values_.place]);
    }
    await_group();  // no warp reads the queries before
#pragma unroll 4
    for (int i = thread_; i < kGroupRows * D / 4; i += 128) {
      const int row = i / (D / 4), at = i % (D / 4) * 4;
      const float4 x = direct && row >= rows_ ? float4{} : *reinterpret_cast<const float4*>(from + row * stride + at);
      std::byte* to = reinterpret_cast<std::byte*>(shared_.queries[group_][at / 64]);
      *reinterpret_cast<uint2*>(to + swizzled<8>(row, at % 64 / 8) + at % 8 * 2) =
          uint2{pack2<T>(x.x, x.y), pack2<T>(x.z, x.w)};
    }
    publish_to_copies();
    await_group();
    if (direct) return;
    release_keys();
    release_values();
  }

  __device__ __forceinline__ void multiply_keys(float (&scores)[kKeys / 2]) {
    const uint64_t q = operand_by_rows(shared_address(shared_.queries[group_]));
    const uint64_t k = operand_by_rows(shared_address(shared_.keys[keys_.place]));
#pragma unroll
    for (int i = 0; i < D / 16; ++i) {
      const uint32_t tile = i / 4, at = i % 4 * 32;
      multiply_rows<T, kKeys>(scores, advance(q, tile * kGroupRows * 128 + at), advance(k, tile * kKeys * 128 + at), i > 0);
    }
    end_products();
  }
  __device__ __forceinline__ void multiply_values(float (&out)[D / 2], const uint32_t (&weights)[kKeys / 16][4]) {
    const uint32_t address = shared_address(shared_.values[values_.place]);
    const uint64_t v = operand_by_columns(address, kKeys * 128);
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) multiply_add<T>(out, weights[i], advance(v, i * 16 * 128));
    end_products();
  }

  __device__ __forceinline__ void sum(const Work& work, float (&out)[D / 2], Sums& sums) {
    float scores[kKeys / 2], shrink[2];
    Sums all;  // of the segments that are done; the sums of their values are in shared memory
    uint32_t weights[kKeys / 16][4];
    await_keys();
    begin_products();
    multiply_keys(scores);
    await_products<0>(scores);
    release_keys();
    weigh(scores, work.end * kSteps - 1, sums, shrink);
    pack(scores, weights);
    for (int step = work.end * kSteps - 2; step >= work.begin * kSteps; --step) {
      await_keys();
      await_turn();
      begin_products();
      multiply_keys(scores);
      await_values();
      begin_products();
      multiply_values(out, weights);
      pass_turn();
      await_products<1>(scores);
      release_keys();
      const Sums before = sums;
      if constexpr (kSegmented) begin_segments(step + 1, sums);
      weigh(scores, step, sums, shrink);
      await_products<0>(out);
      release_values();
      if constexpr (kSegmented) end_segments<false>(work, step + 1, out, before, all);
      pack(scores, weights);
      scale(out, shrink[0], shrink[1]);
    }
    await_values();
    begin_products();
    multiply_values(out, weights);
    await_products<0>(out);
    release_values();
    if constexpr (kSegmented) {
      end_segments<true>(work, work.begin * kSteps, out, sums, all);
      sums = all;
    }
  }

  // Whether a row's segment begins with the step `begin`, and whether the row sees a key of it.
  __device__ bool is_first(int h, int begin) const { return (begin & (segment_steps_[h] - 1)) == 0; }
  __device__ bool is_seen(int h, int begin) const {
    const int end = (begin & -segment_steps_[h]) + segment_steps_[h];
    return begin * kKeys <= positions_[h] &&
           (c_.window <= 0 || end * kKeys - 1 > positions_[h] - static_cast<int>(c_.window));
  }
  __device__ __forceinline__ void begin_segments(int begin, Sums& sums) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sums.top[h] = is_first(h, begin) ? -INFINITY : sums.top[h];
      sums.total[h] = is_first(h, begin) ? 0.0f : sums.total[h];
    }
  }
  __device__ auto folded() const -> float4 (&)[D / 8][128] {
    if constexpr (Block::kLarge) {
      return reinterpret_cast<FoldedSums<D>*>(segments_.folded)[blockIdx.x][group_];
    } else {
      return shared_.folded[group_];
    }
  }
  /// Adds sums of segments to those of all behind them, or leaves them in memory where others have some of the row's. For
  /// the last, `out` becomes what all make.
  template <bool kLast>
  __device__ __forceinline__ void end_segments(const Work& work, int begin, float (&out)[D / 2], const Sums& sums,
                                               Sums& all) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool seen = is_seen(h, begin), none = all.top[h] == -INFINITY;
      if (!kLast && !(is_first(h, begin) && seen)) continue;
      if (warp_ * 16 + lane_ / 4 + h * 8 >= rows_) continue;  // padding
      if (work.segments > 0) {
        leave(work, h, begin, out, sums);
        continue;
      }
      const Fold fold(all.top[h], sums.top[h]);
      constexpr int kAtOnce = D % 64 == 0 ? 4 : D / 16;  // loads under way together
#pragma unroll
      for (int first = 0; first < D / 16; first += kAtOnce) {
        float4 before[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) before[i] = none ? float4{} : folded()[(first + i) * 2 + h][thread_];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          float* mine = out + (first + i) * 8 + h * 2;
          float4 after = fold.sum(before[i], float4{mine[0], mine[1], mine[4], mine[5]});
          if (kLast && !seen) after = before[i];
          if (!kLast) {
            folded()[(first + i) * 2 + h][thread_] = after;
            after = float4{};
          }
          mine[0] = after.x, mine[1] = after.y, mine[4] = after.z, mine[5] = after.w;
        }
      }
      if (kLast && !seen) continue;
      all.total[h] = fold.sum(all.total[h], sums.total[h]);
      all.top[h] = fold.top;
    }
  }

  /// Scores become exp(score - top); what was summed before is to be multiplied by `shrink`.
  __device__ __forceinline__ void weigh(float (&scores)[kKeys / 2], int step, Sums& sums, float (&shrink)[2]) {
    const int key0 = step * kKeys;
    if constexpr (!kPlain) modify(scores, key0);
    if (key0 + kKeys - 1 > first_position_) hide_later(scores, key0);
    if (c_.window > 0 && key0 <= first_position_ + kGroupRows - 1 - static_cast<int>(c_.window))
      hide_earlier(scores, key0);
    const float unit = kPlain ? c_.scale * kLog2e : 1.0f;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float best = -INFINITY;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) best = fmaxf(best, fmaxf(scores[n * 4 + h * 2], scores[n * 4 + h * 2 + 1]));
      const float top = fmaxf(sums.top[h], __fmul_rn(reduce_quad(best, Max()), unit));
      const float zero = top == -INFINITY ? 0.0f : top;  // no key was seen so far: all weights are 0
      shrink[h] = exp2_fast(__fsub_rn(sums.top[h], zero));
      sums.top[h] = top;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int e = h * 2; e < h * 2 + 2; ++e) {
          scores[n * 4 + e] = exp2_fast(__fmaf_rn(scores[n * 4 + e], unit, -zero));
          sum += scores[n * 4 + e];
        }
      }
      sums.total[h] = __fmaf_rn(sums.total[h], shrink[h], sum);
    }
  }

  /// Softcap and ALiBi; in units of log2.
  __device__ __forceinline__ void modify(float (&scores)[kKeys / 2], int key0) const {
    const float cap = c_.softcap * kLog2e, slopes[2] = {slopes_[0] * kLog2e, slopes_[1] * kLog2e};
    const float unit = c_.scale * (c_.softcap > 0 ? 2.0f / c_.softcap : 1.0f) * kLog2e;
    const int key = key0 + lane_ % 4 * 2;
    const float distances[2] = {static_cast<float>(positions_[0] - key), static_cast<float>(positions_[1] - key)};
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      const int h = i % 4 / 2;
      float x = __fmul_rn(scores[i], unit);
      if (c_.softcap > 0)  // tanh(x) = 1 - 2 / (exp(2 x) + 1)
        x = __fsub_rn(cap, __fdividef(2.0f * cap, __fadd_rn(exp2_fast(x), 1.0f)));
      scores[i] = __fmaf_rn(-slopes[h], distances[h] - static_cast<float>(i / 4 * 8 + i % 2), x);
    }
  }
  /// Keys behind a row's own position.
  __device__ __forceinline__ void hide_later(float (&scores)[kKeys / 2], int key0) const {
    const int key = key0 + lane_ % 4 * 2, last[2] = {positions_[0] - key, positions_[1] - key};
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) scores[i] = i / 4 * 8 + i % 2 <= last[i % 4 / 2] ? scores[i] : -INFINITY;
  }
  /// Keys before a row's window.
  __device__ __forceinline__ void hide_earlier(float (&scores)[kKeys / 2], int key0) const {
    const int key = key0 + lane_ % 4 * 2 + static_cast<int>(c_.window);
    const int before[2] = {positions_[0] - key, positions_[1] - key};
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) scores[i] = i / 4 * 8 + i % 2 > before[i % 4 / 2] ? scores[i] : -INFINITY;
  }

  static __device__ __forceinline__ void pack(const float (&scores)[kKeys / 2], uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) weights[i / 4][i % 4] = pack2<T>(scores[i * 2], scores[i * 2 + 1]);
  }
  static __device__ __forceinline__ void scale(float (&out)[D / 2], float upper, float lower) {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) out[i] *= i % 4 < 2 ? upper : lower;
  }

  /// What the sums of a row's values are to be multiplied by.
  __device__ float factor_of(float total, float top, int head) const {
    if (c_.sinks != nullptr) total = __fadd_rn(total, exp2_fast(__fsub_rn(__fmul_rn(c_.sinks[head], kLog2e), top)));
    return 1.0f / total;
  }
  __device__ void write(int64_t at, float a, float b) const {
    if (c_.out.dtype == DType::f32) {
      *reinterpret_cast<float2*>(static_cast<float*>(c_.out.data) + at) = {a, b};
    } else {
      static_cast<uint32_t*>(c_.out.data)[at / 2] =
          c_.out.dtype == DType::f16 ? pack2<__half>(a, b) : pack2<__nv_bfloat16>(a, b);
    }
  }

  __device__ __forceinline__ void finish(const Work& work, float (&out)[D / 2], const Sums& sums) {
    const int row0 = warp_ * 16 + lane_ / 4;
    float factor[2];
#pragma unroll
    for (int h = 0; h < 2; ++h)
      factor[h] = factor_of(reduce_quad(sums.total[h], Add()), sums.top[h], head_of(work, min(row0 + h * 8, rows_ - 1)));
    scale(out, factor[0], factor[1]);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row0 + h * 8;
      if (row >= rows_) continue;
      const int64_t in_batch = work.first_row + group_ * kGroupRows + (single_ ? 0 : row);
      const int64_t at = in_batch * c_.out.stride + head_of(work, row) * D + lane_ % 4 * 2;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) write(at + n * 8, out[n * 4 + h * 2], out[n * 4 + h * 2 + 1]);
    }
  }

  // Where the sums of a single row's segment begin, counted from the newest.
  __device__ int64_t place_of(const Work& work, int segment) const {
    return (int64_t{work.slot} * kMostSegments + segment) * work.rows;
  }
  __device__ int segment_of(int step) const {
    return positions_[0] / kKeys / segment_steps_[0] - step / segment_steps_[0];
  }

  /// Leaves the sums of a single row's segment in memory.
  __device__ __forceinline__ void leave(const Work& work, int h, int begin, float (&out)[D / 2], const Sums& sums) const {
    const int row = warp_ * 16 + lane_ / 4 + h * 8;
    const int64_t at = place_of(work, segment_of(begin)) + row;
    __stcg(segments_.totals + at * 4 + lane_ % 4, sums.total[h]);
    if (lane_ % 4 == 0) __stcg(segments_.tops + at, sums.top[h]);
    auto* to = reinterpret_cast<float2*>(segments_.sums + at * D + lane_ % 4 * 2);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      float* mine = out + n * 4 + h * 2;
      __stcg(to + n * 4, float2{mine[0], mine[1]});
      mine[0] = mine[1] = 0;
    }
  }
  /// What was left of a single row can be read by all; whether it was the last.
  __device__ bool arrive_last(const Work& work) {
    await_group();
    if (thread_ == 0) {
      __threadfence();  // for all: what a barrier of the block orders, one thread's fence passes on
      const int mine = segment_of(work.begin * kSteps) - segment_of(work.end * kSteps - 1) + 1;
      const unsigned before = atomicAdd(segments_.arrived + work.slot, static_cast<unsigned>(mine));
      shared_.last = before == static_cast<unsigned>(work.segments - mine);
      if (shared_.last) segments_.arrived[work.slot] = 0;
      __threadfence();
    }
    await_group();
    return shared_.last;
  }
  /// Makes a single row's result of the sums of its segments, as `end_segments` and `finish` would.
  __device__ void add_up(const Work& work) const {
    for (int i = thread_; i < work.rows * (D / 4); i += 128) {
      const int row = i / (D / 4), column = i % (D / 4) * 4;
      float top = -INFINITY;
      float4 totals{}, x{};
#pragma unroll 4
      for (int segment = 0; segment < work.segments; ++segment) {
        const int64_t at = place_of(work, segment) + row;
        const Fold fold(top, __ldcg(segments_.tops + at));
        totals = fold.sum(totals, __ldcg(reinterpret_cast<const float4*>(segments_.totals) + at));
        x = fold.sum(x, __ldcg(reinterpret_cast<const float4*>(segments_.sums + at * D + column)));
        top = fold.top;
      }
      const float total = (totals.x + totals.y) + (totals.z + totals.w);  // as reduce_quad adds
      const float factor = factor_of(total, top, work.head + row);
      const int64_t to = work.first_row * c_.out.stride + (work.head + row) * D + column;
      write(to, x.x * factor, x.y * factor);
      write(to + 2, x.z * factor, x.w * factor);
    }
  }

  const AttentionCall& c_;
  const Segments& segments_;
  Block& shared_;
  const int group_, thread_, lane_, warp_;
  Turn keys_, values_, works_;
  bool single_ = false;
  int rows_ = 0, first_position_ = 0;             // of this warpgroup
  int positions_[2] = {}, segment_steps_[2] = {};  // of the thread's two rows
  float slopes_[2] = {};
};

}  // namespace sluice::cuda::prefill
