// The warpgroups of prefill attention that multiply.
#pragma once

#include "cuda/kernels/attention_work.cuh"
#include "cuda/kernels/wgmma_products.cuh"

namespace sluice::cuda::prefill {

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <typename T, int D, bool kPlain>
class Multiplier {
 public:
  __device__ Multiplier(const AttentionCall& call, Shared<D>& memory)
      : c_(call), shared_(memory), group_(static_cast<int>(threadIdx.x) / 128 - 1),
        thread_(static_cast<int>(threadIdx.x) % 128), lane_(thread_ % 32), warp_(thread_ / 32) {}

  __device__ __forceinline__ void run() {
    if (group_ == 0) arrive_at(kTurn, 256);  // the first turn is the first group's
    for (;;) {
      const Work work = receive_work(shared_, works_);
      if (work.rows == 0) return;
      receive_queries();
      const int mine = group_ * kGroupRows;
      rows_ = work.rows - mine;
      position_ = work.first_position + mine;
      slope_ = c_.slopes == nullptr ? 0.0f : c_.slopes[work.head];
      float out[D / 2], top[2] = {-INFINITY, -INFINITY}, total[2] = {};
#pragma unroll
      for (float& x : out) x = 0;
      sum(work, out, top, total);
      finish(work, out, top, total);
    }
  }

 private:
  static constexpr int kTurn = 1, kConverted = 1 + kGroups;  // the first of kGroups barriers each
  __device__ void await_turn() const { sync_threads_of(kTurn + group_, 256); }
  __device__ void pass_turn() const { arrive_at(kTurn + (group_ + 1) % kGroups, 256); }

  __device__ void await_keys() const { await(shared_.keys_gates.full[keys_.place], keys_.parity); }
  __device__ void await_values() const { await(shared_.values_gates.full[values_.place], values_.parity); }
  // Each warp for itself: instructions of one warp may end before those of the next.
  __device__ void release_keys() {
    if (lane_ == 0) arrive(shared_.keys_gates.free[keys_.place]);
    keys_.next();
  }
  __device__ void release_values() {
    if (lane_ == 0) arrive(shared_.values_gates.free[values_.place]);
    values_.next();
  }

  /// This group's queries, rounded to T where matrix instructions read them. They come in one of the two rings.
  __device__ void receive_queries() {
    await_keys();
    await_values();
    const void* mine = group_ == 0 ? shared_.keys[keys_.place] : shared_.values[values_.place];
    const auto* from = static_cast<const float*>(mine);
#pragma unroll 4
    for (int i = thread_; i < kGroupRows * D / 4; i += 128) {
      const int row = i / (D / 4), at = i % (D / 4) * 4;
      const float4 x = *reinterpret_cast<const float4*>(from + i * 4);
      std::byte* to = reinterpret_cast<std::byte*>(shared_.queries[group_][at / 64]);
      *reinterpret_cast<uint2*>(to + swizzled<8>(row, at % 64 / 8) + at % 8 * 2) =
          uint2{pack2<T>(x.x, x.y), pack2<T>(x.z, x.w)};
    }
    publish_to_copies();
    sync_threads_of(kConverted + group_, 128);
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

  __device__ __forceinline__ void sum(const Work& work, float (&out)[D / 2], float (&top)[2], float (&total)[2]) {
    float scores[kKeys / 2], shrink[2];
    uint32_t weights[kKeys / 16][4];
    await_keys();
    begin_products();
    multiply_keys(scores);
    await_products<0>(scores);
    release_keys();
    weigh(scores, work.end - 1, top, total, shrink);
    pack(scores, weights);
    for (int round = work.end - 2; round >= work.begin; --round) {
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
      weigh(scores, round, top, total, shrink);
      await_products<0>(out);
      release_values();
      pack(scores, weights);
      scale(out, shrink[0], shrink[1]);
    }
    await_values();
    begin_products();
    multiply_values(out, weights);
    await_products<0>(out);
    release_values();
  }

  /// Scores become exp(score - top); what was summed before is to be multiplied by `shrink`.
  __device__ __forceinline__ void weigh(float (&scores)[kKeys / 2], int round, float (&top)[2], float (&total)[2],
                                        float (&shrink)[2]) {
    const int key0 = round * kKeys;
    if constexpr (!kPlain) modify(scores, key0);
    if (key0 + kKeys - 1 > position_) hide_later(scores, key0);
    if (c_.window > 0 && key0 <= position_ + kGroupRows - 1 - static_cast<int>(c_.window)) hide_earlier(scores, key0);
    const float unit = kPlain ? c_.scale * kLog2e : 1.0f;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float best = top[h];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) best = fmaxf(best, fmaxf(scores[n * 4 + h * 2], scores[n * 4 + h * 2 + 1]));
      best = reduce_quad(best, Max());
      const float zero = best == -INFINITY ? 0.0f : best * unit;  // no key was seen so far: all weights are 0
      shrink[h] = exp2_fast(top[h] * unit - zero);
      top[h] = best;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int e = h * 2; e < h * 2 + 2; ++e) {
          scores[n * 4 + e] = exp2_fast(scores[n * 4 + e] * unit - zero);
          sum += scores[n * 4 + e];
        }
      }
      total[h] = total[h] * shrink[h] + sum;
    }
  }

  /// Softcap and ALiBi; in units of log2.
  __device__ __forceinline__ void modify(float (&scores)[kKeys / 2], int key0) const {
    const float cap = c_.softcap * kLog2e, slope = slope_ * kLog2e;
    const float unit = c_.scale * (c_.softcap > 0 ? 2.0f / c_.softcap : 1.0f) * kLog2e;
    const float distance = static_cast<float>(position_ + warp_ * 16 + lane_ / 4 - key0 - lane_ % 4 * 2);
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      float x = scores[i] * unit;
      if (c_.softcap > 0) x = cap - __fdividef(2.0f * cap, exp2_fast(x) + 1.0f);  // tanh(x) = 1 - 2 / (exp(2 x) + 1)
      scores[i] = x - slope * (distance + static_cast<float>(i % 4 / 2 * 8 - i / 4 * 8 - i % 2));
    }
  }
  /// Keys behind a row's own position.
  __device__ __forceinline__ void hide_later(float (&scores)[kKeys / 2], int key0) const {
    const int last = position_ + warp_ * 16 + lane_ / 4 - key0 - lane_ % 4 * 2;
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) scores[i] = i / 4 * 8 + i % 2 - i % 4 / 2 * 8 <= last ? scores[i] : -INFINITY;
  }
  /// Keys before a row's window.
  __device__ __forceinline__ void hide_earlier(float (&scores)[kKeys / 2], int key0) const {
    const int before = position_ + warp_ * 16 + lane_ / 4 - static_cast<int>(c_.window) - key0 - lane_ % 4 * 2;
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) scores[i] = i / 4 * 8 + i % 2 - i % 4 / 2 * 8 > before ? scores[i] : -INFINITY;
  }

  static __device__ __forceinline__ void pack(const float (&scores)[kKeys / 2], uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 4; ++i) weights[i / 4][i % 4] = pack2<T>(scores[i * 2], scores[i * 2 + 1]);
  }
  static __device__ __forceinline__ void scale(float (&out)[D / 2], float upper, float lower) {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) out[i] *= i % 4 < 2 ? upper : lower;
  }

  __device__ __forceinline__ void finish(const Work& work, float (&out)[D / 2], const float (&top)[2],
                                         const float (&total)[2]) {
    const float unit = kPlain ? c_.scale * kLog2e : 1.0f;
    float factor[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = reduce_quad(total[h], Add());
      if (c_.sinks != nullptr) sum += exp2_fast(c_.sinks[work.head] * kLog2e - top[h] * unit);
      factor[h] = 1.0f / sum;
    }
    scale(out, factor[0], factor[1]);
    const int row = warp_ * 16 + lane_ / 4;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (row + h * 8 >= rows_) continue;
      const int64_t in_batch = work.first_row + group_ * kGroupRows + row + h * 8;
      const int64_t at = in_batch * c_.out.stride + work.head * D + lane_ % 4 * 2;
      if (c_.out.dtype == DType::f32) {
        float* y = static_cast<float*>(c_.out.data) + at;
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
          *reinterpret_cast<float2*>(y + n * 8) = {out[n * 4 + h * 2], out[n * 4 + h * 2 + 1]};
      } else {
        uint32_t* y = static_cast<uint32_t*>(c_.out.data) + at / 2;
        const bool half = c_.out.dtype == DType::f16;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
          const float a = out[n * 4 + h * 2], b = out[n * 4 + h * 2 + 1];
          y[n * 4] = half ? pack2<__half>(a, b) : pack2<__nv_bfloat16>(a, b);
        }
      }
    }
  }

  const AttentionCall& c_;
  Shared<D>& shared_;
  const int group_, thread_, lane_, warp_;
  Turn<Shared<D>::kStages> keys_, values_;
  Turn<Shared<D>::kWorks> works_;
  int rows_ = 0, position_ = 0;  // of this warpgroup
  float slope_ = 0;
};

}  // namespace sluice::cuda::prefill
