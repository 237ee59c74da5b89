#include "cpu/kernels.h"
#include "cpu/reference/reference.h"

namespace sluice::cpu {

void register_reference_kernels(ops::Kernels& kernels) {
  kernels.add(reference::embed());
  kernels.add(reference::rope_table());
  kernels.add(reference::linear());
  kernels.add(reference::add_norm());
  kernels.add(reference::rope_kv());
  kernels.add(reference::attention());
  kernels.add(reference::activation());
  kernels.add(reference::route());
  kernels.add(reference::moe_mlp());
  kernels.add(reference::gather_rows());
  kernels.add(reference::scale_softcap());
  kernels.add(reference::sample());
}

}  // namespace sluice::cpu
