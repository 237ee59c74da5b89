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
#include "ops/sample.h"

namespace sluice::ops {

using Kernels = KernelTable<Embed, RopeTable, Linear, AddNorm, RopeKv, Attention, Activation, Route, MoeMlp,
                            GatherRows, ScaleSoftcap, Sample>;

struct Backend {
  std::unique_ptr<device::Device> device;
  Kernels kernels;
  /// Weight types whose products take inputs rounded to that type, unless the recipe asks for floats.
  std::vector<DType> rounded_products = {};
  /// Whether kernels whose results are only read by such products may write them rounded.
  bool rounded_buffers = false;
  /// Tokens of a KV page, where the recipe leaves them to the backend.
  int64_t page_tokens = 32;
  /// False: no kernel reads block types; such weights are dequantised to bf16 while they are loaded.
  bool block_weights = true;
};

}  // namespace sluice::ops
