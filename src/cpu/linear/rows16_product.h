// Products with weights in the rows16 layout. Included once per instruction set, after its simd header.
//
// A vector of outputs is summed in registers over all of k for some rows of x at once; weights are taken
// apart in registers as they stream by. For one output the operations and their order depend on nothing but
// the weights' type: not on the number of rows, nor on how they fall into panels.
#pragma once

#include "cpu/linear/quantize.h"

namespace sluice::cpu::SLUICE_ISA {

// Vectors of a tile's outputs that a product with floats sums side by side: where they are short, one alone
// would wait for each sum.
constexpr int kTogether = kParts < 2 ? 1 : 2;

/// Rows of the next panel, `Most` or a power of two, when `left` rows are to come.
template <int Most>
SLUICE_SIMD int64_t panel_rows(int64_t left) {
  return left >= Most ? Most : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/// f(Index<R>, first row) for each panel of rows [begin, end).
template <int Most, typename F>
SLUICE_SIMD void for_each_panel(int64_t begin, int64_t end, const F& f) {
  for (int64_t row = begin; row < end;) {
    const int64_t rows = panel_rows<Most>(end - row);
    if (rows == Most) {
      f(Index<Most>{}, row);
    } else if (rows == 8) {
      if constexpr (Most > 8) f(Index<8>{}, row);
    } else if (rows == 4) {
      f(Index<4>{}, row);
    } else if (rows == 2) {
      f(Index<2>{}, row);
    } else {
      f(Index<1>{}, row);
    }
    row += rows;
  }
}

SLUICE_SIMD const float* source_row(const PrepareCall& c, int64_t row) {
  return c.x + (c.x_rows != nullptr ? c.x_rows[row] : row) * c.x_stride;
}

/// A panel of R rows as floats, (k, R); `Round` makes one of an element.
template <float (*Round)(float)>
static void prepare_floats(const PrepareCall& c, int64_t begin, int64_t end) {
  for_each_panel<kFloatPanel>(begin, end, [&](auto panel, int64_t first) {
    constexpr int R = decltype(panel)::value;
    float* out = reinterpret_cast<float*>(c.prepared) + first * c.k;
    for (int r = 0; r < R; ++r) {
      const float* x = source_row(c, first + r);
      for (int64_t k = 0; k < c.k; ++k) out[k * R + r] = Round(x[k]);
    }
  });
}
SLUICE_SIMD float keep(float x) { return x; }
SLUICE_SIMD float round_to_bf16(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  bits = (nan ? bits | 0x400000 : bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

/// A panel of R rows as (k / 32, R) ActivationBlocks, then its outliers, chunk by chunk.
template <CodedFormat F>
static void prepare_int8(const PrepareCall& c, int64_t begin, int64_t end) {
  for_each_panel<kMaxPanel>(begin, end, [&](auto panel, int64_t first) {
    constexpr int R = decltype(panel)::value;
    constexpr int64_t kStride = R * sizeof(ActivationBlock) / sizeof(float);
    const int64_t chunks = c.k / kChunk;
    auto* out = reinterpret_cast<ActivationBlock*>(c.prepared + first * int8_row_bytes(c.k));
    float limit[R];
    for (int r = 0; r < R; ++r) {
      const float* x = source_row(c, first + r);
      for (int64_t b = 0; b < chunks; ++b) out[b * R + r].d = largest(x + b * kChunk);
      limit[r] = outlier_limit(&out[r].d, kStride, chunks);
    }
    auto* const outliers = reinterpret_cast<Outlier*>(out + R * chunks);
    Outlier* next = outliers;
    for (int64_t b = 0; b < chunks; ++b) {
      for (int r = 0; r < R; ++r) {
        ActivationBlock& block = out[b * R + r];
        quantize<F>(source_row(c, first + r) + b * kChunk, block.d, limit[r], r, &block, next);
      }
      out[b * R].outliers_end = static_cast<int32_t>(next - outliers);
    }
  });
}

/// Quads whose pairs of products add up in 16 bits: the codes are small, |x| is at most 127.
constexpr int quads_in_pairs(const CodedFormat& f) {
  return is_wide(f) ? 1 : 32767 / (2 * 127 * ((1 << (f.low_bits + f.high_bits)) - 1));
}

/// sum + the products of `Quads` quads with the x beside them. Generic in V: an instruction set must not need
/// the names that it lacks.
template <CodedFormat F, int Quads, typename V>
SLUICE_SIMD V dot(V sum, const V* quad, const int8_t* x) {
  if constexpr (kPairProducts && !quads_signed(F)) {
    constexpr int kAtOnce = quads_in_pairs(F) < Quads ? quads_in_pairs(F) : Quads;
    static_assert(Quads % kAtOnce == 0);
    unroll<Quads / kAtOnce>([&](auto index) {
      constexpr int first = decltype(index)::value * kAtOnce;
      V pairs = pair_products(quad[first], splat_bytes(x + 4 * first));
      unroll<kAtOnce - 1>([&](auto next) {
        constexpr int i = first + 1 + decltype(next)::value;
        pairs = add_pairs(pairs, pair_products(quad[i], splat_bytes(x + 4 * i)));
      });
      sum = add_widened(sum, pairs);
    });
  } else {
    unroll<Quads>([&](auto index) {
      constexpr int i = decltype(index)::value;
      if constexpr (quads_signed(F)) {
        sum = dot_signed(sum, quad[i], splat_bytes(x + 4 * i));
      } else {
        sum = dot_unsigned(sum, quad[i], splat_bytes(x + 4 * i));
      }
    });
  }
  return sum;
}

/// sum += the products of a group of a chunk's columns, the `Quads` quads from `First` on, with one scale.
template <CodedFormat F, int First, int Quads>
SLUICE_SIMD void add_group(const I32 (&quad)[kQuads], const ActivationBlock& x, F32 scale, F32 min,
                           F32& sum) {
  constexpr int kHalf = First / 4;
  const I32 none = set1(sums_of(F) == Sums::with_bias ? x.correction[kHalf] : 0);
  const I32 products = dot<F, Quads>(none, quad + First, x.q + 4 * First);
  sum = fma(to_f32(products), mul(scale, set1(x.d)), sum);
  if constexpr (F.has_min()) sum = fma(min, set1(x.d_sum[kHalf]), sum);
}

/// sum[p][r] += the products of `Quads` quads from `First` on, of part + p, with the x of row r beside them:
/// as dot(), but each quad of x is fetched once for all parts, and each quad of codes once for all rows.
template <CodedFormat F, int First, int Quads, int R, typename V>
SLUICE_SIMD void dot_together(const std::byte* chunk, int64_t part, const ActivationBlock* x,
                              V (&sum)[kTogether][R]) {
  constexpr bool kPairs = kPairProducts && !quads_signed(F);
  constexpr int kAtOnce = kPairs && quads_in_pairs(F) < Quads ? quads_in_pairs(F) : Quads;
  unroll<Quads / kAtOnce>([&](auto index) {
    V pairs[kTogether][R];
    unroll<kAtOnce>([&](auto next) {
      constexpr int j = decltype(next)::value;
      constexpr int i = First + decltype(index)::value * kAtOnce + j;
      V w[kTogether];
      unroll<kTogether>([&](auto p) { w[p.value] = code<F, i>(chunk, part + p.value); });
      unroll<R>([&](auto row) {
        constexpr int r = decltype(row)::value;
        const V quad = splat_bytes(x[r].q + 4 * i);
        unroll<kTogether>([&](auto together) {
          constexpr int p = decltype(together)::value;
          if constexpr (kPairs) {
            const V products = pair_products(w[p], quad);
            pairs[p][r] = j == 0 ? products : add_pairs(pairs[p][r], products);
          } else if constexpr (quads_signed(F)) {
            sum[p][r] = dot_signed(sum[p][r], w[p], quad);
          } else {
            sum[p][r] = dot_unsigned(sum[p][r], w[p], quad);
          }
        });
      });
    });
    if constexpr (kPairs) {
      unroll<kTogether * R>([&](auto output) {
        constexpr int p = decltype(output)::value / R, r = decltype(output)::value % R;
        sum[p][r] = add_widened(sum[p][r], pairs[p][r]);
      });
    }
  });
}

/// The same for R rows of x and kTogether vectors of outputs.
template <CodedFormat F, int First, int Quads, int R>
SLUICE_SIMD void add_group(const std::byte* chunk, int64_t part, const ActivationBlock* x,
                           const F32 (&scale)[kTogether], const F32 (&min)[kTogether],
                           F32 (&sum)[kTogether][R]) {
  constexpr int kHalf = First / 4;
  I32 products[kTogether][R];
  unroll<kTogether * R>([&](auto output) {
    constexpr int p = decltype(output)::value / R, r = decltype(output)::value % R;
    products[p][r] = set1(sums_of(F) == Sums::with_bias ? x[r].correction[kHalf] : 0);
  });
  dot_together<F, First, Quads>(chunk, part, x, products);
  unroll<R>([&](auto row) {
    constexpr int r = decltype(row)::value;
    const F32 d = set1(x[r].d);
    unroll<kTogether>([&](auto together) {
      constexpr int p = decltype(together)::value;
      sum[p][r] = fma(to_f32(products[p][r]), mul(scale[p], d), sum[p][r]);
      if constexpr (F.has_min()) sum[p][r] = fma(min[p], set1(x[r].d_sum[kHalf]), sum[p][r]);
    });
  });
}

/// Column `column` (0..3) of a quad as floats, scaled: value() of a column known at run time only.
template <CodedFormat F>
SLUICE_SIMD F32 value_at(I32 quad, int column, F32 scale, F32 min) {
  const I32 byte = shift_right(quad, 8 * column);
  return value<F, 0>(byte, scale, min);
}

/// taken[row] += x * w for the outliers [next, end) of a chunk, whose scales are scale[0] and, for groups of
/// 16, scale[1].
template <CodedFormat F>
SLUICE_SIMD void add_outliers(const Outlier* next, const Outlier* end, const I32 (&quad)[kQuads],
                              const F32* scale, const F32* min, F32 (&taken)[kMaxPanel]) {
  I32 lines[kQuads];
  for (int i = 0; i < kQuads; ++i) lines[i] = quad[i];
  for (; next != end; ++next) {
    const int g = next->column / F.group;
    const F32 w = value_at<F>(lines[next->column / 4], next->column % 4, scale[g], min[g]);
    taken[next->row] = fma(set1(next->x), w, taken[next->row]);
  }
}

// A core that takes weights apart does not fetch far enough ahead by itself.
constexpr int64_t kPrefetchBytes = 4096;

/// Asks for what lies kPrefetchBytes beyond [begin, begin + bytes).
SLUICE_SIMD void prefetch_ahead(const std::byte* begin, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += kLineBytes) __builtin_prefetch(begin + i + kPrefetchBytes);
}

/// sum += the R outputs of the panel for the rows of kTogether parts of a tile.
template <CodedFormat F, int R>
SLUICE_SIMD void multiply_int8(const std::byte* tile, int64_t part, int64_t k, const std::byte* prepared,
                               F32 (&sum)[kTogether][R]) {
  constexpr int kGroups = static_cast<int>(kChunk) / F.group;  // of a chunk
  const auto* x = reinterpret_cast<const ActivationBlock*>(prepared);
  const auto* const outliers = reinterpret_cast<const Outlier*>(x + R * (k / kChunk));
  const Outlier* next = outliers;
  F32 taken[kTogether][kMaxPanel];
  for (auto& rows : taken) {
    for (F32& t : rows) t = zero();
  }
  for (int64_t i = 0; i < k; i += F.elems, tile += F.tile_bytes()) {
    F32 scale[kTogether][F.groups()], min[kTogether][F.groups()];
    unroll<kTogether>([&](auto p) { scales<F>(tile, part + p.value, scale[p.value], min[p.value]); });
    for (int c = 0; c < F.chunks(); ++c, x += R) {
      constexpr int64_t kShare = F.tile_bytes() / F.chunks();
      prefetch_ahead(tile + c * kShare, kShare);
      const std::byte* const chunk = tile + F.chunks_offset() + c * F.chunk_bytes();
      if constexpr (kTogether == 1) {
        I32 quad[kQuads];
        codes<F>(chunk, part, quad);
        unroll<R>([&](auto row) {
          constexpr int r = decltype(row)::value;
          unroll<kGroups>([&](auto group) {
            constexpr int g = decltype(group)::value, kOf = kQuads / kGroups;
            const int at = c * kGroups + g;
            add_group<F, g * kOf, kOf>(quad, x[r], scale[0][at], min[0][at], sum[0][r]);
          });
        });
      } else {
        unroll<kGroups>([&](auto group) {
          constexpr int g = decltype(group)::value, kOf = kQuads / kGroups;
          F32 of_group[kTogether], min_of_group[kTogether];
          for (int p = 0; p < kTogether; ++p) {
            of_group[p] = scale[p][c * kGroups + g];
            min_of_group[p] = min[p][c * kGroups + g];
          }
          add_group<F, g * kOf, kOf>(chunk, part, x, of_group, min_of_group, sum);
        });
      }
      const Outlier* end = outliers + x->outliers_end;
      if (__builtin_expect(next != end, 0)) {
        for (int p = 0; p < kTogether; ++p) {
          I32 quad[kQuads];
          codes<F>(chunk, part + p, quad);
          add_outliers<F>(next, end, quad, scale[p] + c * kGroups, min[p] + c * kGroups, taken[p]);
        }
        next = end;
      }
    }
  }
  for (int p = 0; p < kTogether; ++p) {
    for (int r = 0; r < R; ++r) sum[p][r] = add(sum[p][r], taken[p][r]);
  }
}

/// The rows of `part` of one block as floats, (elems, kLanes), `Stride` vectors apart: exactly what the
/// format defines.
template <CodedFormat F, int Stride = 1>
static void dequantise_block(const std::byte* block, int64_t part, float* out) {
  F32 scale[F.groups()], min[F.groups()];
  scales<F>(block, part, scale, min);
  for (int c = 0; c < F.chunks(); ++c) {
    I32 quad[kQuads];
    codes<F>(block + F.chunks_offset() + c * F.chunk_bytes(), part, quad);
    unroll<kQuads * 4>([&](auto column) {
      constexpr int e = decltype(column)::value;
      const int g = c * static_cast<int>(kChunk) / F.group + e / F.group;
      store(out, value<F, e % 4>(quad[e / 4], scale[g], min[g]));
      out += Stride * kLanes;
    });
  }
}

/// sum (kTogether, R, kLanes) += x (columns, R) of a panel times w (columns, kTogether, kLanes).
template <int R>
static void accumulate(int64_t columns, const float* x, const float* w, float* sum) {
  F32 total[kTogether][R];
  for (int i = 0; i < kTogether * R; ++i) total[i / R][i % R] = load(sum + i * kLanes);
  for (int64_t i = 0; i < columns; ++i, x += R, w += kTogether * kLanes) {
    F32 column[kTogether];
    for (int p = 0; p < kTogether; ++p) column[p] = load(w + p * kLanes);
    unroll<R>([&](auto row) {
      constexpr int r = decltype(row)::value;
      const F32 factor = set1(x[r]);
      for (int p = 0; p < kTogether; ++p) total[p][r] = fma(factor, column[p], total[p][r]);
    });
  }
  for (int i = 0; i < kTogether * R; ++i) store(sum + i * kLanes, total[i / R][i % R]);
}

template <DType D>
constexpr int64_t kPlainBytes = D == DType::f32 ? 4 : 2;

/// Column `column` of the rows of `part` of a tile; its parity must be `Odd`.
template <DType D, bool Odd>
SLUICE_SIMD F32 load_column(const std::byte* tile, int64_t part, int64_t column) {
  if constexpr (D == DType::bf16) {
    const I32 pair = load_bytes(tile + (column - Odd) * kTileRows * 2 + part * kLanes * 4);
    return as_f32(Odd ? bit_and(pair, set1(static_cast<int32_t>(0xffff0000))) : shift<16>(pair));
  }
  const std::byte* p = tile + (column * kTileRows + part * kLanes) * kPlainBytes<D>;
  if constexpr (D == DType::f16) return load_f16(p);
  return load(reinterpret_cast<const float*>(p));
}

/// sum += x (R) of a column times the column.
template <DType D, bool Odd, int R>
SLUICE_SIMD void add_column(const std::byte* tile, int64_t part, int64_t column, const float* x,
                            F32 (&sum)[kTogether][R]) {
  F32 w[kTogether];
  for (int p = 0; p < kTogether; ++p) w[p] = load_column<D, Odd>(tile, part + p, column);
  unroll<R>([&](auto row) {
    constexpr int r = decltype(row)::value;
    const F32 factor = set1(x[r]);
    for (int p = 0; p < kTogether; ++p) sum[p][r] = fma(factor, w[p], sum[p][r]);
  });
}

template <DType D, int R>
SLUICE_SIMD void multiply_plain(const std::byte* tile, int64_t part, int64_t k, const std::byte* prepared,
                                F32 (&sum)[kTogether][R]) {
  constexpr int64_t kColumnBytes = kTileRows * kPlainBytes<D>;
  const auto* x = reinterpret_cast<const float*>(prepared);
  for (int64_t i = 0; i + 1 < k; i += 2, x += 2 * R) {
    prefetch_ahead(tile + i * kColumnBytes, 2 * kColumnBytes);
    add_column<D, false>(tile, part, i, x, sum);
    add_column<D, true>(tile, part, i + 1, x + R, sum);
  }
  if (k % 2 != 0) add_column<D, false>(tile, part, k - 1, x, sum);
}

/// The tiles [begin, end) of a product; one(Index<R>, tile, part, k, panel, sum) computes kTogether vectors
/// of outputs from `part` on.
template <int MostRows, typename One>
SLUICE_SIMD void multiply_tiles(const ProductCall& c, int64_t tile_bytes, int64_t row_bytes, int64_t begin,
                                int64_t end, const One& one) {
  for (int64_t tile = begin; tile < end; ++tile) {
    for_each_panel<MostRows>(0, c.m, [&](auto panel, int64_t first) {
      constexpr int R = decltype(panel)::value;
      for (int64_t part = 0; part < kParts; part += kTogether) {
        F32 sum[kTogether][R];
        for (int i = 0; i < kTogether * R; ++i) sum[i / R][i % R] = zero();
        one(panel, c.weight + tile * tile_bytes, part, c.k, c.prepared + first * row_bytes, sum);
        for (int p = 0; p < kTogether; ++p) {
          const int64_t column = tile * kTileRows + (part + p) * kLanes;
          const int64_t columns = c.n - column;
          const F32 bias = c.bias != nullptr ? load_first(c.bias + column, columns) : zero();
          for (int r = 0; r < R; ++r)
            store_first(c.y + (first + r) * c.y_stride + column - c.first_column,
                        c.bias != nullptr ? add(sum[p][r], bias) : sum[p][r], columns);
        }
      }
    });
  }
}

template <CodedFormat F>
static void multiply_tiles_int8(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles<kMaxPanel>(
      c, c.k / F.elems * F.tile_bytes(), int8_row_bytes(c.k), begin, end,
      [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* x, auto& sum) {
        multiply_int8<F, decltype(panel)::value>(tile, part, k, x, sum);
      });
}

template <CodedFormat F>
static void multiply_tiles_f32(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles<kFloatPanel>(
      c, c.k / F.elems * F.tile_bytes(), c.k * 4, begin, end,
      [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* prepared, auto& sum) {
        constexpr int R = decltype(panel)::value;
        alignas(64) float block[F.elems * kTogether * kLanes];
        alignas(64) float total[kTogether * R * kLanes] = {};
        const auto* x = reinterpret_cast<const float*>(prepared);
        for (int64_t i = 0; i < k; i += F.elems, tile += F.tile_bytes(), x += F.elems * R) {
          for (int p = 0; p < kTogether; ++p)
            dequantise_block<F, kTogether>(tile, part + p, block + p * kLanes);
          accumulate<R>(F.elems, x, block, total);
        }
        for (int i = 0; i < kTogether * R; ++i) sum[i / R][i % R] = load(total + i * kLanes);
      });
}

template <DType D>
static void multiply_tiles_plain(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles<kFloatPanel>(
      c, c.k * kTileRows * kPlainBytes<D>, c.k * 4, begin, end,
      [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* x, auto& sum) {
        multiply_plain<D, decltype(panel)::value>(tile, part, k, x, sum);
      });
}

}  // namespace sluice::cpu::SLUICE_ISA
