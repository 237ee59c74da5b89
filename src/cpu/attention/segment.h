// Attention of a block of queries to a segment of positions. Included once per instruction set, after its
// simd header. Page layout: kv_page.h.
#pragma once

#include "cpu/attention/kernels.h"
#include "cpu/simd/math.h"
#include "cpu/simd/unroll.h"

namespace sluice::cpu::SLUICE_ISA {

constexpr float kNothing = -__builtin_inff();

/// f(Index<R>, first row): covers rows with groups of at most kMaxPanel.
template <typename F>
SLUICE_SIMD void for_each_group(int64_t rows, const F& f) {
  for (int64_t row = 0; row < rows;) {
    const int64_t left = rows - row;
    if (kMaxPanel >= 12 && left >= 12) {
      f(Index<12>{}, row), row += 12;
    } else if (kMaxPanel >= 8 && left >= 8) {
      f(Index<8>{}, row), row += 8;
    } else if (left >= 4) {
      f(Index<4>{}, row), row += 4;
    } else if (left == 3) {
      f(Index<3>{}, row), row += 3;
    } else if (left == 2) {
      f(Index<2>{}, row), row += 2;
    } else {
      f(Index<1>{}, row), row += 1;
    }
  }
}

SLUICE_SIMD int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
SLUICE_SIMD int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }

template <DType D>
constexpr int64_t kElementBytes = D == DType::f32  ? 4
                                  : D == DType::i8 ? 1
                                                   : 2;
template <DType D>
constexpr bool kHasScales = D == DType::i8;

template <DType D>
SLUICE_SIMD F32 load_kv(const std::byte* p) {
  if constexpr (D == DType::f16) return load_f16(p);
  if constexpr (D == DType::bf16) return load_bf16(p);
  if constexpr (D == DType::i8) return to_f32(load_i8(p));
  if constexpr (D == DType::f32) return load(reinterpret_cast<const float*>(p));
}
template <DType D>
SLUICE_SIMD F32 load_kv_first(const std::byte* p, int64_t n) {
  if constexpr (D == DType::f16) return load_f16_first(p, n);
  if constexpr (D == DType::bf16) return load_bf16_first(p, n);
  if constexpr (D == DType::i8) {
    std::byte bytes[kLanes] = {};
    __builtin_memcpy(bytes, p, static_cast<size_t>(n < kLanes ? n : kLanes));
    return load_kv<D>(bytes);
  }
  if constexpr (D == DType::f32) return load_first(reinterpret_cast<const float*>(p), n);
}

/// The two floats of each lane's pair of bf16.
SLUICE_SIMD void unpair(I32 pair, F32 (&out)[2]) {
  out[0] = as_f32(shift<16>(pair));
  out[1] = as_f32(bit_and(pair, set1(static_cast<int32_t>(0xffff0000))));
}

/// Whether queries and weights are rounded to bf16 too, so that pairs are multiplied by one instruction.
#ifdef SLUICE_WITH_BF16
SLUICE_SIMD bool multiplies_pairs(const ops::Attention::Desc& d) { return d.kv == DType::bf16 && d.rounded; }
#else
SLUICE_SIMD bool multiplies_pairs(const ops::Attention::Desc&) { return false; }
#endif
// Generic in V: an instruction set without dot_bf16 must not need its name.
template <typename V>
SLUICE_SIMD F32 dot_pair(F32 sum, V pair, const float* x) {
  return dot_bf16(sum, pair, splat_bytes(x));
}

/// Positions of a block's queries and of the segment, and where their pages are.
struct SegmentView {
  const AttentionCall& call;
  const QueryBlock& block;
  int64_t start;       // position of the segment's first token
  int64_t begin, end;  // tokens of the segment, counted from its start, that any row sees

  SLUICE_SIMD int64_t position(const QueryBlock& b, int64_t row) { return b.first_position + row / b.heads; }
  /// First token that a row sees, counted from the start of the segment; may be negative.
  int64_t first(int64_t row) const {
    return call.d.window > 0 ? position(block, row) - call.d.window + 1 - start : -start;
  }
  /// One past the last.
  int64_t last(int64_t row) const { return position(block, row) + 1 - start; }
  int64_t page(int64_t token) const {
    const ops::PageTables& tables = call.a.cache.tables;
    return tables.pages[block.table * tables.stride + (start + token) / call.d.page_tokens];
  }
  /// Which stretch of the cache, counted in heads of pages, holds the block's KV head of a token.
  int64_t head(int64_t token) const { return page(token) * call.d.kv_heads + block.kv_head; }
};

/// kv_head_bytes() of a type known at compile time.
template <DType D>
SLUICE_SIMD int64_t head_bytes(int64_t d, int64_t page_tokens) {
  return page_tokens * (d * kElementBytes<D> + (kHasScales<D> ? 4 : 0));
}
/// Where the scale of the token in `slot` lies, if the type has scales.
template <DType D>
SLUICE_SIMD const std::byte* scale_of(const std::byte* head, int64_t d, int64_t page_tokens, int64_t slot) {
  return head + d * page_tokens * kElementBytes<D> + slot * 4;
}

/// Scores of V vectors of tokens, all in one page, for R rows. `keys` and, where the type has them, `scales`
/// are those of the first token.
template <DType D, int R, int V>
SLUICE_SIMD void score_vectors(const std::byte* keys, const std::byte* scales, int64_t page_tokens,
                               int64_t d_qk, const float* queries, float* scores) {
  F32 sum[V][R];
  for (int v = 0; v < V; ++v) {
    for (int r = 0; r < R; ++r) sum[v][r] = zero();
  }
  for (int64_t i = 0; i < d_qk; ++i, keys += page_tokens * kElementBytes<D>, queries += R) {
    for (int v = 0; v < V; ++v) {
      const F32 k = load_kv<D>(keys + v * kLanes * kElementBytes<D>);
      for (int r = 0; r < R; ++r) sum[v][r] = fma(set1(queries[r]), k, sum[v][r]);
    }
  }
  for (int v = 0; v < V; ++v) {
    F32 scale = set1(1.0f);
    if constexpr (kHasScales<D>) scale = load(reinterpret_cast<const float*>(scales) + v * kLanes);
    for (int r = 0; r < R; ++r)
      store(scores + r * kScoreStride + v * kLanes, kHasScales<D> ? mul(sum[v][r], scale) : sum[v][r]);
  }
}

/// The same of pairs of bf16; `Dot`: queries are pairs, too.
template <bool Dot, int R, int V>
SLUICE_SIMD void score_pairs(const std::byte* keys, int64_t slot, int64_t page_tokens, int64_t d_qk,
                             const float* queries, float* scores) {
  F32 sum[V][R];
  for (int v = 0; v < V; ++v) {
    for (int r = 0; r < R; ++r) sum[v][r] = zero();
  }
  const std::byte* pairs = keys + slot * 4;
  for (int64_t i = 0; i + 1 < d_qk; i += 2, pairs += page_tokens * 4, queries += Dot ? R : 2 * R) {
    for (int v = 0; v < V; ++v) {
      const I32 pair = load_bytes(pairs + v * kLanes * 4);
      if constexpr (Dot) {
        unroll<R>([&](auto row) {
          constexpr int r = decltype(row)::value;
          sum[v][r] = dot_pair(sum[v][r], pair, queries + r);
        });
      } else {
        F32 k[2];
        unpair(pair, k);
        for (int r = 0; r < R; ++r) sum[v][r] = fma(set1(queries[r]), k[0], sum[v][r]);
        for (int r = 0; r < R; ++r) sum[v][r] = fma(set1(queries[R + r]), k[1], sum[v][r]);
      }
    }
  }
  if (d_qk % 2 == 1) {
    const std::byte* last = keys + ((d_qk - 1) * page_tokens + slot) * 2;
    for (int v = 0; v < V; ++v) {
      const F32 k = load_bf16(last + v * kLanes * 2);
      for (int r = 0; r < R; ++r) sum[v][r] = fma(set1(queries[r]), k, sum[v][r]);
    }
  }
  for (int v = 0; v < V; ++v) {
    for (int r = 0; r < R; ++r) store(scores + r * kScoreStride + v * kLanes, sum[v][r]);
  }
}

template <DType D, bool Dot>
SLUICE_SIMD void score(const SegmentView& s, const float* queries, float* scores) {
  const ops::Attention::Desc& d = s.call.d;
  for (int64_t t = s.begin / kLanes * kLanes; t < s.end;) {
    const int64_t slot = t % d.page_tokens;
    const std::byte* head = s.call.a.cache.keys + s.head(t) * head_bytes<D>(d.d_qk, d.page_tokens);
    const std::byte* keys = head + slot * kElementBytes<D>;
    const std::byte* scales = scale_of<D>(head, d.d_qk, d.page_tokens, slot);
    const bool two = slot + 2 * kLanes <= d.page_tokens && t + kLanes < s.end;
    for_each_group(s.block.rows(), [&](auto group, int64_t first) {
      constexpr int R = decltype(group)::value;
      const float* q = queries + first * d.d_qk;
      float* out = scores + first * kScoreStride + t;
      if constexpr (D == DType::bf16) {
        if (two) {
          score_pairs<Dot, R, 2>(head, slot, d.page_tokens, d.d_qk, q, out);
        } else {
          score_pairs<Dot, R, 1>(head, slot, d.page_tokens, d.d_qk, q, out);
        }
      } else if (two) {
        score_vectors<D, R, 2>(keys, scales, d.page_tokens, d.d_qk, q, out);
      } else {
        score_vectors<D, R, 1>(keys, scales, d.page_tokens, d.d_qk, q, out);
      }
    });
    t += two ? 2 * kLanes : kLanes;
  }
}

/// Scores of one row to exponentials relative to their largest; tokens that it does not see get 0.
SLUICE_SIMD void softmax_row(const SegmentView& s, int64_t row, float* scores, const Partial& out) {
  const ops::Attention::Desc& d = s.call.d;
  const int64_t first = s.first(row), last = s.last(row);
  const int64_t begin = s.begin / kLanes * kLanes;
  const float slope = d.alibi ? s.call.a.alibi_slopes[s.block.first_head + row % s.block.heads] : 0.0f;
  alignas(64) float lane_index[kLanes];
  for (int i = 0; i < kLanes; ++i) lane_index[i] = static_cast<float>(i);

  F32 top = set1(kNothing);
  for (int64_t t = begin; t < s.end; t += kLanes) {
    F32 v = mul(load(scores + t), set1(d.scale));
    if (d.softcap > 0) v = mul(set1(d.softcap), tanh(div(v, set1(d.softcap))));
    if (d.alibi) {
      const F32 distance = sub(set1(static_cast<float>(last - 1 - t)), load(lane_index));
      v = sub(v, mul(set1(slope), distance));
    }
    v = keep_range(v, first - t, last - t, set1(kNothing));
    store(scores + t, v);
    top = max(top, v);
  }
  const float largest = reduce_max(top);
  out.top[row] = largest;
  F32 total = zero();
  for (int64_t t = begin; t < s.end; t += kLanes) {
    F32 p = exp(sub(load(scores + t), set1(largest)));
    p = keep_range(p, first - t, last - t, zero());  // also where nothing is seen and `largest` is -infinity
    store(scores + t, p);
    total = add(total, p);
  }
  out.total[row] = reduce_add(total);
}

/// sum += the values of tokens [begin, end), weighted, for R rows that see all of them: C vectors of
/// dimensions from `column` on, the last with `lanes` of them.
template <DType D, int R, int C, bool Whole>
SLUICE_SIMD void weigh_columns(const SegmentView& s, int64_t begin, int64_t end, int64_t column,
                               int64_t lanes, const float* weights, float* sum) {
  const ops::Attention::Desc& d = s.call.d;
  const int64_t token_bytes = d.d_v * kElementBytes<D>;
  F32 acc[C][R];
  unroll<C * R>([&](auto index) {
    constexpr int c = decltype(index)::value / R, r = decltype(index)::value % R;
    const float* from = sum + r * d.d_v + c * kLanes;
    acc[c][r] = Whole ? load(from) : load_first(from, lanes);
  });
  for (int64_t t = begin; t < end;) {
    const int64_t slot = t % d.page_tokens;
    const int64_t page_end = smaller(t - slot + d.page_tokens, end);
    const std::byte* v = s.call.a.cache.values + s.head(t) * head_bytes<D>(d.d_v, d.page_tokens) +
                         slot * token_bytes + column * kElementBytes<D>;
    for (; t < page_end; ++t, v += token_bytes) {
      F32 value[C];
      for (int c = 0; c < C; ++c)
        value[c] = Whole ? load_kv<D>(v + c * kLanes * kElementBytes<D>) : load_kv_first<D>(v, lanes);
      unroll<R>([&](auto row) {
        constexpr int r = decltype(row)::value;
        const F32 weight = set1(weights[r * kScoreStride + t]);
        for (int c = 0; c < C; ++c) acc[c][r] = fma(weight, value[c], acc[c][r]);
      });
    }
  }
  unroll<C * R>([&](auto index) {
    constexpr int c = decltype(index)::value / R, r = decltype(index)::value % R;
    store_first(sum + r * d.d_v + c * kLanes, acc[c][r], Whole ? kLanes : lanes);
  });
}

/// The same of pairs of bf16. `Dot`: weights are pairs, too. Where only one of a pair is seen, the other
/// counts as 0.
template <bool Dot, int R, int C, bool Whole>
SLUICE_SIMD void weigh_pairs(const SegmentView& s, int64_t begin, int64_t end, int64_t column, int64_t lanes,
                             const float* weights, float* sum) {
  const ops::Attention::Desc& d = s.call.d;
  F32 acc[C][R];
  unroll<C * R>([&](auto index) {
    constexpr int c = decltype(index)::value / R, r = decltype(index)::value % R;
    const float* from = sum + r * d.d_v + c * kLanes;
    acc[c][r] = Whole ? load(from) : load_first(from, lanes);
  });
  for (int64_t t = begin / 2 * 2; t < end;) {
    const int64_t slot = t % d.page_tokens;
    const int64_t page_end = smaller(t - slot + d.page_tokens, end);
    const std::byte* v = s.call.a.cache.values + s.head(t) * head_bytes<DType::bf16>(d.d_v, d.page_tokens) +
                         (slot / 2 * d.d_v + column) * 4;
    for (; t < page_end; t += 2, v += d.d_v * 4) {
      uint32_t seen = 0xffffffff;
      if (t < begin) seen &= 0xffff0000;
      if (t + 1 >= end) seen &= 0x0000ffff;
      I32 pair[C];
      for (int c = 0; c < C; ++c) {
        pair[c] = Whole ? load_bytes(v + c * kLanes * 4)
                        : as_i32(load_first(reinterpret_cast<const float*>(v), lanes));
        pair[c] = bit_and(pair[c], set1(static_cast<int32_t>(seen)));
      }
      if constexpr (Dot) {
        unroll<R>([&](auto row) {
          constexpr int r = decltype(row)::value;
          for (int c = 0; c < C; ++c)
            acc[c][r] = dot_pair(acc[c][r], pair[c], weights + r * kScoreStride + t / 2);
        });
      } else {
        F32 value[C][2];
        for (int c = 0; c < C; ++c) unpair(pair[c], value[c]);
        unroll<R>([&](auto row) {
          constexpr int r = decltype(row)::value;
          for (int j = 0; j < 2; ++j) {
            if (t + j < begin || t + j >= end) continue;
            const F32 weight = set1(weights[r * kScoreStride + t + j]);
            for (int c = 0; c < C; ++c) acc[c][r] = fma(weight, value[c][j], acc[c][r]);
          }
        });
      }
    }
  }
  unroll<C * R>([&](auto index) {
    constexpr int c = decltype(index)::value / R, r = decltype(index)::value % R;
    store_first(sum + r * d.d_v + c * kLanes, acc[c][r], Whole ? kLanes : lanes);
  });
}

/// The same for all dimensions.
template <DType D, bool Dot, int R>
SLUICE_SIMD void weigh_tokens(const SegmentView& s, int64_t begin, int64_t end, const float* weights,
                              float* sum) {
  constexpr int C = R <= 4 && kMaxPanel > 4 ? 4 : 2;
  const int64_t d_v = s.call.d.d_v;
  int64_t column = 0;
  for (; column + C * kLanes <= d_v; column += C * kLanes) {
    if constexpr (D == DType::bf16) {
      weigh_pairs<Dot, R, C, true>(s, begin, end, column, kLanes, weights, sum + column);
    } else {
      weigh_columns<D, R, C, true>(s, begin, end, column, kLanes, weights, sum + column);
    }
  }
  for (; column < d_v; column += kLanes) {
    const int64_t lanes = smaller(d_v - column, kLanes);
    if constexpr (D == DType::bf16) {
      weigh_pairs<Dot, R, 1, false>(s, begin, end, column, lanes, weights, sum + column);
    } else {
      weigh_columns<D, R, 1, false>(s, begin, end, column, lanes, weights, sum + column);
    }
  }
}

/// Each row takes the tokens that it sees in rising order; those that all rows of a group see, together. A
/// value is not even multiplied by the 0 that a row which does not see it has as its weight: it may be
/// infinite. A pair of tokens is not torn apart.
template <DType D, bool Dot>
SLUICE_SIMD void weigh_values(const SegmentView& s, const float* weights, const Partial& out) {
  const int64_t d_v = s.call.d.d_v;
  for_each_group(s.block.rows(), [&](auto group, int64_t first) {
    constexpr int R = decltype(group)::value;
    const float* w = weights + first * kScoreStride;
    float* sum = out.sum + first * d_v;
    for (int64_t i = 0; i < R * d_v; ++i) sum[i] = 0;
    constexpr int64_t kTogether = D == DType::bf16 ? 2 : 1;
    const int64_t common_begin =
        (larger(s.first(first + R - 1), s.begin) + kTogether - 1) / kTogether * kTogether;
    const int64_t common_end = larger(smaller(s.last(first), s.end) / kTogether * kTogether, common_begin);
    for (int64_t r = 0; r < R; ++r) {
      const int64_t begin = larger(s.first(first + r), s.begin);
      const int64_t end = smaller(smaller(s.last(first + r), s.end), common_begin);
      if (begin < end) weigh_tokens<D, Dot, 1>(s, begin, end, w + r * kScoreStride, sum + r * d_v);
    }
    if (common_begin < common_end) weigh_tokens<D, Dot, R>(s, common_begin, common_end, w, sum);
    for (int64_t r = 0; r < R; ++r) {
      const int64_t begin = larger(s.first(first + r), common_end);
      const int64_t end = smaller(s.last(first + r), s.end);
      if (begin < end) weigh_tokens<D, Dot, 1>(s, begin, end, w + r * kScoreStride, sum + r * d_v);
    }
  });
}

/// The weights of all rows times the scales of the values.
template <DType D>
SLUICE_SIMD void scale_weights(const SegmentView& s, float* weights) {
  const ops::Attention::Desc& d = s.call.d;
  for (int64_t t = s.begin / kLanes * kLanes; t < s.end; t += kLanes) {
    const std::byte* head = s.call.a.cache.values + s.head(t) * head_bytes<D>(d.d_v, d.page_tokens);
    const F32 scale =
        load(reinterpret_cast<const float*>(scale_of<D>(head, d.d_v, d.page_tokens, t % d.page_tokens)));
    for (int64_t row = 0; row < s.block.rows(); ++row) {
      float* w = weights + row * kScoreStride + t;
      store(w, mul(load(w), scale));
    }
  }
}

/// The weights of all rows as pairs of bf16, each row's from its start on.
SLUICE_SIMD void round_weights(const SegmentView& s, float* weights) {
  for (int64_t row = 0; row < s.block.rows(); ++row) {
    float* w = weights + row * kScoreStride;
    auto* pairs = reinterpret_cast<std::byte*>(w);
    for (int64_t t = s.begin / kLanes * kLanes; t < s.end; t += kLanes)
      store_bf16(pairs + t * 2, load(w + t));
  }
}

template <DType D, bool Dot = false>
static void attend_as(const SegmentView& s, const float* queries, float* scores, const Partial& out) {
  score<D, Dot>(s, queries, scores);
  for (int64_t row = 0; row < s.block.rows(); ++row) softmax_row(s, row, scores + row * kScoreStride, out);
  if constexpr (kHasScales<D>) scale_weights<D>(s, scores);
  if constexpr (Dot) round_weights(s, scores);
  weigh_values<D, Dot>(s, scores, out);
}

SLUICE_SIMD SegmentView segment_view(const AttentionCall& call, const QueryBlock& block, int64_t segment) {
  SegmentView s{call, block, segment * kSegment, 0, 0};
  const int64_t first = s.first(0), last = s.last(block.rows() - 1);
  s.begin = first > 0 ? first : 0;
  s.end = last < kSegment ? last : kSegment;
  return s;
}

[[maybe_unused]] static void attend(const AttentionCall& call, const QueryBlock& block, int64_t segment,
                                    const float* queries, float* scores, const Partial& out) {
  const SegmentView s = segment_view(call, block, segment);
  if (call.d.kv == DType::f16) return attend_as<DType::f16>(s, queries, scores, out);
#ifdef SLUICE_WITH_BF16
  if (multiplies_pairs(call.d)) return attend_as<DType::bf16, true>(s, queries, scores, out);
#endif
  if (call.d.kv == DType::bf16) return attend_as<DType::bf16>(s, queries, scores, out);
  if (call.d.kv == DType::i8) return attend_as<DType::i8>(s, queries, scores, out);
  attend_as<DType::f32>(s, queries, scores, out);
}

/// A query rounded to bf16, its elements R floats apart; or, as `pairs`, two of them in one.
template <int R>
SLUICE_SIMD void load_rounded(const float* q, int64_t d_qk, bool pairs, float* out) {
  for (int64_t i = 0; i < d_qk; i += kLanes) {
    uint16_t halves[kLanes];
    store_bf16(halves, load_first(q + i, d_qk - i));
    for (int64_t j = 0; j < kLanes && i + j < d_qk; ++j) {
      const int64_t e = i + j;
      if (pairs && (e | 1) < d_qk) {
        __builtin_memcpy(reinterpret_cast<std::byte*>(out + e / 2 * R) + e % 2 * 2, halves + j, 2);
      } else {
        const uint32_t bits = static_cast<uint32_t>(halves[j]) << 16;
        __builtin_memcpy(out + (pairs ? e / 2 : e) * R, &bits, 4);
      }
    }
  }
}

[[maybe_unused]] static void load_queries(const AttentionCall& call, const QueryBlock& block,
                                          float* queries) {
  const int64_t d_qk = call.d.d_qk;
  for_each_group(block.rows(), [&](auto group, int64_t first) {
    constexpr int R = decltype(group)::value;
    float* out = queries + first * d_qk;
    for (int r = 0; r < R; ++r) {
      const int64_t row = first + r;
      const float* q = static_cast<const float*>(call.a.q.data) +
                       (block.first_row + row / block.heads) * call.a.q.stride +
                       (block.first_head + row % block.heads) * d_qk;
      if (call.d.kv == DType::bf16 && call.d.rounded) {
        load_rounded<R>(q, d_qk, multiplies_pairs(call.d), out + r);
        continue;
      }
      for (int64_t i = 0; i < d_qk; ++i) out[i * R + r] = q[i];
    }
  });
}

SLUICE_SIMD float exp_of(float x) {
  float lanes[kLanes];
  store(lanes, exp(set1(x)));
  return lanes[0];
}

static void merge(const ops::Attention::Desc& d, int64_t rows, const Partial& part, const Partial& into) {
  for (int64_t r = 0; r < rows; ++r) {
    if (part.top[r] == kNothing) continue;
    const float top = into.top[r] > part.top[r] ? into.top[r] : part.top[r];
    const float keep = exp_of(into.top[r] - top), take = exp_of(part.top[r] - top);
    into.top[r] = top;
    into.total[r] = into.total[r] * keep + part.total[r] * take;
    float* sum = into.sum + r * d.d_v;
    const float* more = part.sum + r * d.d_v;
    int64_t i = 0;
    for (; i + kLanes <= d.d_v; i += kLanes)
      store(sum + i, fma(load(more + i), set1(take), mul(load(sum + i), set1(keep))));
    if (i < d.d_v) {
      const int64_t n = d.d_v - i;
      store_first(sum + i, fma(load_first(more + i, n), set1(take), mul(load_first(sum + i, n), set1(keep))),
                  n);
    }
  }
}

static void finish(const AttentionCall& call, const QueryBlock& block, const Partial& all) {
  const ops::Attention::Desc& d = call.d;
  for (int64_t row = 0; row < block.rows(); ++row) {
    const int64_t head = block.first_head + row % block.heads;
    float total = all.total[row];
    if (d.sinks) total += exp_of(call.a.sinks[head] - all.top[row]);
    const F32 factor = div(set1(1.0f), set1(total));
    float* out = static_cast<float*>(call.a.out.data) +
                 (block.first_row + row / block.heads) * call.a.out.stride + head * d.d_v;
    const float* sum = all.sum + row * d.d_v;
    int64_t i = 0;
    for (; i + kLanes <= d.d_v; i += kLanes) store(out + i, mul(load(sum + i), factor));
    if (i < d.d_v) store_first(out + i, mul(load_first(sum + i, d.d_v - i), factor), d.d_v - i);
  }
}

}  // namespace sluice::cpu::SLUICE_ISA
