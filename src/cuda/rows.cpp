// Registers the kernels of src/cuda/kernels/rows.cu and sample.cu.
#include "cuda/cuda_device.h"
#include "cuda/kernels/kernels.h"
#include "cuda/register.h"

namespace sluice::cuda {
namespace {

constexpr int64_t kMostNormDim = 24 << 10;  // a row lies in the registers of one block

template <typename Desc>
std::string accepts_any(const Desc&) {
  return {};
}

void run_embed(const ops::Embed::Desc& d, const ops::Embed::Args& a, const ops::Launch& launch) {
  embed(queue_of(launch), {.ids = a.ids,
                           .positions = a.positions,
                           .weight = a.weight,
                           .type = d.weight,
                           .scale = d.scale,
                           .position_table = d.positions > 0 ? a.position_table : nullptr,
                           .position_offset = d.position_offset,
                           .y = a.y});
}

void run_rope_table(const ops::RopeTable::Desc& d, const ops::RopeTable::Args& a, const ops::Launch& launch) {
  rope_table(queue_of(launch), {.positions = a.positions,
                                .variants = d.variants > 1 ? a.variants : nullptr,
                                .frequencies = a.frequencies,
                                .count = d.frequencies,
                                .factor = d.attention_factor,
                                .y = a.y});
}

void run_add_norm(const ops::AddNorm::Desc& d, const ops::AddNorm::Args& a, const ops::Launch& launch) {
  add_norm(queue_of(launch), {.dim = d.dim,
                              .has_branch = d.branch,
                              .has_output = d.output,
                              .branch_norm = d.branch_norm,
                              .output_norm = d.output_norm,
                              .multiplier = d.multiplier,
                              .eps = d.eps,
                              .h = a.h,
                              .branch = a.branch,
                              .y = a.y,
                              .branch_weight = a.branch_weight,
                              .branch_bias = a.branch_bias,
                              .output_weight = a.output_weight,
                              .output_bias = a.output_bias});
}

}  // namespace

void register_row_kernels(ops::Kernels& kernels) {
  kernels.add(ops::Kernel<ops::Embed>{.name = "cuda.embed",
                                      .refuses = [](const ops::Embed::Desc& d) -> std::string {
                                        return is_plain_float(d.weight) ? "" : "weights are f32, f16 or bf16";
                                      },
                                      .seconds = seconds_of_rows<ops::Embed>,
                                      .run = run_embed,
                                      .layout = &ops::plain_layout()});
  kernels.add(ops::Kernel<ops::RopeTable>{.name = "cuda.rope_table",
                                          .refuses = accepts_any<ops::RopeTable::Desc>,
                                          .seconds = seconds_of_rows<ops::RopeTable>,
                                          .run = run_rope_table});
  kernels.add(ops::Kernel<ops::AddNorm>{.name = "cuda.add_norm",
                                        .refuses = [](const ops::AddNorm::Desc& d) -> std::string {
                                          return d.dim <= kMostNormDim
                                                     ? ""
                                                     : "a row is longer than a block's registers";
                                        },
                                        .seconds = seconds_of_rows<ops::AddNorm>,
                                        .run = run_add_norm});
  kernels.add(ops::Kernel<ops::Activation>{
      .name = "cuda.activation",
      .refuses = accepts_any<ops::Activation::Desc>,
      .seconds = seconds_of_rows<ops::Activation>,
      .run = [](const ops::Activation::Desc& d, const ops::Activation::Args& a, const ops::Launch& launch) {
        activation(queue_of(launch), {.kind = d.kind, .gated = d.gated, .dim = d.dim, .x = a.x, .y = a.y});
      }});
  kernels.add(ops::Kernel<ops::GatherRows>{
      .name = "cuda.gather_rows",
      .refuses = accepts_any<ops::GatherRows::Desc>,
      .seconds = seconds_of_rows<ops::GatherRows>,
      .run = [](const ops::GatherRows::Desc&, const ops::GatherRows::Args& a, const ops::Launch& launch) {
        gather_rows(queue_of(launch), a.x, a.rows, a.y);
      }});
  kernels.add(ops::Kernel<ops::ScaleSoftcap>{
      .name = "cuda.scale_softcap",
      .refuses = accepts_any<ops::ScaleSoftcap::Desc>,
      .seconds = seconds_of_rows<ops::ScaleSoftcap>,
      .run = [](const ops::ScaleSoftcap::Desc& d, const ops::ScaleSoftcap::Args& a,
                const ops::Launch& launch) { scale_softcap(queue_of(launch), a.x, d.scale, d.softcap); }});
  kernels.add(ops::Kernel<ops::Sample>{
      .name = "cuda.sample",
      .refuses = [](const ops::Sample::Desc& d) -> std::string {
        return d.dim <= kMostSampleDim ? "" : "a row is longer than the shared memory of a cluster";
      },
      .seconds = seconds_of_rows<ops::Sample>,
      .run =
          [](const ops::Sample::Desc&, const ops::Sample::Args& a, const ops::Launch& launch) {
            sample(queue_of(launch), {.x = a.x,
                                      .first_row = a.first_row,
                                      .limit = a.limit,
                                      .choices = a.choices,
                                      .count = a.count,
                                      .out = a.out,
                                      .seen = a.seen,
                                      .biases = a.biases,
                                      .logprobs = a.logprobs});
          }});
}

}  // namespace sluice::cuda
