#include "cpu/kernels.h"

#include "cpu/attention/register.h"
#include "cpu/linear/linear.h"
#include "cpu/rows/register.h"

namespace sluice::cpu {

void register_cpu_kernels(ops::Kernels& kernels, Isa isa) {
  register_reference_kernels(kernels);
  register_rows16_kernels(kernels, isa);
  register_row_kernels(kernels, isa);
  register_attention_kernels(kernels, isa);
}

}  // namespace sluice::cpu
