// Products with weights in the rows16 layout. Included once per instruction set, after its simd header.
//
// A vector of outputs is summed in registers over all of k for up to kMaxPanel rows of x at once; weights are
// taken apart in registers as they stream by. For one output the operations and their order depend on nothing
// but the weights' type: not on the number of rows, nor on how they fall into panels.
#pragma once

#include "cpu/linear/kernels.h"
#include "cpu/linear/rows16_decode.h"

namespace sluice::cpu::SLUICE_ISA {

// See reference/linear.h.
constexpr float kTiniest = 1e-30f;  // below it, activations count as zero
constexpr float kOutlier = 3;       // times the mean of a row's blocks: blocks with more are quantised twice

/// Rows of the next panel when `left` rows are to come.
SLUICE_SIMD int64_t panel_rows(int64_t left) {
  return left >= kMaxPanel ? kMaxPanel : left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/// f(Index<R>, first row) for each panel of rows [begin, end).
template <typename F>
SLUICE_SIMD void for_each_panel(int64_t begin, int64_t end, const F& f) {
  for (int64_t row = begin; row < end;) {
    const int64_t rows = panel_rows(end - row);
    if (rows == kMaxPanel) {
      f(Index<kMaxPanel>{}, row);
    } else if (rows == 8) {
      if constexpr (kMaxPanel > 8) f(Index<8>{}, row);
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
  for_each_panel(begin, end, [&](auto panel, int64_t first) {
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

/// What a product needs of the sums of quantised activations.
enum class Sums { none, with_min, with_bias };
constexpr Sums sums_of(const CodedFormat& f) {
  return f.has_min() ? Sums::with_min : quad_bias(f) != 0 ? Sums::with_bias : Sums::none;
}

constexpr int kChunkVectors = static_cast<int>(kChunk) / kLanes;

/// max|x| of a chunk; NaN or infinity if there is one.
SLUICE_SIMD float largest(const float* x) {
  I32 top_bits = set1(0);
  for (int i = 0; i < kChunkVectors; ++i)
    top_bits = max(top_bits, bit_and(as_i32(load(x + i * kLanes)), set1(0x7fffffff)));
  const int32_t bits = reduce_max(top_bits);  // of integers: a NaN is larger than everything
  float top;
  __builtin_memcpy(&top, &bits, 4);
  return top;
}

template <CodedFormat F>
SLUICE_SIMD void quantize(const float* x, float top, ActivationBlock* out) {
  constexpr int kVectors = kChunkVectors;
  const bool finite = top < __builtin_inff();
  const bool zeros = !finite || top < kTiniest;
  const float inverse = zeros ? 0.0f : 127.0f / top;
  out->d = zeros ? 0.0f : top / 127.0f;
  if (!finite) out->d = __builtin_nanf("");
  I32 sum[2] = {set1(0), set1(0)};
  for (int i = 0; i < kVectors; ++i) {
    const I32 q = finite ? round_to_i32(mul(load(x + i * kLanes), set1(inverse))) : set1(0);
    store_i8(out->q + i * kLanes, q);
    sum[i * kLanes / 16] = add(sum[i * kLanes / 16], q);
  }
  int32_t total[2] = {reduce_add(sum[0]), reduce_add(sum[1])};
  if constexpr (F.group == kChunk) total[0] += total[1];
  for (int h = 0; h < 2; ++h) {
    if constexpr (sums_of(F) == Sums::with_min) {
      out->d_sum[h] = out->d * static_cast<float>(total[h]);
    } else {
      out->correction[h] = -quad_bias(F) * total[h];
    }
  }
  out->rest = 0;
}

/// Quantises what `block` leaves of x.
template <CodedFormat F>
SLUICE_SIMD void quantize_rest(const float* x, const ActivationBlock& block, ActivationBlock* out) {
  float rest[kChunk];
  for (int i = 0; i < kChunk; ++i) rest[i] = x[i] - block.d * static_cast<float>(block.q[i]);
  quantize<F>(rest, largest(rest), out);
}

/// Blocks of a row with a larger max|x| than this have a rest; tops are those of all, `stride` floats apart.
SLUICE_SIMD float outlier_limit(const float* tops, int64_t stride, int64_t blocks) {
  float sum = 0;
  for (int64_t b = 0; b < blocks; ++b) sum += tops[b * stride];
  return kOutlier * sum / static_cast<float>(blocks);
}

static int64_t int8_row_bytes(int64_t k) {
  return 2 * (k / kChunk) * static_cast<int64_t>(sizeof(ActivationBlock));
}

/// A panel of R rows as (k / 32, R) ActivationBlocks, then the rests: R blocks for each chunk in which a row
/// has one.
template <CodedFormat F>
static void prepare_int8(const PrepareCall& c, int64_t begin, int64_t end) {
  for_each_panel(begin, end, [&](auto panel, int64_t first) {
    constexpr int R = decltype(panel)::value;
    constexpr int64_t kStride = R * sizeof(ActivationBlock) / sizeof(float);
    const int64_t blocks = c.k / kChunk;
    auto* out = reinterpret_cast<ActivationBlock*>(c.prepared + first * int8_row_bytes(c.k));
    ActivationBlock* rests = out + R * blocks;
    float limit[R];
    for (int r = 0; r < R; ++r) {
      const float* x = source_row(c, first + r);
      for (int64_t b = 0; b < blocks; ++b) out[b * R + r].d = largest(x + b * kChunk);
      limit[r] = outlier_limit(&out[r].d, kStride, blocks);
    }
    int32_t used = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      bool has_rest[R], any = false;
      for (int r = 0; r < R; ++r) {
        ActivationBlock& block = out[b * R + r];
        has_rest[r] = block.d > limit[r];
        any |= has_rest[r];
        quantize<F>(source_row(c, first + r) + b * kChunk, block.d, &block);
      }
      if (!any) continue;
      ActivationBlock* rest = rests + used * R;
      for (int r = 0; r < R; ++r) {
        rest[r] = {};
        if (has_rest[r]) quantize_rest<F>(source_row(c, first + r) + b * kChunk, out[b * R + r], rest + r);
      }
      out[b * R].rest = ++used;
    }
  });
}

// Generic in V: an instruction set without dot_signed must not need its name.
template <CodedFormat F, typename V>
SLUICE_SIMD V dot(V sum, V w, V x) {
  if constexpr (quads_signed(F)) {
    return dot_signed(sum, w, x);
  } else {
    return dot_unsigned(sum, w, x);
  }
}

/// sum += the chunk's products, `Quads` of them from `First` on, with one scale.
template <CodedFormat F, int First, int Quads>
SLUICE_SIMD void add_products(const I32 (&quad)[kQuads], const ActivationBlock& x, F32 scale, F32 min,
                              F32& sum) {
  constexpr int kHalf = First / 4;
  I32 products = set1(sums_of(F) == Sums::with_bias ? x.correction[kHalf] : 0);
  unroll<Quads>([&](auto index) {
    constexpr int i = First + decltype(index)::value;
    products = dot<F>(products, quad[i], splat_bytes(x.q + 4 * i));
  });
  sum = fma(to_f32(products), mul(scale, set1(x.d)), sum);
  if constexpr (F.has_min()) sum = fma(min, set1(x.d_sum[kHalf]), sum);
}

/// sum[r] = the R outputs of the panel for the rows of `part` of a tile.
template <CodedFormat F, int R>
SLUICE_SIMD void multiply_int8(const std::byte* tile, int64_t part, int64_t k, const std::byte* prepared,
                               F32 (&sum)[R]) {
  const auto* x = reinterpret_cast<const ActivationBlock*>(prepared);
  const ActivationBlock* rests = x + R * (k / kChunk);
  for (int64_t i = 0; i < k; i += F.elems, tile += F.tile_bytes()) {
    F32 scale[F.groups()], min[F.groups()];
    scales<F>(tile, part, scale, min);
    for (int c = 0; c < F.chunks(); ++c, x += R) {
      I32 quad[kQuads];
      codes<F>(tile + F.chunks_offset() + c * F.chunk_bytes(), part, quad);
      for (const ActivationBlock* rows = x; rows != nullptr;
           rows = rows == x && x->rest > 0 ? rests + (x->rest - 1) * R : nullptr) {
        unroll<R>([&](auto row) {
          constexpr int r = decltype(row)::value;
          if constexpr (F.group == kChunk) {
            add_products<F, 0, 8>(quad, rows[r], scale[c], min[c], sum[r]);
          } else {
            add_products<F, 0, 4>(quad, rows[r], scale[2 * c], min[2 * c], sum[r]);
            add_products<F, 4, 4>(quad, rows[r], scale[2 * c + 1], min[2 * c + 1], sum[r]);
          }
        });
      }
    }
  }
}

/// The rows of `part` of one block as floats, (elems, kLanes): exactly what the format defines.
template <CodedFormat F>
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
      out += kLanes;
    });
  }
}

/// sum (R, kLanes) += x (columns, R) of a panel times w (columns, kLanes).
template <int R>
static void accumulate(int64_t columns, const float* x, const float* w, float* sum) {
  F32 total[R];
  for (int r = 0; r < R; ++r) total[r] = load(sum + r * kLanes);
  for (int64_t i = 0; i < columns; ++i, x += R, w += kLanes) {
    const F32 column = load(w);
    for (int r = 0; r < R; ++r) total[r] = fma(set1(x[r]), column, total[r]);
  }
  for (int r = 0; r < R; ++r) store(sum + r * kLanes, total[r]);
}

template <DType D>
SLUICE_SIMD F32 load_plain(const std::byte* p) {
  if constexpr (D == DType::f16) return load_f16(p);
  if constexpr (D == DType::bf16) return load_bf16(p);
  if constexpr (D == DType::f32) return load(reinterpret_cast<const float*>(p));
}

template <DType D, int R>
SLUICE_SIMD void multiply_plain(const std::byte* tile, int64_t part, int64_t k, const std::byte* prepared,
                                F32 (&sum)[R]) {
  constexpr int64_t kBytes = D == DType::f32 ? 4 : 2;
  const auto* x = reinterpret_cast<const float*>(prepared);
  const std::byte* w = tile + part * kLanes * kBytes;
  for (int64_t i = 0; i < k; ++i, w += kTileRows * kBytes, x += R) {
    const F32 column = load_plain<D>(w);
    for (int r = 0; r < R; ++r) sum[r] = fma(set1(x[r]), column, sum[r]);
  }
}

/// The tiles [begin, end) of a product; One<R>(tile, part, k, panel, sum) computes a vector of outputs.
template <typename One>
SLUICE_SIMD void multiply_tiles(const ProductCall& c, int64_t tile_bytes, int64_t row_bytes, int64_t begin,
                                int64_t end, const One& one) {
  for (int64_t tile = begin; tile < end; ++tile) {
    for_each_panel(0, c.m, [&](auto panel, int64_t first) {
      constexpr int R = decltype(panel)::value;
      for (int64_t part = 0; part < kParts; ++part) {
        F32 sum[R];
        for (int r = 0; r < R; ++r) sum[r] = zero();
        one(panel, c.weight + tile * tile_bytes, part, c.k, c.prepared + first * row_bytes, sum);
        const int64_t column = tile * kTileRows + part * kLanes;
        const int64_t columns = c.n - column;
        const F32 bias = c.bias != nullptr ? load_first(c.bias + column, columns) : zero();
        for (int r = 0; r < R; ++r)
          store_first(c.y + (first + r) * c.y_stride + column - c.first_column,
                      c.bias != nullptr ? add(sum[r], bias) : sum[r], columns);
      }
    });
  }
}

template <CodedFormat F>
static void multiply_tiles_int8(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles(c, c.k / F.elems * F.tile_bytes(), int8_row_bytes(c.k), begin, end,
                 [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* x,
                    auto& sum) { multiply_int8<F, decltype(panel)::value>(tile, part, k, x, sum); });
}

template <CodedFormat F>
static void multiply_tiles_f32(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles(
      c, c.k / F.elems * F.tile_bytes(), c.k * 4, begin, end,
      [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* prepared, auto& sum) {
        constexpr int R = decltype(panel)::value;
        alignas(64) float block[F.elems * kLanes];
        alignas(64) float total[R * kLanes] = {};
        const auto* x = reinterpret_cast<const float*>(prepared);
        for (int64_t i = 0; i < k; i += F.elems, tile += F.tile_bytes(), x += F.elems * R) {
          dequantise_block<F>(tile, part, block);
          accumulate<R>(F.elems, x, block, total);
        }
        for (int r = 0; r < R; ++r) sum[r] = load(total + r * kLanes);
      });
}

template <DType D>
static void multiply_tiles_plain(const ProductCall& c, int64_t begin, int64_t end, std::byte*) {
  multiply_tiles(c, c.k * kTileRows * (D == DType::f32 ? 4 : 2), c.k * 4, begin, end,
                 [](auto panel, const std::byte* tile, int64_t part, int64_t k, const std::byte* x,
                    auto& sum) { multiply_plain<D, decltype(panel)::value>(tile, part, k, x, sum); });
}

}  // namespace sluice::cpu::SLUICE_ISA
