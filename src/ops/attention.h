#pragma once

#include <algorithm>

#include "ops/batch.h"
#include "ops/kernel.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// Causal attention over paged keys and values (Vaswani et al. 2017; GQA: Ainslie et al. 2023): head h of the
/// query at position p attends to positions j <= p, and j > p - window when there is a window:
///   s_j = scale * q.k_j ; softcap: s_j = cap * tanh(s_j / cap) ; ALiBi (Press et al. 2022): s_j -= slope_h *
///   (p - j) out = sum_j exp(s_j) v_j / (sum_j exp(s_j) + exp(sink_h) if sinks)
struct Attention {
  static constexpr std::string_view kName = "attention";
  struct Desc {
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t d_qk = 0;
    int64_t d_v = 0;
    float scale = 1;
    float softcap = 0;   // 0: none
    int64_t window = 0;  // 0: none
    bool sinks = false;
    bool alibi = false;
    DType kv = DType::f16;
    int64_t page_tokens = 32;
    bool rounded =
        false;  // queries, and exp(s_j) relative to the largest, may be rounded to the cache's type
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("heads", s.heads), v("kv_heads", s.kv_heads), v("d_qk", s.d_qk), v("d_v", s.d_v), v("scale", s.scale);
      v("softcap", s.softcap), v("window", s.window), v("sinks", s.sinks), v("alibi", s.alibi), v("kv", s.kv);
      v("page_tokens", s.page_tokens), v("rounded", s.rounded);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    Matrix q;    // (tokens, heads * d_qk) f32, a range of columns of the qkv buffer
    Matrix out;  // (tokens, heads * d_v) f32
    std::span<const SequenceRows> sequences;
    KvCache cache;                        // holds the keys and values of these rows too
    const float* sinks = nullptr;         // (heads)
    const float* alibi_slopes = nullptr;  // (heads)
    DeviceSequences on_device = {};
  };
  /// Of `rows` queries of one sequence that end at `context` tokens.
  static Cost cost(const Desc& d, int64_t rows, int64_t context) {
    const int64_t seen = d.window > 0 ? std::min(context, d.window + rows) : context;
    const double per_head = static_cast<double>(d.d_qk + d.d_v);
    const double pairs = static_cast<double>(rows) * static_cast<double>(seen) -
                         0.5 * static_cast<double>(rows) * static_cast<double>(std::min(rows, seen));
    const auto scales = static_cast<double>(2 * kv_scale_bytes(d.kv));
    return {static_cast<double>(seen * d.kv_heads) * (per_head * info(d.kv).block_bytes + scales) +
                4.0 * static_cast<double>(rows * d.heads) * per_head,
            2.0 * static_cast<double>(d.heads) * pairs * per_head};
  }
};

}  // namespace sluice::ops
