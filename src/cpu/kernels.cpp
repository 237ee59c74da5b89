#include "cpu/kernels.h"

#include "cpu/attention/register.h"
#include "cpu/linear/linear.h"
#include "cpu/rows/register.h"

namespace sluice::cpu {

void register_cpu_kernels(ops::Kernels& kernels, const CpuFeatures& cpu) {
  register_reference_kernels(kernels);
  register_rows16_kernels(kernels, cpu);
  register_row_kernels(kernels, cpu);
  register_attention_kernels(kernels, cpu);
}

}  // namespace sluice::cpu
