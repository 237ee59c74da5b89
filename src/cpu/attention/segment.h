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
constexpr int64_t kElementBytes = D == DType::f32 ? 4 : 2;

template <DType D>
SLUICE_SIMD F32 load_kv(const std::byte* p) {
  if constexpr (D == DType::f16) return load_f16(p);
  if constexpr (D == DType::bf16) return load_bf16(p);
  if constexpr (D == DType::f32) return load(reinterpret_cast<const float*>(p));
}
template <DType D>
SLUICE_SIMD F32 load_kv_first(const std::byte* p, int64_t n) {
  if constexpr (D == DType::f16) return load_f16_first(p, n);
  if constexpr (D == DType::bf16) return load_bf16_first(p, n);
  if constexpr (D == DType::f32) return load_first(reinterpret_cast<const float*>(p), n);
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
};

/// Scores of vectors [from, from + V * kLanes) of tokens, all in one page, for R rows.
template <DType D, int R, int V>
SLUICE_SIMD void score_vectors(const std::byte* keys, int64_t page_tokens, int64_t d_qk, const float* queries,
                               float* scores) {
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
    for (int r = 0; r < R; ++r) store(scores + r * kScoreStride + v * kLanes, sum[v][r]);
  }
}

template <DType D>
SLUICE_SIMD void score(const SegmentView& s, const float* queries, float* scores) {
  const ops::Attention::Desc& d = s.call.d;
  const int64_t head_bytes = d.d_qk * d.page_tokens * kElementBytes<D>;
  for (int64_t t = s.begin / kLanes * kLanes; t < s.end;) {
    const int64_t slot = t % d.page_tokens;
    const std::byte* keys = s.call.a.cache.keys + (s.page(t) * d.kv_heads + s.block.kv_head) * head_bytes +
                            slot * kElementBytes<D>;
    const bool two = slot + 2 * kLanes <= d.page_tokens && t + kLanes < s.end;
    for_each_group(s.block.rows(), [&](auto group, int64_t first) {
      constexpr int R = decltype(group)::value;
      const float* q = queries + first * d.d_qk;
      float* out = scores + first * kScoreStride + t;
      if (two) {
        score_vectors<D, R, 2>(keys, d.page_tokens, d.d_qk, q, out);
      } else {
        score_vectors<D, R, 1>(keys, d.page_tokens, d.d_qk, q, out);
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
  const int64_t token_bytes = d.d_v * kElementBytes<D>, head_bytes = d.page_tokens * token_bytes;
  F32 acc[C][R];
  unroll<C * R>([&](auto index) {
    constexpr int c = decltype(index)::value / R, r = decltype(index)::value % R;
    const float* from = sum + r * d.d_v + c * kLanes;
    acc[c][r] = Whole ? load(from) : load_first(from, lanes);
  });
  for (int64_t t = begin; t < end;) {
    const int64_t slot = t % d.page_tokens;
    const int64_t page_end = smaller(t - slot + d.page_tokens, end);
    const std::byte* v = s.call.a.cache.values + (s.page(t) * d.kv_heads + s.block.kv_head) * head_bytes +
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

/// The same for all dimensions.
template <DType D, int R>
SLUICE_SIMD void weigh_tokens(const SegmentView& s, int64_t begin, int64_t end, const float* weights,
                              float* sum) {
  constexpr int C = R <= 4 && kMaxPanel > 4 ? 4 : 2;
  const int64_t d_v = s.call.d.d_v;
  int64_t column = 0;
  for (; column + C * kLanes <= d_v; column += C * kLanes)
    weigh_columns<D, R, C, true>(s, begin, end, column, kLanes, weights, sum + column);
  for (; column < d_v; column += kLanes)
    weigh_columns<D, R, 1, false>(s, begin, end, column, smaller(d_v - column, kLanes), weights,
                                  sum + column);
}

/// Each row takes the tokens that it sees in rising order; those that all rows of a group see, together. A
/// value is not even multiplied by the 0 that a row which does not see it has as its weight: it may be
/// infinite.
template <DType D>
SLUICE_SIMD void weigh_values(const SegmentView& s, const float* weights, const Partial& out) {
  const int64_t d_v = s.call.d.d_v;
  for_each_group(s.block.rows(), [&](auto group, int64_t first) {
    constexpr int R = decltype(group)::value;
    const float* w = weights + first * kScoreStride;
    float* sum = out.sum + first * d_v;
    for (int64_t i = 0; i < R * d_v; ++i) sum[i] = 0;
    const int64_t common_begin = larger(s.first(first + R - 1), s.begin);
    const int64_t common_end = larger(smaller(s.last(first), s.end), common_begin);
    for (int64_t r = 0; r < R; ++r) {
      const int64_t begin = larger(s.first(first + r), s.begin);
      const int64_t end = smaller(smaller(s.last(first + r), s.end), common_begin);
      if (begin < end) weigh_tokens<D, 1>(s, begin, end, w + r * kScoreStride, sum + r * d_v);
    }
    if (common_begin < common_end) weigh_tokens<D, R>(s, common_begin, common_end, w, sum);
    for (int64_t r = 0; r < R; ++r) {
      const int64_t begin = larger(s.first(first + r), common_end);
      const int64_t end = smaller(s.last(first + r), s.end);
      if (begin < end) weigh_tokens<D, 1>(s, begin, end, w + r * kScoreStride, sum + r * d_v);
    }
  });
}

template <DType D>
static void attend_as(const SegmentView& s, const float* queries, float* scores, const Partial& out) {
  score<D>(s, queries, scores);
  for (int64_t row = 0; row < s.block.rows(); ++row) softmax_row(s, row, scores + row * kScoreStride, out);
  weigh_values<D>(s, scores, out);
}

static void attend(const AttentionCall& call, const QueryBlock& block, int64_t segment, const float* queries,
                   float* scores, const Partial& out) {
  SegmentView s{call, block, segment * kSegment, 0, 0};
  const int64_t first = s.first(0), last = s.last(block.rows() - 1);
  s.begin = first > 0 ? first : 0;
  s.end = last < kSegment ? last : kSegment;
  if (call.d.kv == DType::f16) return attend_as<DType::f16>(s, queries, scores, out);
  if (call.d.kv == DType::bf16) return attend_as<DType::bf16>(s, queries, scores, out);
  attend_as<DType::f32>(s, queries, scores, out);
}

static void load_queries(const AttentionCall& call, const QueryBlock& block, float* queries) {
  const int64_t d_qk = call.d.d_qk;
  for_each_group(block.rows(), [&](auto group, int64_t first) {
    constexpr int R = decltype(group)::value;
    float* out = queries + first * d_qk;
    for (int r = 0; r < R; ++r) {
      const int64_t row = first + r;
      const float* q = static_cast<const float*>(call.a.q.data) +
                       (block.first_row + row / block.heads) * call.a.q.stride +
                       (block.first_head + row % block.heads) * d_qk;
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
