#include "cpu/kernels.h"

namespace sluice::cpu {

void register_cpu_kernels(ops::Kernels& kernels, Isa) { register_reference_kernels(kernels); }

}  // namespace sluice::cpu
