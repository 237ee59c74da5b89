// The plain kernels: each op computed as its contract is written, one value after the other. They are what
// fast kernels are checked against, so they sum in double and call libm. They read weights in the plain
// layout and may use the pool, over outputs that do not depend on each other.
#pragma once

#include "ops/ops.h"

namespace sluice::cpu::reference {

ops::Kernel<ops::Embed> embed();
ops::Kernel<ops::RopeTable> rope_table();
ops::Kernel<ops::Linear> linear();
ops::Kernel<ops::AddNorm> add_norm();
ops::Kernel<ops::RopeKv> rope_kv();
ops::Kernel<ops::Attention> attention();
ops::Kernel<ops::Activation> activation();
ops::Kernel<ops::Route> route();
ops::Kernel<ops::MoeMlp> moe_mlp();
ops::Kernel<ops::GatherRows> gather_rows();
ops::Kernel<ops::ScaleSoftcap> scale_softcap();
ops::Kernel<ops::Sample> sample();

/// f(x) as transformers computes it in fp32.
float activate(ops::ActivationKind kind, float x);

}  // namespace sluice::cpu::reference
