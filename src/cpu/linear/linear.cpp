#include "cpu/linear/linear.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/linear/rows16.h"
#include "cpu/workspace.h"

namespace sluice::cpu {
namespace {

using ops::Embed;
using ops::Linear;
using ops::MoeMlp;

// Preparing fewer elements than this is done before another thread could have been told of it; so is a
// product that reads fewer bytes.
constexpr int64_t kAloneElements = 8192;
constexpr int64_t kAloneBytes = 32 << 10;

void prepare_rows(const ProductFunctions& product, const PrepareCall& call, ThreadPool& pool) {
  if (call.m * call.k <= kAloneElements) return product.prepare(call, 0, call.m);
  const int64_t grain = product.panel * ceil_div<int64_t>(kAloneElements, product.panel * call.k);
  pool.parallel_for(call.m, grain,
                    [&](int64_t begin, int64_t end, int) { product.prepare(call, begin, end); });
}

/// How many rows of x, a multiple of its panel, a task of a product computes: as many as it wants, unless the
/// tasks are too few then to keep the threads busy.
int64_t rows_of_task(const ProductFunctions& product, int64_t m, int64_t k, int64_t tile_tasks, int threads) {
  constexpr int64_t kTasksPerThread = 4, kLeastRows = 64;
  const int64_t least = threads == 1 ? 1 : kTasksPerThread * threads;
  int64_t parts = std::min(ceil_div(least, tile_tasks), m / kLeastRows);
  if (product.most_row_bytes > 0) parts = std::max(parts, m * product.row_bytes(k) / product.most_row_bytes);
  return parts <= 1 ? m : round_up(ceil_div(m, parts), product.panel);
}

void run_embed(const Embed::Desc& d, const Embed::Args& a, const ops::Launch& launch) {
  const ops::WeightLayout& layout = rows16_layout();
  pool_of(launch).parallel_for(a.y.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      SLUICE_CHECK(a.ids[t] >= 0 && a.ids[t] < d.vocab, "token {} of a vocabulary of {}", a.ids[t], d.vocab);
      float* y = a.y.f32(t);
      layout.unpack_row(d.weight, d.vocab, d.hidden, a.weight, a.ids[t], y);
      for (int64_t i = 0; i < d.hidden; ++i) y[i] *= d.scale;
      if (d.positions == 0) continue;
      const int64_t position = a.positions[t] + d.position_offset;
      SLUICE_CHECK(position >= 0 && position < d.positions, "position {} of {}", position, d.positions);
      for (int64_t i = 0; i < d.hidden; ++i) y[i] += a.position_table[position * d.hidden + i];
    }
  });
}

/// What one instruction set reaches on one core, roughly: floats and bytes multiplied a second.
struct IsaRates {
  double f32, int8, bf16;
};

template <Isa>
struct Rows16;
#define SLUICE_ROWS16(isa, rows_isa, f32_rate, int8_rate, bf16_rate)                  \
  template <>                                                                         \
  struct Rows16<Isa::isa> {                                                           \
    static constexpr std::string_view kLinear = "cpu.linear.rows16." #isa;            \
    static constexpr std::string_view kMoe = "cpu.moe_mlp.rows16." #isa;              \
    static constexpr IsaRates kRates{f32_rate, int8_rate, bf16_rate};                 \
    static const TileFunctions& functions() { return isa##_tile_functions(); }        \
    static const RowFunctions& row_functions() { return rows_isa##_row_functions(); } \
  };
SLUICE_ROWS16(scalar, scalar, 1e9, 1e9, 1e9)
SLUICE_ROWS16(avx2, avx2, 40e9, 80e9, 40e9)
SLUICE_ROWS16(avxvnni, avx2, 40e9, 160e9, 40e9)
SLUICE_ROWS16(avx512, avx512, 60e9, 120e9, 60e9)
SLUICE_ROWS16(avx512vnni, avx512, 60e9, 250e9, 60e9)
SLUICE_ROWS16(avx512bf16, avx512, 60e9, 250e9, 120e9)
SLUICE_ROWS16(amx, avx512, 300e9, 700e9, 1200e9)
#undef SLUICE_ROWS16

template <Isa I>
double product_seconds(const ops::Cost& cost, ops::Activations activations) {
  constexpr double kBytesPerSecond = 15e9;
  const IsaRates rates = Rows16<I>::kRates;
  return roofline_seconds(cost, {kBytesPerSecond, activations == ops::Activations::int8   ? rates.int8
                                                  : activations == ops::Activations::bf16 ? rates.bf16
                                                                                          : rates.f32});
}

/// The weights that a kernel is for: on tile registers the order of the sums depends on the number of rows
/// unless they are integers', so that batch invariance parts the two.
enum class Weights { any, coded, plain };

template <Weights W>
std::string refuses_weights(const Linear::Desc& d) {
  if (W != Weights::any && is_block_type(d.weight) != (W == Weights::coded))
    return W == Weights::coded ? "is for quantised weights" : "is for plain weights";
  return rows16_refuses(d);
}

template <Isa I, Weights W = Weights::any>
void add_kernels(ops::Kernels& kernels, std::string_view linear = Rows16<I>::kLinear) {
  kernels.add(ops::Kernel<Linear>{
      .name = linear,
      .refuses = refuses_weights<W>,
      .seconds = [](const Linear::Desc& d,
                    int64_t rows) { return product_seconds<I>(Linear::cost(d, rows), d.activations); },
      .run =
          [](const Linear::Desc& d, const Linear::Args& a, const ops::Launch& launch) {
            run_linear_rows16(Rows16<I>::functions(), d, a, pool_of(launch), launch.workspace);
          },
      .workspace_bytes =
          [](const Linear::Desc& d, int64_t max_rows, int threads) {
            return linear_rows16_workspace_bytes(Rows16<I>::functions(), d, max_rows, threads);
          },
      .layout = &rows16_layout(),
      .batch_invariant = W != Weights::plain});
  // An expert's rows may be few or many in one call, which must be prepared alike.
  if constexpr (W == Weights::plain) return;
  kernels.add(ops::Kernel<MoeMlp>{
      .name = Rows16<I>::kMoe,
      .refuses = [](const MoeMlp::Desc& d) -> std::string {
        const std::string up = refuses_weights<W>(d.gate_up_linear());
        return up.empty() ? refuses_weights<W>(d.down_linear()) : up;
      },
      .seconds = [](const MoeMlp::Desc& d,
                    int64_t rows) { return product_seconds<I>(MoeMlp::cost(d, rows), d.activations); },
      .run =
          [](const MoeMlp::Desc& d, const MoeMlp::Args& a, const ops::Launch& launch) {
            run_moe_rows16(Rows16<I>::functions(), Rows16<I>::row_functions(), d, a, pool_of(launch),
                           launch.workspace);
          },
      .workspace_bytes =
          [](const MoeMlp::Desc& d, int64_t max_rows, int threads) {
            return moe_rows16_workspace_bytes(Rows16<I>::functions(), d, max_rows, threads);
          },
      .layout = &rows16_layout()});
}

}  // namespace

void run_linear_rows16(const TileFunctions& functions, const Linear::Desc& d, const Linear::Args& a,
                       ThreadPool& pool, std::byte* workspace) {
  const int64_t m = a.x.rows;
  const ProductFunctions product = functions.product(d.weight, d.activations, m);
  Workspace scratch(workspace);
  auto* prepared = scratch.take<std::byte>(prepared_bytes(functions, d, m));
  auto* of_threads = scratch.take<std::byte>(0);
  const int64_t of_thread = thread_scratch_bytes(functions, d);
  const bool as_is = m == 1 && product.lone_row_as_is;
  if (!as_is)
    prepare_rows(product, {.x = a.x.f32(), .x_stride = a.x.stride, .m = m, .k = d.k, .prepared = prepared},
                 pool);

  const int64_t tiles = ceil_div(d.n, kTileRows);
  const int64_t tile_bytes =
      kTileRows * static_cast<int64_t>(row_bytes(d.weight, static_cast<uint64_t>(d.k)));
  const int64_t worth_telling = ceil_div(kAloneBytes, tile_bytes * std::max<int64_t>(m, 1));
  const int64_t grain = balanced_grain(tiles, pool.threads(), std::max(product.least_tiles, worth_telling));
  const int64_t tile_tasks = ceil_div(tiles, grain),
                rows = rows_of_task(product, m, d.k, tile_tasks, pool.threads());
  pool.parallel_for(tile_tasks * ceil_div(m, rows), 1, [&](int64_t task, int64_t, int worker) {
    const int64_t row = task / tile_tasks * rows, tile = task % tile_tasks * grain;
    product.multiply({.prepared = as_is ? static_cast<const std::byte*>(a.x.data)
                                        : prepared + row * product.row_bytes(d.k),
                      .weight = a.weight,
                      .bias = d.bias ? a.bias : nullptr,
                      .y = a.y.f32(row),
                      .y_stride = a.y.stride,
                      .m = std::min(rows, m - row),
                      .n = d.n,
                      .k = d.k},
                     tile, std::min(tile + grain, tiles), of_threads + worker * of_thread);
  });
}

uint64_t linear_rows16_workspace_bytes(const TileFunctions& functions, const Linear::Desc& d,
                                       int64_t max_rows, int threads) {
  return scratch_bytes<std::byte>(prepared_bytes(functions, d, max_rows)) +
         static_cast<uint64_t>(threads * thread_scratch_bytes(functions, d));
}

int64_t prepared_bytes(const TileFunctions& functions, const Linear::Desc& d, int64_t rows) {
  return round_up(rows, functions.row_multiple) *
         functions.product(d.weight, d.activations, rows).row_bytes(d.k);
}
int64_t thread_scratch_bytes(const TileFunctions& functions, const Linear::Desc& d) {
  return functions.scratch_bytes == nullptr ? 0 : round_up<int64_t>(functions.scratch_bytes(d.k), kCacheLine);
}

std::string rows16_refuses(const Linear::Desc& d) {
  if (std::string why = rows16_layout_refuses(d.weight, d.k); !why.empty()) return why;
  if (d.activations == ops::Activations::int8 && !is_block_type(d.weight))
    return "int8 activations are for quantised weights";
  if (d.activations != ops::Activations::f32 && d.activations != ops::Activations::int8 &&
      !(d.activations == ops::Activations::bf16 && d.weight == DType::bf16))
    return fmt::format("{} activations do not go with {} weights here", enum_name(d.activations),
                       name(d.weight));
  if (d.gate) return "the activation is a step of its own";
  return {};
}

int64_t balanced_grain(int64_t items, int threads, int64_t least) {
  constexpr int64_t kClaimsPerThread = 8;
  return threads == 1 ? std::max<int64_t>(items, 1) : std::max(least, items / (threads * kClaimsPerThread));
}

void register_rows16_kernels(ops::Kernels& kernels, const CpuFeatures& cpu) {
  if (cpu.has(Isa::amx)) {
    add_kernels<Isa::amx, Weights::coded>(kernels);
    add_kernels<Isa::amx, Weights::plain>(kernels, "cpu.linear.rows16.amx.plain");
  }
  if (cpu.has(Isa::avx512bf16)) add_kernels<Isa::avx512bf16>(kernels);
  if (cpu.has(Isa::avx512vnni)) add_kernels<Isa::avx512vnni>(kernels);
  if (cpu.has(Isa::avx512)) add_kernels<Isa::avx512>(kernels);
  if (cpu.has(Isa::avxvnni)) add_kernels<Isa::avxvnni>(kernels);
  if (cpu.has(Isa::avx2)) add_kernels<Isa::avx2>(kernels);
  add_kernels<Isa::scalar>(kernels);
  kernels.add(ops::Kernel<Embed>{
      .name = "cpu.embed.rows16",
      .refuses = [](const Embed::Desc& d) { return rows16_layout_refuses(d.weight, d.hidden); },
      .seconds =
          [](const Embed::Desc& d, int64_t rows) {
            return roofline_seconds(Embed::cost(d, rows), {10e9, 0.25e9});
          },
      .run = run_embed,
      .layout = &rows16_layout()});
}

}  // namespace sluice::cpu
