// Registers the matrix products: which kernel serves which number of rows.
#include "base/check.h"
#include "cuda/cuda_device.h"
#include "cuda/kernels/kernels.h"
#include "cuda/register.h"

namespace sluice::cuda {
namespace {

using ops::Activations;
using ops::Linear;

// Up to here reading W once decides, and linear_few or linear_wgmma does it best; above, the library is a few
// per cent faster, unless a gate follows.
constexpr int64_t kFewRows = 128;
// From here on linear_large has tiles enough for all multiprocessors.
constexpr int64_t kManyRows = 768;

bool is_rounded(const Linear::Desc& d) { return d.activations != Activations::f32; }

std::string exact_refuses(const Linear::Desc& d) {
  if (!is_plain_float(d.weight)) return "weights are f32, f16 or bf16";
  if (d.activations == Activations::int8) return "activations are floats";
  if (d.gate) return "the activation is a step of its own";
  return {};
}

/// What matrix instructions need: both operands of one 16-bit type, rows of whole 16 bytes.
std::string half_refuses(const Linear::Desc& d) {
  const bool same = (d.activations == Activations::bf16 && d.weight == DType::bf16) ||
                    (d.activations == Activations::f16 && d.weight == DType::f16);
  if (!same) return "weights and activations are both f16 or both bf16";
  if (d.gate && !linear_large_fits(*d.gate, d.n))
    return "a gate is silu, gelu or gelu_tanh of a multiple of 8 columns";
  return d.k % 8 == 0 ? "" : "k is not a multiple of 8";
}

std::string half_invariant_refuses(const Linear::Desc& d) {
  if (d.gate && !linear_wgmma_sums_at_once(d.n, d.k, true))
    return "k is summed in parts, and the activation is a step of its own";
  return half_refuses(d);
}

uint64_t rounded_bytes(const Linear::Desc& d, int64_t rows) {
  return (static_cast<uint64_t>(rows * d.k) * 2 + 255) / 256 * 256;
}

/// Of sums to which a gate is applied afterwards.
uint64_t gate_bytes(const Linear::Desc& d, int64_t rows) {
  if (!d.gate) return 0;
  return (static_cast<uint64_t>(std::min(rows, kManyRows - 1) * d.n) * sizeof(float) + 255) / 256 * 256;
}

LinearCall call_of(const Linear::Desc& d, const Linear::Args& a) {
  return {.n = d.n,
          .k = d.k,
          .type = d.weight,
          .x = a.x,
          .weight = a.weight,
          .bias = d.bias ? a.bias : nullptr,
          .y = a.y};
}

/// With x in the weight's type: whoever made it may have rounded it already. What is left of the workspace is
/// at `rest`.
LinearCall rounded_call(const Linear::Desc& d, const Linear::Args& a, const ops::Launch& launch,
                        std::byte** rest) {
  LinearCall call = call_of(d, a);
  *rest = launch.workspace;
  if (a.x.dtype != DType::f32 && a.x.stride % 8 == 0) return call;
  SLUICE_CHECK(a.x.dtype == DType::f32, "x is {} with rows {} apart", name(a.x.dtype), a.x.stride);
  round_rows(queue_of(launch), a.x, d.weight, launch.workspace);
  call.x = {launch.workspace, d.weight, a.x.rows, d.k, d.k};
  *rest += rounded_bytes(d, a.x.rows);
  return call;
}

void multiply(const LinearCall& call, const ops::Launch& launch, std::byte* scratch) {
  if (call.x.rows <= kLinearFewRows) return linear_few(queue_of(launch), call);
  if (call.x.rows > kFewRows && linear_blas(queue_of(launch), call, scratch)) return;
  if (call.x.rows >= kManyRows && linear_large_fits(call)) return linear_large(queue_of(launch), call);
  linear_wgmma(queue_of(launch), call, false, scratch, counters_of(launch));
}

void multiply_invariant(const LinearCall& call, const ops::Launch& launch, std::byte* scratch) {
  if (call.x.rows >= kManyRows && linear_large_fits(call) && linear_wgmma_sums_at_once(call.n, call.k, true))
    return linear_large(queue_of(launch), call);
  linear_wgmma(queue_of(launch), call, true, scratch, counters_of(launch));
}

/// A gate goes with the product from kGatedFrom rows on; with fewer it follows on sums in the workspace.
template <auto kMultiply, int64_t kGatedFrom>
void run_half(const Linear::Desc& d, const Linear::Args& a, const ops::Launch& launch) {
  std::byte* rest = nullptr;
  const LinearCall call = rounded_call(d, a, launch, &rest);
  if (!d.gate) return kMultiply(call, launch, rest);
  if (call.x.rows >= kGatedFrom) return linear_large(queue_of(launch), call, d.gate);
  LinearCall sums = call;
  sums.y = {rest, DType::f32, call.x.rows, d.n, d.n};
  kMultiply(sums, launch, rest + gate_bytes(d, call.x.rows));
  activation(queue_of(launch),
             {.kind = *d.gate, .gated = true, .dim = d.outputs(), .x = sums.y, .y = call.y});
}

uint64_t half_invariant_workspace(const Linear::Desc& d, int64_t max_rows, int) {
  return rounded_bytes(d, max_rows) + gate_bytes(d, max_rows) + linear_wgmma_workspace(d.n, d.k, max_rows);
}
uint64_t half_workspace(const Linear::Desc& d, int64_t max_rows, int parallelism) {
  const uint64_t products = half_invariant_workspace(d, max_rows, parallelism);
  if (max_rows <= kFewRows) return products;
  return std::max(products, rounded_bytes(d, max_rows) + gate_bytes(d, max_rows) + kBlasWorkspace);
}

template <int kSlower>
double seconds(const Linear::Desc& d, int64_t rows) {
  return kSlower * roofline_seconds(Linear::cost(d, rows), {3e12, 700e12});
}

}  // namespace

void register_linear_kernels(ops::Kernels& kernels) {
  kernels.add(ops::Kernel<Linear>{
      .name = "cuda.linear.exact",
      .refuses = exact_refuses,
      .seconds = seconds<20>,
      .run = [](const Linear::Desc& d, const Linear::Args& a,
                const ops::Launch& launch) { linear_exact(queue_of(launch), call_of(d, a), is_rounded(d)); },
      .layout = &ops::plain_layout(),
      .batch_invariant = false});
  kernels.add(
      ops::Kernel<Linear>{.name = "cuda.linear.exact_tiles",
                          .refuses = exact_refuses,
                          .seconds = seconds<40>,
                          .run =
                              [](const Linear::Desc& d, const Linear::Args& a, const ops::Launch& launch) {
                                linear_exact_tiles(queue_of(launch), call_of(d, a), is_rounded(d));
                              },
                          .layout = &ops::plain_layout()});
  kernels.add(ops::Kernel<Linear>{.name = "cuda.linear.half",
                                  .refuses = half_refuses,
                                  .seconds = seconds<1>,
                                  .run = run_half<multiply, kManyRows>,
                                  .workspace_bytes = half_workspace,
                                  .layout = &ops::plain_layout(),
                                  .batch_invariant = false});
  kernels.add(ops::Kernel<Linear>{.name = "cuda.linear.half_invariant",
                                  .refuses = half_invariant_refuses,
                                  .seconds = seconds<2>,
                                  .run = run_half<multiply_invariant, kFewRows + 1>,
                                  .workspace_bytes = half_invariant_workspace,
                                  .layout = &ops::plain_layout()});
}

}  // namespace sluice::cuda
