#pragma once

#include "cpu/features.h"
#include "ops/ops.h"

namespace sluice::cpu {

/// Adds activation, add_norm, scale_softcap and rope_kv, for the instruction sets that `cpu` has, the best
/// first: it wins a tie.
void register_row_kernels(ops::Kernels& kernels, const CpuFeatures& cpu);

}  // namespace sluice::cpu
