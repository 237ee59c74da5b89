#pragma once

#include "ops/add_norm.h"
#include "ops/batch.h"
#include "ops/kernel.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// y[t, 0:n] = f * cos(positions[t] * freq), y[t, n:2n] = f * sin(...), computed once per step for all layers
/// that share the frequencies (Su et al. 2021, RoFormer). variants[t] picks one of the frequency rows
/// (longrope has two).
struct RopeTable {
  static constexpr std::string_view kName = "rope_table";
  struct Desc {
    int64_t frequencies = 0;  // n: half of the rotated dimensions
    int64_t variants = 1;
    float attention_factor = 1;  // f
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("frequencies", s.frequencies), v("variants", s.variants), v("attention_factor", s.attention_factor);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    const int32_t* positions = nullptr;  // (tokens)
    const int32_t* variants = nullptr;   // (tokens), each in [0, variants)
    const float* frequencies = nullptr;  // (variants, n)
    Matrix y;                            // (tokens, 2n) f32
  };
  static Cost cost(const Desc& d, int64_t tokens) {
    const double elems = static_cast<double>(tokens * 2 * d.frequencies);
    return {4 * elems, 20 * elems};
  }
};

/// Between the QKV projection and attention, in place: normalises q and k, rotates them, and writes k and v
/// to their KV pages. Columns of qkv: q (heads, d_qk) | k (kv_heads, d_qk) | v (kv_heads, d_v).
struct RopeKv {
  static constexpr std::string_view kName = "rope_kv";
  struct Desc {
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t d_qk = 0;
    int64_t d_v = 0;
    RopeStyle rope = RopeStyle::none;
    int64_t rope_dims = 0;  // the first rope_dims of each head are rotated
    QkNormScope qk_norm = QkNormScope::none;
    NormKind qk_norm_kind = NormKind::rms;
    bool norm_after_rope = false;
    float eps = 1e-6f;
    DType kv = DType::f16;  // see is_kv_type
    int64_t page_tokens = 32;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("heads", s.heads), v("kv_heads", s.kv_heads), v("d_qk", s.d_qk), v("d_v", s.d_v), v("rope", s.rope);
      v("rope_dims", s.rope_dims), v("qk_norm", s.qk_norm), v("qk_norm_kind", s.qk_norm_kind);
      v("norm_after_rope", s.norm_after_rope), v("eps", s.eps), v("kv", s.kv),
          v("page_tokens", s.page_tokens);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix qkv;         // (tokens, heads * d_qk + kv_heads * (d_qk + d_v)) f32
    Matrix rope_table;  // (tokens, rope_dims): cos | sin
    const float* q_norm = nullptr;
    const float* k_norm = nullptr;
    std::span<const SequenceRows> sequences;  // cover all rows
    KvCache cache;
    DeviceSequences on_device = {};
  };
  static Cost cost(const Desc& d, int64_t tokens) {
    const double q = static_cast<double>(tokens * d.heads * d.d_qk);
    const double kv = static_cast<double>(tokens * d.kv_heads * (d.d_qk + d.d_v));
    return {8 * q + (4 + info(d.kv).block_bytes) * kv, 6 * (q + kv)};
  }
};

}  // namespace sluice::ops
