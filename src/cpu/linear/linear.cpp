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

bool is_int8(const Linear::Desc& d) { return d.activations == ops::Activations::int8; }

void run_linear(const TileFunctions& functions, const Linear::Desc& d, const Linear::Args& a,
                ThreadPool& pool, std::byte* workspace) {
  const ProductFunctions product = functions.product(d.weight, is_int8(d));
  const int64_t m = a.x.rows;
  ProductCall call{.weight = a.weight,
                   .bias = d.bias ? a.bias : nullptr,
                   .y = a.y.f32(),
                   .y_stride = a.y.stride,
                   .m = m,
                   .n = d.n,
                   .k = d.k};
  if (m == 1 && !is_int8(d)) {
    call.prepared = static_cast<const std::byte*>(a.x.data);  // a panel of one row is the row
  } else {
    const PrepareCall prepare{
        .x = a.x.f32(), .x_stride = a.x.stride, .m = m, .k = d.k, .prepared = workspace};
    if (m * d.k <= kAloneElements) {
      product.prepare(prepare, 0, m);
    } else {
      const int64_t panels = ceil_div(m, functions.max_panel);
      pool.parallel_for(panels, 1, [&](int64_t begin, int64_t end, int) {
        product.prepare(prepare, begin * functions.max_panel, std::min(m, end * functions.max_panel));
      });
    }
    call.prepared = workspace;
  }
  const int64_t tiles = ceil_div(d.n, kTileRows);
  const int64_t tile_bytes =
      kTileRows * static_cast<int64_t>(row_bytes(d.weight, static_cast<uint64_t>(d.k)));
  const int64_t least = ceil_div(kAloneBytes, tile_bytes * m);
  pool.parallel_for(tiles, balanced_grain(tiles, pool.threads(), least),
                    [&](int64_t begin, int64_t end, int) { product.multiply(call, begin, end); });
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
  double f32, int8;
};

template <Isa>
struct Rows16;
#define SLUICE_ROWS16(isa, rows_isa, f32_rate, int8_rate)                             \
  template <>                                                                         \
  struct Rows16<Isa::isa> {                                                           \
    static constexpr std::string_view kLinear = "cpu.linear.rows16." #isa;            \
    static constexpr std::string_view kMoe = "cpu.moe_mlp.rows16." #isa;              \
    static constexpr IsaRates kRates{f32_rate, int8_rate};                            \
    static const TileFunctions& functions() { return isa##_tile_functions(); }        \
    static const RowFunctions& row_functions() { return rows_isa##_row_functions(); } \
  };
SLUICE_ROWS16(scalar, scalar, 1e9, 1e9)
SLUICE_ROWS16(avx2, avx2, 40e9, 80e9)
SLUICE_ROWS16(avx512, avx512, 60e9, 120e9)
SLUICE_ROWS16(avx512vnni, avx512, 60e9, 250e9)
#undef SLUICE_ROWS16

template <Isa I>
double product_seconds(const ops::Cost& cost, ops::Activations activations) {
  constexpr double kBytesPerSecond = 15e9;
  const IsaRates rates = Rows16<I>::kRates;
  return roofline_seconds(cost,
                          {kBytesPerSecond, activations == ops::Activations::int8 ? rates.int8 : rates.f32});
}

template <Isa I>
void add_kernels(ops::Kernels& kernels) {
  kernels.add(ops::Kernel<Linear>{
      .name = Rows16<I>::kLinear,
      .refuses = rows16_refuses,
      .seconds = [](const Linear::Desc& d,
                    int64_t rows) { return product_seconds<I>(Linear::cost(d, rows), d.activations); },
      .run =
          [](const Linear::Desc& d, const Linear::Args& a, const ops::Launch& launch) {
            run_linear(Rows16<I>::functions(), d, a, pool_of(launch), launch.workspace);
          },
      .workspace_bytes =
          [](const Linear::Desc& d, int64_t max_rows, int) {
            return static_cast<uint64_t>(max_rows * prepared_row_bytes(d.k, d.activations));
          },
      .layout = &rows16_layout()});
  kernels.add(ops::Kernel<MoeMlp>{
      .name = Rows16<I>::kMoe,
      .refuses = [](const MoeMlp::Desc& d) -> std::string {
        if (d.activation == ops::ActivationKind::gelu) return "gelu with erf is computed by the reference";
        const std::string up = rows16_refuses(d.gate_up_linear());
        return up.empty() ? rows16_refuses(d.down_linear()) : up;
      },
      .seconds = [](const MoeMlp::Desc& d,
                    int64_t rows) { return product_seconds<I>(MoeMlp::cost(d, rows), d.activations); },
      .run =
          [](const MoeMlp::Desc& d, const MoeMlp::Args& a, const ops::Launch& launch) {
            run_moe_rows16(Rows16<I>::functions(), Rows16<I>::row_functions(), d, a, pool_of(launch),
                           launch.workspace);
          },
      .workspace_bytes = moe_rows16_workspace_bytes,
      .layout = &rows16_layout()});
}

}  // namespace

int64_t prepared_row_bytes(int64_t k, ops::Activations activations) {
  if (activations == ops::Activations::f32) return k * static_cast<int64_t>(sizeof(float));
  return k / kChunk * static_cast<int64_t>(sizeof(ActivationBlock));
}

std::string rows16_refuses(const Linear::Desc& d) {
  if (!is_rows16_dtype(d.weight)) return fmt::format("the layout does not hold {}", name(d.weight));
  if (d.k % info(d.weight).block_elems != 0) return "k is not a multiple of the weight type's block";
  if (is_int8(d) && !is_block_type(d.weight)) return "int8 activations are for quantised weights";
  return {};
}

int64_t balanced_grain(int64_t items, int threads, int64_t least) {
  constexpr int64_t kClaimsPerThread = 8;
  return threads == 1 ? std::max<int64_t>(items, 1) : std::max(least, items / (threads * kClaimsPerThread));
}

void register_rows16_kernels(ops::Kernels& kernels, Isa isa) {
  if (isa >= Isa::avx512vnni) add_kernels<Isa::avx512vnni>(kernels);
  if (isa >= Isa::avx512) add_kernels<Isa::avx512>(kernels);
  if (isa >= Isa::avx2) add_kernels<Isa::avx2>(kernels);
  add_kernels<Isa::scalar>(kernels);
  kernels.add(ops::Kernel<Embed>{.name = "cpu.embed.rows16",
                                 .refuses = [](const Embed::Desc& d) -> std::string {
                                   return is_rows16_dtype(d.weight)
                                              ? ""
                                              : fmt::format("the layout does not hold {}", name(d.weight));
                                 },
                                 .seconds =
                                     [](const Embed::Desc& d, int64_t rows) {
                                       return roofline_seconds(Embed::cost(d, rows), {10e9, 0.25e9});
                                     },
                                 .run = run_embed,
                                 .layout = &rows16_layout()});
}

}  // namespace sluice::cpu
