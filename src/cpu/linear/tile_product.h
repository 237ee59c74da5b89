// Products on tile registers (Intel AMX) with weights in the rows16 layout. Included once per instruction
// set, after its simd header. The tile instructions are a template parameter: amx_tiles.h has the real ones,
// emulated_tiles.h computes the same in plain code.
//
// A tile register holds 16 rows of up to 64 bytes, and one instruction is C (16, 16) += A (16, K) * B (K,
// 16): A are 16 rows of x, B comes from the 16 rows of W that a rows16 tile interleaves. B's rows are lines
// of four bytes, or two bf16, of consecutive columns for each of them: for codes just what codes() yields, so
// only their bits are unpacked, once for all rows of x, into scratch memory that stays in the second level
// cache.
//
//   int8   The integers of one scale group are one instruction, then scaled and summed in fp32 exactly as
//          rows16_product.h does: the same bits, whichever of the two computes a row.
//   bf16   Sums stay in tile registers over k. A float that is more than a bf16 is split into a sum of up to
//          three, each exact, and the products of parts that could matter are summed: x (3 parts) with bf16
//          weights is exact before summation, with the others to 2^-24 of |x| |w|. An output's sum has one
//          order whatever the number of rows.
#pragma once

#include "cpu/linear/rows16_product.h"
#include "cpu/simd/tiles.h"

namespace sluice::cpu::SLUICE_ISA {

// What a task keeps in a second level cache, of which two threads may share 2 MiB: unpacked weights of up to
// kMostTiles tiles, and the sums of up to kMostRows rows of x with them.
constexpr int64_t kUnpackedBytes = 384 << 10;
constexpr int64_t kMostTiles = 8;
constexpr int64_t kMostRows = 512;
constexpr int64_t kSumBytes = kMostTiles * kMostRows * 64;

SLUICE_SIMD int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
SLUICE_SIMD int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- int8

/// A tile of codes: (k / 4) lines; then scales (groups, 16), then offsets (groups, 16).
struct UnpackedCodes {
  std::byte* lines;
  float *scale, *min;
  static int64_t bytes(int64_t k) { return 16 * k + 2 * (k / 16) * 64; }
  UnpackedCodes(std::byte* begin, int64_t k, int64_t groups)
      : lines(begin),
        scale(reinterpret_cast<float*>(begin + kTileEdge * k)),
        min(scale + groups * kTileEdge) {}
};

/// A chunk of 16 rows of x; see ActivationBlock.
struct CodedChunk {
  std::byte codes[kTileEdge][kChunk];
  float d[kTileEdge];
  float d_sum[2][kTileEdge];
};

/// 16 rows of x: a chunk for each 32 columns; then their outliers, chunk by chunk, and where each chunk's
/// end.
struct CodedPanel {
  CodedChunk* chunks;
  int32_t* outliers_end;
  Outlier* outliers;
  CodedPanel(std::byte* prepared, int64_t row, int64_t k)
      : chunks(reinterpret_cast<CodedChunk*>(prepared + row * int8_row_bytes(k))),
        outliers_end(reinterpret_cast<int32_t*>(chunks + k / kChunk)),
        outliers(reinterpret_cast<Outlier*>(outliers_end + k / kChunk)) {}
};
static_assert(sizeof(CodedChunk) + sizeof(int32_t) <= kTileEdge * sizeof(ActivationBlock),
              "a panel is larger than its rows");

template <CodedFormat F>
SLUICE_SIMD void put(const ActivationBlock& block, int64_t r, CodedChunk& out) {
  __builtin_memcpy(out.codes[r], block.q, sizeof block.q);
  out.d[r] = block.d;
  if constexpr (F.has_min()) {
    for (int h = 0; h < 2; ++h) out.d_sum[h][r] = block.d_sum[h];
  }
}

template <CodedFormat F>
static void prepare_tiles_int8(const PrepareCall& c, int64_t begin, int64_t end) {
  const int64_t blocks = c.k / kChunk;
  for (int64_t row = begin; row < end; row += kTileEdge) {
    const int64_t rows = smaller(kTileEdge, end - row);
    const CodedPanel panel(c.prepared, row, c.k);
    constexpr int64_t kStride = sizeof(CodedChunk) / sizeof(float);
    float limit[kTileEdge];
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t b = 0; b < blocks; ++b)
        panel.chunks[b].d[r] = largest(source_row(c, row + r) + b * kChunk);
      limit[r] = outlier_limit(&panel.chunks[0].d[r], kStride, blocks);
    }
    Outlier* next = panel.outliers;
    for (int64_t b = 0; b < blocks; ++b) {
      CodedChunk& chunk = panel.chunks[b];
      for (int64_t r = 0; r < rows; ++r) {
        ActivationBlock block;
        quantize<F>(source_row(c, row + r) + b * kChunk, chunk.d[r], limit[r], r, &block, next);
        put<F>(block, r, chunk);
      }
      panel.outliers_end[b] = static_cast<int32_t>(next - panel.outliers);
    }
  }
}

template <CodedFormat F>
static void unpack_codes(const std::byte* tile, int64_t k, const UnpackedCodes& out) {
  std::byte* line = out.lines;
  for (int64_t i = 0; i < k; i += F.elems, tile += F.tile_bytes(), line += F.elems / 4 * kLineBytes) {
    for (int64_t part = 0; part < kParts; ++part) {
      F32 scale[F.groups()], min[F.groups()];
      scales<F>(tile, part, scale, min);
      for (int g = 0; g < F.groups(); ++g) {
        const int64_t at = (i / F.group + g) * kTileEdge + part * kLanes;
        store(out.scale + at, scale[g]);
        if constexpr (F.has_min()) store(out.min + at, min[g]);
      }
      for (int c = 0; c < F.chunks(); ++c) {
        I32 quad[kQuads];
        codes<F>(tile + F.chunks_offset() + c * F.chunk_bytes(), part, quad);
        for (int q = 0; q < kQuads; ++q) {
          if constexpr (quad_bias(F) != 0) quad[q] = sub_bytes(quad[q], every_byte(quad_bias(F)));
          store_bytes(line + (c * kQuads + q) * kLineBytes + part * kLanes * 4, quad[q]);
        }
      }
    }
  }
}

/// sum += one group's products with a chunk, scaled.
template <CodedFormat F>
SLUICE_SIMD void add_scaled(const int32_t* products, const UnpackedCodes& w, const CodedChunk& x,
                            int64_t group, F32 (&sum)[kParts][kTileEdge]) {
  const float *d = x.d, *d_sum = x.d_sum[group * F.group % kChunk / 16];
  for (int64_t part = 0; part < kParts; ++part) {
    const F32 scale = load(w.scale + group * kTileEdge + part * kLanes);
    const F32 min = F.has_min() ? load(w.min + group * kTileEdge + part * kLanes) : zero();
    unroll<kTileEdge>([&](auto row) {
      constexpr int r = decltype(row)::value;
      const F32 exact = to_f32(load_bytes(products + r * kTileEdge + part * kLanes));
      sum[part][r] = fma(exact, mul(scale, set1(d[r])), sum[part][r]);
      if constexpr (F.has_min()) sum[part][r] = fma(min, set1(d_sum[r]), sum[part][r]);
    });
  }
}

/// Tile registers A and B := a group's codes; C := C + A * B.
template <typename Tiles, CodedFormat F, int C>
SLUICE_SIMD void multiply_group(const CodedChunk* chunks, const UnpackedCodes& w, int64_t group) {
  constexpr int A = 4 + C % 2, B = 6 + C % 2;
  const int64_t column = group * F.group;
  Tiles::template zero<C>();
  Tiles::template load<A>(chunks->codes[0] + column % kChunk, kChunk);
  Tiles::template load<B>(w.lines + column / 4 * kLineBytes, kLineBytes);
  Tiles::template dot_int8<C, A, B>();
}

/// sum += the outliers' products, summed on their own first.
template <CodedFormat F>
SLUICE_SIMD void add_outliers(const CodedPanel& x, const UnpackedCodes& w, int64_t k,
                              F32 (&sum)[kParts][kTileEdge]) {
  F32 taken[kParts][kTileEdge];
  for (auto& part : taken) {
    for (F32& t : part) t = zero();
  }
  const Outlier* next = x.outliers;
  for (int64_t chunk = 0; chunk < k / kChunk; ++chunk) {
    for (const Outlier* end = x.outliers + x.outliers_end[chunk]; next != end; ++next) {
      const int64_t column = chunk * kChunk + next->column, at = column / F.group * kTileEdge;
      for (int64_t part = 0; part < kParts; ++part) {
        const I32 quad = load_bytes(w.lines + column / 4 * kLineBytes + part * kLanes * 4);
        const I32 code = shift_signed<24>(shift<24>(shift_right(quad, column % 4 * 8)));
        F32 weight = mul(load(w.scale + at + part * kLanes), to_f32(code));
        if constexpr (F.has_min()) weight = add(weight, load(w.min + at + part * kLanes));
        taken[part][next->row] = fma(set1(next->x), weight, taken[part][next->row]);
      }
    }
  }
  for (int64_t part = 0; part < kParts; ++part) {
    for (int64_t r = 0; r < kTileEdge; ++r) sum[part][r] = add(sum[part][r], taken[part][r]);
  }
}

/// The outputs of a panel for one tile. While the products of some groups are scaled, tile registers compute
/// those of the next.
template <typename Tiles, CodedFormat F>
static void multiply_panel_int8(const CodedPanel& x, const UnpackedCodes& w, int64_t k,
                                F32 (&sum)[kParts][kTileEdge]) {
  constexpr int kAhead = 4;
  alignas(64) int32_t products[2][kAhead][kTileEdge * kTileEdge];
  const int64_t groups = k / F.group;
  const auto multiply = [&](int64_t first) {
    auto& out = products[first / kAhead % 2];
    unroll<kAhead>([&](auto index) {
      constexpr int i = decltype(index)::value;
      const int64_t g = first + i;
      if (g < groups) multiply_group<Tiles, F, i>(x.chunks + g * F.group / kChunk, w, g);
    });
    unroll<kAhead>([&](auto index) {
      constexpr int i = decltype(index)::value;
      if (first + i < groups) Tiles::template store<i>(out[i], kTileEdge * 4);
    });
  };
  multiply(0);
  for (int64_t first = 0; first < groups; first += kAhead) {
    if (first + kAhead < groups) multiply(first + kAhead);
    for (int64_t g = first; g < smaller(first + kAhead, groups); ++g) {
      add_scaled<F>(products[first / kAhead % 2][g - first], w, x.chunks[g * F.group / kChunk], g, sum);
    }
  }
  add_outliers<F>(x, w, k, sum);
}

/// Rows [row, row + rows) of the outputs of `tiles` tiles from `first` on, bias added unless it is null:
/// whole rows one after another, since rows of y lie in different pages. sum_of(row, tile) is where 16 sums
/// are.
template <typename F>
SLUICE_SIMD void store_outputs(const ProductCall& c, const float* bias, int64_t row, int64_t rows,
                               int64_t first, int64_t tiles, const F& sum_of) {
  for (int64_t r = 0; r < rows; ++r) {
    float* y = c.y + (row + r) * c.y_stride - c.first_column;
    for (int64_t t = 0; t < tiles; ++t) {
      const float* sums = sum_of(r, t);
      for (int64_t part = 0; part < kParts; ++part) {
        const int64_t column = (first + t) * kTileRows + part * kLanes, columns = c.n - column;
        F32 sum = load(sums + part * kLanes);
        if (bias != nullptr) sum = add(sum, load_first(bias + column, columns));
        store_first(y + column, sum, columns);
      }
    }
  }
}

template <typename Tiles, CodedFormat F>
static void multiply_tiles_amx_int8(const ProductCall& c, int64_t begin, int64_t end, std::byte* scratch) {
  const int64_t packed = c.k / F.elems * F.tile_bytes(), unpacked = UnpackedCodes::bytes(c.k);
  const int64_t fitting = kUnpackedBytes / unpacked;
  const int64_t at_once = fitting < 1 ? 1 : smaller(fitting, kMostTiles), groups = c.k / F.group;
  auto* sums = reinterpret_cast<float*>(scratch);  // (tiles, 16, 16)
  std::byte* weights = scratch + kSumBytes;
  Tiles::configure(TileConfig(F.group));
  for (int64_t first = begin; first < end; first += at_once) {
    const int64_t tiles = smaller(at_once, end - first);
    for (int64_t t = 0; t < tiles; ++t)
      unpack_codes<F>(c.weight + (first + t) * packed, c.k, {weights + t * unpacked, c.k, groups});
    for (int64_t row = 0; row < c.m; row += kTileEdge) {
      const CodedPanel x(const_cast<std::byte*>(c.prepared), row, c.k);
      for (int64_t t = 0; t < tiles; ++t) {
        F32 sum[kParts][kTileEdge];
        for (auto& part : sum) {
          for (F32& s : part) s = zero();
        }
        multiply_panel_int8<Tiles, F>(x, {weights + t * unpacked, c.k, groups}, c.k, sum);
        for (int64_t part = 0; part < kParts; ++part) {
          for (int64_t r = 0; r < kTileEdge; ++r)
            store(sums + (t * kTileEdge + r) * kTileEdge + part * kLanes, sum[part][r]);
        }
      }
      store_outputs(c, c.bias, row, smaller(kTileEdge, c.m - row), first, tiles,
                    [&](int64_t r, int64_t t) { return sums + (t * kTileEdge + r) * kTileEdge; });
    }
  }
  Tiles::release();
}

// ---- bf16

/// Parts that hold a weight exactly, or all that of an f32 that matters.
template <DType D>
constexpr int kWeightParts = D == DType::bf16  ? 1
                             : D == DType::f16 ? 2
                                               : 3;
constexpr int kMostParts = 3;
constexpr int64_t kTileColumns = 32;  // bf16 in a row of a tile
// Tiles of columns that are multiplied before the next tile of W, by how many rows of x, with one part each.
constexpr int64_t kWindowColumns = 40, kFewColumns = 15;
static_assert(kMostTiles * kWindowColumns * kTileBytes <= kUnpackedBytes);

SLUICE_SIMD int64_t column_tiles(int64_t k) { return quotient_up(k, kTileColumns); }

/// The leading bits of v that a bf16 holds; v becomes the rest, of infinity nothing.
SLUICE_SIMD F32 take_part(F32& v) {
  const F32 part = as_f32(bit_and(as_i32(v), set1(static_cast<int32_t>(0xffff0000))));
  const F32 size = as_f32(bit_and(as_i32(v), set1(0x7fffffff)));
  v = select_less(size, set1(__builtin_inff()), sub(v, part), zero());
  return part;
}

/// Panels of 16 rows of x as (columns / 32, P, 16, 32) bf16, zeros beyond the last column.
template <int P>
static void prepare_tiles_bf16(const PrepareCall& c, int64_t begin, int64_t end) {
  const int64_t panel_bytes = column_tiles(c.k) * P * kTileBytes;
  for (int64_t row = begin; row < end; ++row) {
    const float* x = source_row(c, row);
    std::byte* out = c.prepared + row / kTileEdge * panel_bytes + row % kTileEdge * kLineBytes;
    for (int64_t t = 0; t < column_tiles(c.k); ++t, out += P * kTileBytes) {
      for (int64_t i = 0; i < kTileColumns; i += kLanes) {
        const int64_t column = t * kTileColumns + i;
        F32 v = load_first(x + column, c.k - column);
        for (int p = 0; p < P; ++p) store_bf16(out + p * kTileBytes + i * 2, P == 1 ? v : take_part(v));
      }
    }
  }
}
template <int P>
static int64_t bf16_row_bytes(int64_t k) {
  return column_tiles(k) * P * kTileBytes / kTileEdge;
}

/// Columns [begin, end) of a rows16 tile, rounded up to whole tiles of them, as (columns / 32, parts) tiles
/// of pairs.
template <DType D>
static void unpack_pairs(const std::byte* tile, int64_t k, int64_t begin, int64_t end, std::byte* out) {
  constexpr int Q = kWeightParts<D>;
  for (int64_t first = begin; first < end; first += kTileColumns, out += Q * kTileBytes) {
    for (int64_t line = 0; line < kTileEdge; ++line) {
      const int64_t column = first + 2 * line;
      __builtin_prefetch(tile + column * kTileRows * kPlainBytes<D> + 2048);
      for (int64_t part = 0; part < kParts; ++part) {
        F32 v[2] = {column < k ? load_column<D, false>(tile, part, column) : zero(),
                    column + 1 < k ? load_column<D, true>(tile, part, column + 1) : zero()};
        for (int q = 0; q < Q; ++q) {
          const I32 upper = set1(static_cast<int32_t>(0xffff0000));
          const I32 a = bit_and(as_i32(v[0]), upper), b = bit_and(as_i32(v[1]), upper);
          store_bytes(out + q * kTileBytes + line * kLineBytes + part * kLanes * 4, bit_or(shift<-16>(a), b));
          v[0] = sub(v[0], as_f32(a)), v[1] = sub(v[1], as_f32(b));
        }
      }
    }
  }
}

/// Where R by N tiles of sums lie.
struct TileSums {
  std::byte* at;
  int64_t row_bytes, panel_bytes, tile_bytes;  // from one row, panel of rows and tile of W to the next
};

/// to (R, N) = from + R panels of x times N tiles of W over `columns` tiles of columns; panels and tiles lie
/// a_step and b_step bytes apart.
template <typename Tiles, int P, int Q, int R, int N>
static void multiply_block_bf16(const std::byte* a, int64_t a_step, const std::byte* b, int64_t b_step,
                                int64_t columns, const TileSums& from, const TileSums& to) {
  unroll<R * N>([&](auto index) {
    constexpr int i = decltype(index)::value;
    Tiles::template load<i>(from.at + i / N * from.panel_bytes + i % N * from.tile_bytes, from.row_bytes);
  });
  for (int64_t t = 0; t < columns; ++t, a += P * kTileBytes, b += Q * kTileBytes) {
    unroll<Q>([&](auto weight_part) {
      constexpr int q = decltype(weight_part)::value;
      unroll<N>([&](auto n) {
        constexpr int j = decltype(n)::value;
        Tiles::template load<6 + j>(b + j * b_step + q * kTileBytes, kLineBytes);
      });
      unroll<(P + q <= kMostParts ? P : kMostParts - q)>([&](auto x_part) {
        constexpr int p = decltype(x_part)::value;
        unroll<R>([&](auto r) {
          constexpr int i = decltype(r)::value;
          Tiles::template load<4 + i>(a + i * a_step + p * kTileBytes, kLineBytes);
          unroll<N>([&](auto n) {
            constexpr int j = decltype(n)::value;
            Tiles::template dot_bf16<i * N + j, 4 + i, 6 + j>();
          });
        });
      });
    });
  }
  unroll<R * N>([&](auto index) {
    constexpr int i = decltype(index)::value;
    Tiles::template store<i>(to.at + i / N * to.panel_bytes + i % N * to.tile_bytes, to.row_bytes);
  });
}

template <typename Tiles, int P, int Q>
constexpr auto block_function(bool two_panels, bool two_tiles) {
  return two_panels
             ? two_tiles ? multiply_block_bf16<Tiles, P, Q, 2, 2> : multiply_block_bf16<Tiles, P, Q, 2, 1>
         : two_tiles ? multiply_block_bf16<Tiles, P, Q, 1, 2>
                     : multiply_block_bf16<Tiles, P, Q, 1, 1>;
}

/// x as P parts. Two panels of x by two tiles of W stay in registers over a window of columns. Sums begin
/// with the bias and rest in scratch memory between windows; from the last one they go to y at once, unless
/// rows or columns are missing from a tile.
template <typename Tiles, DType D, int P>
static void multiply_tiles_amx_bf16(const ProductCall& c, int64_t begin, int64_t end, std::byte* scratch) {
  constexpr int Q = kWeightParts<D>;
  constexpr int64_t kRows = 2 * kTileEdge, kPairBytes = 4 * kTileBytes;
  constexpr TileSums kResting{nullptr, kLineBytes, 2 * kTileBytes, kTileBytes};
  const int64_t packed = c.k * kTileRows * kPlainBytes<D>, column_count = column_tiles(c.k);
  const int64_t panel = column_count * P * kTileBytes;
  // Whole tiles of pairs lie in the weights already.
  const bool as_is = D == DType::bf16 && c.k % kTileColumns == 0;
  // A few rows of x: a pair of tiles is unpacked just before its only use, in the first level cache.
  const bool few = !as_is && c.m <= kRows;
  const int64_t windows = quotient_up(column_count, few ? kFewColumns / Q : kWindowColumns / (P > Q ? P : Q));
  const int64_t window = quotient_up(column_count, windows);
  const int64_t tile_step = as_is ? packed : window * Q * kTileBytes;
  std::byte* weights = scratch + kSumBytes;
  const auto unpack = [&](int64_t tile, int64_t start, int64_t stop, std::byte* to) {
    unpack_pairs<D>(c.weight + tile * packed, c.k, start * kTileColumns, stop * kTileColumns, to);
  };
  Tiles::configure(TileConfig(static_cast<int>(kLineBytes)));
  for (int64_t first = begin; first < end; first += kMostTiles) {
    const int64_t tiles = smaller(kMostTiles, end - first);
    alignas(64) float bias[kMostTiles * kTileRows] = {};
    const int64_t columns = smaller(tiles * kTileRows, c.n - first * kTileRows);
    if (c.bias != nullptr)
      __builtin_memcpy(bias, c.bias + first * kTileRows, static_cast<size_t>(columns) * sizeof(float));
    for (int64_t top = 0; top < c.m; top += kMostRows) {
      const int64_t bottom = smaller(top + kMostRows, c.m);
      for (int64_t start = 0; start < column_count; start += window) {
        const int64_t stop = smaller(start + window, column_count);
        for (int64_t t = 0; t < tiles && !few && !as_is; ++t)
          unpack(first + t, start, stop, weights + t * tile_step);
        for (int64_t row = top; row < bottom; row += kRows) {
          const int64_t rows = smaller(kRows, bottom - row);
          const bool whole = rows % kTileEdge == 0 && columns == tiles * kTileRows,
                     last = stop == column_count;
          std::byte* sums = scratch + (row - top) / kRows * (kMostTiles / 2) * kPairBytes;
          const std::byte* x = c.prepared + row / kTileEdge * panel + start * P * kTileBytes;
          for (int64_t t = 0; t < tiles; t += 2) {
            const bool two_tiles = t + 1 < tiles;
            const std::byte* b =
                as_is ? c.weight + (first + t) * packed + start * kTileBytes : weights + t * tile_step;
            if (few) {
              b = weights;
              unpack(first + t, start, stop, weights);
              if (two_tiles) unpack(first + t + 1, start, stop, weights + tile_step);
            }
            TileSums from = kResting, to = kResting;
            from.at = to.at = sums + t / 2 * kPairBytes;
            if (start == 0) from = {reinterpret_cast<std::byte*>(bias + t * kTileRows), 0, 0, kLineBytes};
            if (last && whole) {
              const int64_t stride = c.y_stride * static_cast<int64_t>(sizeof(float));
              float* y = c.y + row * c.y_stride + (first + t) * kTileRows - c.first_column;
              to = {reinterpret_cast<std::byte*>(y), stride, kTileEdge * stride, kLineBytes};
            }
            block_function<Tiles, P, Q>(rows > kTileEdge, two_tiles)(x, panel, b, tile_step, stop - start,
                                                                     from, to);
          }
          if (last && !whole) {
            store_outputs(c, nullptr, row, rows, first, tiles, [&](int64_t r, int64_t t) {
              return reinterpret_cast<const float*>(sums + t / 2 * kPairBytes +
                                                    r / kTileEdge * 2 * kTileBytes + t % 2 * kTileBytes +
                                                    r % kTileEdge * kLineBytes);
            });
          }
        }
      }
    }
  }
  Tiles::release();
}

// ---- the table of products

static int64_t tile_scratch_bytes(int64_t k) {
  const int64_t one = UnpackedCodes::bytes(k);
  return kSumBytes + (one > kUnpackedBytes ? one : kUnpackedBytes);
}

/// With many rows a task should be wide; with few, there should be many.
constexpr int64_t tiles_of_task(int64_t m) { return m >= 128 ? kMostTiles : 2; }

template <typename Tiles, DType D>
constexpr ProductFunctions amx_plain_product(ops::Activations activations, int64_t m) {
  if (activations == ops::Activations::f32)
    return {.prepare = prepare_tiles_bf16<kMostParts>,
            .multiply = multiply_tiles_amx_bf16<Tiles, D, kMostParts>,
            .row_bytes = bf16_row_bytes<kMostParts>,
            .panel = kTileEdge,
            .least_tiles = tiles_of_task(m)};
  if (activations == ops::Activations::bf16 && D == DType::bf16)
    return {.prepare = prepare_tiles_bf16<1>,
            .multiply = multiply_tiles_amx_bf16<Tiles, DType::bf16, 1>,
            .row_bytes = bf16_row_bytes<1>,
            .panel = kTileEdge,
            .least_tiles = tiles_of_task(m)};
  return {};
}

template <typename Tiles, CodedFormat F>
constexpr ProductFunctions amx_coded_product(ops::Activations activations, int64_t m) {
  if (activations != ops::Activations::int8) return {};
  return {.prepare = prepare_tiles_int8<F>,
          .multiply = multiply_tiles_amx_int8<Tiles, F>,
          .row_bytes = int8_row_bytes,
          .panel = kTileEdge,
          .least_tiles = tiles_of_task(m)};
}

/// Null functions where tile registers do not serve: float activations with quantised weights.
template <typename Tiles>
static ProductFunctions amx_product_functions(DType weight, ops::Activations activations, int64_t m) {
  switch (weight) {
#define X(format)      \
  case (format).dtype: \
    return amx_coded_product<Tiles, format>(activations, m);
    SLUICE_CODED_FORMATS(X)
#undef X
    case DType::f32:
      return amx_plain_product<Tiles, DType::f32>(activations, m);
    case DType::f16:
      return amx_plain_product<Tiles, DType::f16>(activations, m);
    case DType::bf16:
      return amx_plain_product<Tiles, DType::bf16>(activations, m);
    default:
      return {};
  }
}

}  // namespace sluice::cpu::SLUICE_ISA
