// All ops. A backend is a device and a table of kernels for them.
#pragma once

#include "ops/activation.h"
#include "ops/add_norm.h"
#include "ops/attention.h"
#include "ops/embed.h"
#include "ops/kernel.h"
#include "ops/linear.h"
#include "ops/moe.h"
#include "ops/rope_kv.h"
#include "ops/rows.h"

namespace sluice::ops {

using Kernels = KernelTable<Embed, RopeTable, Linear, AddNorm, RopeKv, Attention, Activation, Route, MoeMlp,
                            GatherRows, ScaleSoftcap>;

struct Backend {
  std::unique_ptr<device::Device> device;
  Kernels kernels;
};

}  // namespace sluice::ops
