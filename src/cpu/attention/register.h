#pragma once

#include "cpu/features.h"
#include "ops/ops.h"

namespace sluice::cpu {

/// Adds attention for the instruction sets that `cpu` has, the best first: it wins a tie.
void register_attention_kernels(ops::Kernels& kernels, const CpuFeatures& cpu);

}  // namespace sluice::cpu
