// Mixture of experts: tokens are gathered by expert, then each product goes over all experts in one section
// of the pool. A task owns a range of columns and walks the experts in rising order, so that each output is
// summed in an order that depends on its own token alone.
#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "cpu/linear/linear.h"
#include "cpu/linear/rows16.h"
#include "cpu/rows/kernels.h"
#include "cpu/workspace.h"

namespace sluice::cpu {
namespace {

using ops::MoeMlp;

/// The (token, choice) pairs of a call, ordered by expert.
struct Slots {
  int32_t* first;  // (experts + 1): slots [first[e], first[e + 1]) belong to expert e
  int32_t* token;  // (slots)
  float* weight;   // (slots)
  int64_t rows(int64_t e) const { return first[e + 1] - first[e]; }
};

void fill_slots(const MoeMlp::Desc& d, const MoeMlp::Args& a, const Slots& s) {
  std::fill(s.first, s.first + d.experts + 1, 0);
  const auto for_each_choice = [&](const auto& visit) {
    for (int64_t t = 0; t < a.x.rows; ++t) {
      for (int64_t j = 0; j < d.k; ++j) visit(t, a.experts.i32(t)[j], a.weights.f32(t)[j]);
    }
  };
  for_each_choice([&](int64_t, int32_t e, float) {
    SLUICE_CHECK(e >= 0 && e < d.experts, "expert {} of {}", e, d.experts);
    ++s.first[e + 1];
  });
  for (int64_t e = 0; e < d.experts; ++e) s.first[e + 1] += s.first[e];
  for_each_choice(
      [&](int64_t t, int32_t e, float weight) {  // first[e] runs ahead to the end of e's slots ...
        s.token[s.first[e]] = static_cast<int32_t>(t);
        s.weight[s.first[e]++] = weight;
      });
  for (int64_t e = d.experts; e > 0; --e) s.first[e] = s.first[e - 1];  // ... which is where e + 1 begins
  s.first[0] = 0;
}

/// Everything a call keeps in its workspace.
struct Buffers {
  Slots slots;
  std::byte* x;   // (slots) prepared rows of hidden
  float* inner;   // (slots, gate_up n)
  float* middle;  // (slots, width)
  std::byte* middle_prepared;
  float* outer;  // (threads, max_rows, columns of a task)
};

// Tiles of the second product that a task computes at a time, into its worker's part of `outer`.
constexpr int64_t kOuterTiles = 4;

}  // namespace

uint64_t moe_rows16_workspace_bytes(const MoeMlp::Desc& d, int64_t max_rows, int threads) {
  const int64_t slots = max_rows * d.k;
  return scratch_bytes<int32_t>(d.experts + 1) + scratch_bytes<int32_t>(slots) + scratch_bytes<float>(slots) +
         scratch_bytes<std::byte>(slots * prepared_row_bytes(d.hidden, d.activations)) +
         scratch_bytes<float>(slots * d.gate_up_linear().n) + scratch_bytes<float>(slots * d.width) +
         scratch_bytes<std::byte>(slots * prepared_row_bytes(d.width, d.activations)) +
         scratch_bytes<float>(threads * max_rows * kOuterTiles * kTileRows);
}

void run_moe_rows16(const TileFunctions& functions, const RowFunctions& row_functions, const MoeMlp::Desc& d,
                    const MoeMlp::Args& a, ThreadPool& pool, std::byte* workspace) {
  const ops::Linear::Desc up = d.gate_up_linear(), down = d.down_linear();
  const bool int8 = d.activations == ops::Activations::int8;
  const ProductFunctions up_product = functions.product(up.weight, int8);
  const ProductFunctions down_product = functions.product(down.weight, int8);
  const auto up_bytes = static_cast<int64_t>(rows16_layout().packed_bytes(up.weight, up.n, up.k));
  const auto down_bytes = static_cast<int64_t>(rows16_layout().packed_bytes(down.weight, down.n, down.k));
  const int64_t x_row = prepared_row_bytes(d.hidden, d.activations);
  const int64_t middle_row = prepared_row_bytes(d.width, d.activations);

  const int64_t slots = a.x.rows * d.k;
  Workspace scratch(workspace);
  Buffers b;
  b.slots.first = scratch.take<int32_t>(d.experts + 1);
  b.slots.token = scratch.take<int32_t>(slots);
  b.slots.weight = scratch.take<float>(slots);
  b.x = scratch.take<std::byte>(slots * x_row);
  b.inner = scratch.take<float>(slots * up.n);
  b.middle = scratch.take<float>(slots * d.width);
  b.middle_prepared = scratch.take<std::byte>(slots * middle_row);
  b.outer = scratch.take<float>(pool.threads() * a.x.rows * kOuterTiles * kTileRows);
  fill_slots(d, a, b.slots);

  pool.parallel_for(d.experts, 1, [&](int64_t e, int64_t, int) {
    const int64_t first = b.slots.first[e];
    up_product.prepare({.x = a.x.f32(),
                        .x_stride = a.x.stride,
                        .x_rows = b.slots.token + first,
                        .m = b.slots.rows(e),
                        .k = d.hidden,
                        .prepared = b.x + first * x_row},
                       0, b.slots.rows(e));
  });

  const int64_t up_tiles = ceil_div(up.n, kTileRows);
  pool.parallel_for(up_tiles, balanced_grain(up_tiles, pool.threads()), [&](int64_t begin, int64_t end, int) {
    for (int64_t e = 0; e < d.experts; ++e) {
      if (b.slots.rows(e) == 0) continue;
      const int64_t first = b.slots.first[e];
      up_product.multiply({.prepared = b.x + first * x_row,
                           .weight = a.gate_up + e * up_bytes,
                           .y = b.inner + first * up.n,
                           .y_stride = up.n,
                           .m = b.slots.rows(e),
                           .n = up.n,
                           .k = up.k},
                          begin, end);
    }
  });

  pool.parallel_for(d.experts, 1, [&](int64_t e, int64_t, int) {
    const int64_t first = b.slots.first[e], rows = b.slots.rows(e);
    if (rows == 0) return;
    for (int64_t r = first; r < first + rows; ++r)
      row_functions.activate(d.activation, d.gated, d.width, b.inner + r * up.n, b.middle + r * d.width);
    down_product.prepare({.x = b.middle + first * d.width,
                          .x_stride = d.width,
                          .m = rows,
                          .k = d.width,
                          .prepared = b.middle_prepared + first * middle_row},
                         0, rows);
  });

  const int64_t down_tiles = ceil_div(down.n, kTileRows);
  const int64_t grain = std::min(kOuterTiles, balanced_grain(down_tiles, pool.threads()));
  pool.parallel_for(down_tiles, grain, [&](int64_t chunk, int64_t chunk_end, int worker) {
    float* outer = b.outer + worker * a.x.rows * kOuterTiles * kTileRows;
    for (int64_t begin = chunk; begin < chunk_end; begin += kOuterTiles) {
      const int64_t end = std::min(begin + kOuterTiles, chunk_end);
      const int64_t column = begin * kTileRows, columns = std::min(end * kTileRows, d.hidden) - column;
      for (int64_t t = 0; t < a.y.rows; ++t) std::fill_n(a.y.f32(t) + column, columns, 0.0f);
      for (int64_t e = 0; e < d.experts; ++e) {
        const int64_t first = b.slots.first[e], rows = b.slots.rows(e);
        if (rows == 0) continue;
        down_product.multiply({.prepared = b.middle_prepared + first * middle_row,
                               .weight = a.down + e * down_bytes,
                               .y = outer,
                               .y_stride = kOuterTiles * kTileRows,
                               .first_column = column,
                               .m = rows,
                               .n = down.n,
                               .k = down.k},
                              begin, end);
        for (int64_t r = 0; r < rows; ++r) {
          float* y = a.y.f32(b.slots.token[first + r]) + column;
          const float weight = b.slots.weight[first + r];
          for (int64_t i = 0; i < columns; ++i) y[i] += weight * outer[r * kOuterTiles * kTileRows + i];
        }
      }
    }
  });
}

}  // namespace sluice::cpu
