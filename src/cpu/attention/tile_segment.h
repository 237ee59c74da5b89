// Attention of a block of queries to a segment of positions on tile registers (Intel AMX): keys and values in
// pairs of bf16, which pages hold as the registers take them. Included once per instruction set, after its
// simd header. The tile instructions are a template parameter, as in linear/tile_product.h.
//
// Scores are C (16 rows, 16 tokens) += Q (16, 32 dimensions) * K (32, 16); outputs C (16 rows, 16 dimensions)
// += P (16, 32 tokens) * V (32, 16), P rounded to bf16. An output's sum has one order whatever the block:
// rows share nothing, and tokens that a row does not see have weight 0.
#pragma once

#include "cpu/attention/segment.h"
#include "cpu/simd/tiles.h"

namespace sluice::cpu::SLUICE_ISA {

constexpr int64_t kTilePairs = 32;  // elements of a row of a tile
constexpr int64_t kScoreBytes = kScoreStride * 4;

/// Sixteen rows, twice at most.
SLUICE_SIMD bool two_panels(const QueryBlock& block) { return block.rows() > kTileEdge; }

/// (panels, d_qk / 32) tiles of bf16, zeros beyond the last row.
static void load_query_tiles(const AttentionCall& call, const QueryBlock& block, float* queries) {
  const int64_t d_qk = call.d.d_qk, columns = d_qk / kTilePairs;
  auto* out = reinterpret_cast<std::byte*>(queries);
  for (int64_t row = 0; row < (two_panels(block) ? 2 : 1) * kTileEdge; ++row) {
    std::byte* to = out + row / kTileEdge * columns * kTileBytes + row % kTileEdge * 64;
    const float* q = static_cast<const float*>(call.a.q.data) +
                     (block.first_row + row / block.heads) * call.a.q.stride +
                     (block.first_head + row % block.heads) * d_qk;
    for (int64_t i = 0; i < d_qk; i += kLanes)
      store_bf16(to + i / kTilePairs * kTileBytes + i % kTilePairs * 2,
                 row < block.rows() ? load(q + i) : zero());
  }
}

template <typename Tiles, bool Two>
static void score_tiles(const SegmentView& s, const float* queries, float* scores) {
  const ops::Attention::Desc& d = s.call.d;
  const int64_t columns = d.d_qk / kTilePairs;
  const auto* q = reinterpret_cast<const std::byte*>(queries);
  for (int64_t t = s.begin / kTileEdge * kTileEdge; t < s.end; t += kTileEdge) {
    const std::byte* keys = s.call.a.cache.keys + s.head(t) * head_bytes<DType::bf16>(d.d_qk, d.page_tokens) +
                            t % d.page_tokens * 4;
    Tiles::template zero<0>();
    if constexpr (Two) Tiles::template zero<1>();
    for (int64_t c = 0; c < columns; ++c) {
      Tiles::template load<6>(keys + c * kTileEdge * d.page_tokens * 4, d.page_tokens * 4);
      Tiles::template load<4>(q + c * kTileBytes, 64);
      Tiles::template dot_bf16<0, 4, 6>();
      if constexpr (Two) {
        Tiles::template load<5>(q + (columns + c) * kTileBytes, 64);
        Tiles::template dot_bf16<1, 5, 6>();
      }
    }
    Tiles::template store<0>(scores + t, kScoreBytes);
    if constexpr (Two) Tiles::template store<1>(scores + kTileEdge * kScoreStride + t, kScoreBytes);
  }
}

/// Weights as bf16, each row's from its start on, for whole tiles of tokens: zeros where there are no scores.
static void round_weight_tiles(const SegmentView& s, float* weights) {
  const int64_t scored = s.begin / kLanes * kLanes;
  const int64_t begin = s.begin / kTilePairs * kTilePairs;
  const int64_t end = (s.end + kTilePairs - 1) / kTilePairs * kTilePairs;
  for (int64_t row = 0; row < s.block.rows(); ++row) {
    float* w = weights + row * kScoreStride;
    auto* to = reinterpret_cast<std::byte*>(w);
    for (int64_t t = begin; t < end; t += kLanes)
      store_bf16(to + t * 2, t >= scored && t < s.end ? load(w + t) : zero());
  }
}

/// 32 tokens by 16 dimensions of values, those that nobody sees as 0.
SLUICE_SIMD void copy_seen(const SegmentView& s, const std::byte* values, int64_t t, std::byte* out) {
  for (int64_t pair = 0; pair < kTileEdge; ++pair) {
    const int64_t token = t + 2 * pair;
    uint32_t seen = 0;
    if (token >= s.begin && token < s.end) seen |= 0x0000ffff;
    if (token + 1 >= s.begin && token + 1 < s.end) seen |= 0xffff0000;
    for (int64_t i = 0; i < kTileEdge; i += kLanes)
      store_bytes(out + pair * 64 + i * 4, bit_and(load_bytes(values + pair * s.call.d.d_v * 4 + i * 4),
                                                   set1(static_cast<int32_t>(seen))));
  }
}

template <typename Tiles, bool Two>
static void weigh_tiles(const SegmentView& s, const float* weights, const Partial& out) {
  const ops::Attention::Desc& d = s.call.d;
  const auto* p = reinterpret_cast<const std::byte*>(weights);
  alignas(64) std::byte edge[2][kTileBytes];
  for (int64_t column = 0; column < d.d_v; column += 2 * kTileEdge) {
    unroll<Two ? 4 : 2>([](auto c) { Tiles::template zero<decltype(c)::value>(); });
    for (int64_t t = s.begin / kTilePairs * kTilePairs; t < s.end; t += kTilePairs) {
      const std::byte* v = s.call.a.cache.values + s.head(t) * head_bytes<DType::bf16>(d.d_v, d.page_tokens) +
                           (t % d.page_tokens / 2 * d.d_v + column) * 4;
      const bool whole = t >= s.begin && t + kTilePairs <= s.end;
      unroll<2>([&](auto half) {
        constexpr int h = decltype(half)::value;
        const std::byte* from = v + h * kTileEdge * 4;
        if (!whole) copy_seen(s, from, t, edge[h]);
        Tiles::template load<6 + h>(whole ? from : edge[h], whole ? d.d_v * 4 : 64);
      });
      Tiles::template load<4>(p + t * 2, kScoreBytes);
      Tiles::template dot_bf16<0, 4, 6>();
      Tiles::template dot_bf16<1, 4, 7>();
      if constexpr (Two) {
        Tiles::template load<5>(p + kTileEdge * kScoreBytes + t * 2, kScoreBytes);
        Tiles::template dot_bf16<2, 5, 6>();
        Tiles::template dot_bf16<3, 5, 7>();
      }
    }
    unroll<Two ? 4 : 2>([&](auto c) {
      constexpr int i = decltype(c)::value;
      Tiles::template store<i>(out.sum + i / 2 * kTileEdge * d.d_v + column + i % 2 * kTileEdge, d.d_v * 4);
    });
  }
}

template <typename Tiles, bool Two>
static void attend_tiles_of(const SegmentView& s, const float* queries, float* scores, const Partial& out) {
  Tiles::configure(TileConfig(64));
  score_tiles<Tiles, Two>(s, queries, scores);
  for (int64_t row = 0; row < s.block.rows(); ++row) softmax_row(s, row, scores + row * kScoreStride, out);
  round_weight_tiles(s, scores);
  weigh_tiles<Tiles, Two>(s, scores, out);
  Tiles::release();
}

template <typename Tiles>
static void attend_tiles(const AttentionCall& call, const QueryBlock& block, int64_t segment,
                         const float* queries, float* scores, const Partial& out) {
  const SegmentView s = segment_view(call, block, segment);
  if (two_panels(block)) return attend_tiles_of<Tiles, true>(s, queries, scores, out);
  attend_tiles_of<Tiles, false>(s, queries, scores, out);
}

}  // namespace sluice::cpu::SLUICE_ISA
