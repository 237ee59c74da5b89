// Registers routing and experts.
#include "cuda/cuda_device.h"
#include "cuda/kernels/kernels.h"
#include "cuda/register.h"

namespace sluice::cuda {
namespace {

using ops::MoeMlp;
using ops::Route;

MoeCall call_of(const MoeMlp::Desc& d) {
  return {.experts = d.experts,
          .k = d.k,
          .hidden = d.hidden,
          .width = d.width,
          .activation = d.activation,
          .gated = d.gated,
          .rounded = d.activations != ops::Activations::f32,
          .up_type = d.gate_up,
          .down_type = d.down};
}

std::string moe_refuses(const MoeMlp::Desc& d) {
  if (!is_plain_float(d.gate_up) || !is_plain_float(d.down)) return "weights are f32, f16 or bf16";
  return d.activations == ops::Activations::int8 ? "activations are floats" : "";
}

void run_moe(const MoeMlp::Desc& d, const MoeMlp::Args& a, const ops::Launch& launch) {
  MoeCall call = call_of(d);
  call.x = a.x;
  call.chosen = a.experts;
  call.weights = a.weights;
  call.y = a.y;
  call.up = a.gate_up;
  call.down = a.down;
  moe_mlp(queue_of(launch), call, launch.workspace);
}

}  // namespace

void register_moe_kernels(ops::Kernels& kernels) {
  kernels.add(ops::Kernel<Route>{
      .name = "cuda.route",
      .refuses = [](const Route::Desc& d) -> std::string {
        if (d.k < 1 || d.k > d.experts) return "k is not in [1, experts]";
        return d.experts <= 8192 ? "" : "more experts than shared memory holds";
      },
      .seconds = seconds_of_rows<Route>,
      .run =
          [](const Route::Desc& d, const Route::Args& a, const ops::Launch& launch) {
            route(queue_of(launch), {.experts = d.experts,
                                     .k = d.k,
                                     .softmax = d.score == ops::RouterScore::softmax,
                                     .score_first = d.score_first,
                                     .renormalise = d.renormalise,
                                     .scale = d.scale,
                                     .selection_bias = d.selection_bias ? a.selection_bias : nullptr,
                                     .logits = a.logits,
                                     .chosen = a.experts,
                                     .weights = a.weights});
          }});
  kernels.add(ops::Kernel<MoeMlp>{.name = "cuda.moe_mlp",
                                  .refuses = moe_refuses,
                                  .seconds = seconds_of_rows<MoeMlp>,
                                  .run = run_moe,
                                  .workspace_bytes = [](const MoeMlp::Desc& d, int64_t max_rows,
                                                        int) { return moe_workspace(call_of(d), max_rows); },
                                  .layout = &ops::plain_layout()});
}

}  // namespace sluice::cuda
