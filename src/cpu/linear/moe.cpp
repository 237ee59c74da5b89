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
  int32_t* first;     // (experts + 1): slots [first[e], first[e + 1]) belong to expert e
  int32_t* prepared;  // (experts): place of the first of them among prepared rows
  int32_t* token;     // (slots)
  float* weight;      // (slots)
  int64_t rows(int64_t e) const { return first[e + 1] - first[e]; }
};

void fill_slots(const MoeMlp::Desc& d, const MoeMlp::Args& a, int32_t row_multiple, const Slots& s) {
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
  int32_t next = 0;
  for (int64_t e = 0; e < d.experts; ++e) {
    s.prepared[e] = next;
    next += round_up(static_cast<int32_t>(s.rows(e)), row_multiple);
  }
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

/// Rows that are prepared for `slots` slots: those of an expert begin at a multiple of
/// functions.row_multiple.
int64_t prepared_rows(const TileFunctions& functions, const MoeMlp::Desc& d, int64_t slots) {
  return slots + (functions.row_multiple - 1) * std::min(d.experts, slots);
}

}  // namespace

uint64_t moe_rows16_workspace_bytes(const TileFunctions& functions, const MoeMlp::Desc& d, int64_t max_rows,
                                    int threads) {
  const ops::Linear::Desc up = d.gate_up_linear(), down = d.down_linear();
  const int64_t slots = max_rows * d.k, prepared = prepared_rows(functions, d, slots);
  return scratch_bytes<int32_t>(d.experts + 1) + scratch_bytes<int32_t>(d.experts) +
         scratch_bytes<int32_t>(slots) + scratch_bytes<float>(slots) +
         scratch_bytes<std::byte>(prepared_bytes(functions, up, prepared)) +
         scratch_bytes<float>(slots * up.n) + scratch_bytes<float>(slots * d.width) +
         scratch_bytes<std::byte>(prepared_bytes(functions, down, prepared)) +
         scratch_bytes<float>(threads * max_rows * kOuterTiles * kTileRows) +
         static_cast<uint64_t>(
             threads * std::max(thread_scratch_bytes(functions, up), thread_scratch_bytes(functions, down)));
}

void run_moe_rows16(const TileFunctions& functions, const RowFunctions& row_functions, const MoeMlp::Desc& d,
                    const MoeMlp::Args& a, ThreadPool& pool, std::byte* workspace) {
  const ops::Linear::Desc up = d.gate_up_linear(), down = d.down_linear();
  const auto product = [&](const ops::Linear::Desc& linear, int64_t rows) {
    return functions.product(linear.weight, linear.activations, rows);
  };
  const auto up_bytes = static_cast<int64_t>(rows16_layout().packed_bytes(up.weight, up.n, up.k));
  const auto down_bytes = static_cast<int64_t>(rows16_layout().packed_bytes(down.weight, down.n, down.k));
  const int64_t x_row = product(up, 1).row_bytes(up.k), middle_row = product(down, 1).row_bytes(down.k);

  const int64_t slots = a.x.rows * d.k, prepared = prepared_rows(functions, d, slots);
  Workspace scratch(workspace);
  Buffers b;
  b.slots.first = scratch.take<int32_t>(d.experts + 1);
  b.slots.prepared = scratch.take<int32_t>(d.experts);
  b.slots.token = scratch.take<int32_t>(slots);
  b.slots.weight = scratch.take<float>(slots);
  b.x = scratch.take<std::byte>(prepared_bytes(functions, up, prepared));
  b.inner = scratch.take<float>(slots * up.n);
  b.middle = scratch.take<float>(slots * d.width);
  b.middle_prepared = scratch.take<std::byte>(prepared_bytes(functions, down, prepared));
  b.outer = scratch.take<float>(pool.threads() * a.x.rows * kOuterTiles * kTileRows);
  const int64_t of_thread =
      std::max(thread_scratch_bytes(functions, up), thread_scratch_bytes(functions, down));
  auto* of_threads = scratch.take<std::byte>(0);
  fill_slots(d, a, static_cast<int32_t>(functions.row_multiple), b.slots);

  pool.parallel_for(d.experts, 1, [&](int64_t e, int64_t, int) {
    const int64_t first = b.slots.first[e], rows = b.slots.rows(e);
    if (rows == 0) return;
    product(up, rows).prepare({.x = a.x.f32(),
                               .x_stride = a.x.stride,
                               .x_rows = b.slots.token + first,
                               .m = rows,
                               .k = d.hidden,
                               .prepared = b.x + b.slots.prepared[e] * x_row},
                              0, rows);
  });

  const int64_t up_tiles = ceil_div(up.n, kTileRows);
  pool.parallel_for(up_tiles, balanced_grain(up_tiles, pool.threads()),
                    [&](int64_t begin, int64_t end, int worker) {
                      for (int64_t e = 0; e < d.experts; ++e) {
                        const int64_t rows = b.slots.rows(e);
                        if (rows == 0) continue;
                        product(up, rows).multiply({.prepared = b.x + b.slots.prepared[e] * x_row,
                                                    .weight = a.gate_up + e * up_bytes,
                                                    .y = b.inner + b.slots.first[e] * up.n,
                                                    .y_stride = up.n,
                                                    .m = rows,
                                                    .n = up.n,
                                                    .k = up.k},
                                                   begin, end, of_threads + worker * of_thread);
                      }
                    });

  pool.parallel_for(d.experts, 1, [&](int64_t e, int64_t, int) {
    const int64_t first = b.slots.first[e], rows = b.slots.rows(e);
    if (rows == 0) return;
    for (int64_t r = first; r < first + rows; ++r)
      row_functions.activate(d.activation, d.gated, d.width, b.inner + r * up.n, b.middle + r * d.width);
    product(down, rows)
        .prepare({.x = b.middle + first * d.width,
                  .x_stride = d.width,
                  .m = rows,
                  .k = d.width,
                  .prepared = b.middle_prepared + b.slots.prepared[e] * middle_row},
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
        product(down, rows)
            .multiply({.prepared = b.middle_prepared + b.slots.prepared[e] * middle_row,
                       .weight = a.down + e * down_bytes,
                       .y = outer,
                       .y_stride = kOuterTiles * kTileRows,
                       .first_column = column,
                       .m = rows,
                       .n = down.n,
                       .k = down.k},
                      begin, end, of_threads + worker * of_thread);
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
