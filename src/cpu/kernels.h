#pragma once

#include "cpu/features.h"
#include "ops/ops.h"

namespace sluice::cpu {

/// Adds every kernel of use on `cpu`, the plain references among them.
void register_cpu_kernels(ops::Kernels& kernels, const CpuFeatures& cpu);

/// Adds the plain references: "cpu.<op>.reference". They accept every desc that has a meaning.
void register_reference_kernels(ops::Kernels& kernels);

}  // namespace sluice::cpu
