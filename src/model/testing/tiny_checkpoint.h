// Small random checkpoints in the layout of model hubs, for tests.
#pragma once

#include <string>

#include "base/error.h"
#include "tensor/dtype.h"

namespace sluice::model::testing {

struct TinyModel {
  std::string arch = "llama";  // or qwen2, gemma2, mixtral
  int64_t hidden = 64;
  int64_t layers = 2;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  int64_t width = 96;  // of the MLP, or of one expert
  int64_t vocab = 128;
  int64_t experts = 4;  // mixtral only; each token uses 2
  int64_t max_positions = 256;
  DType dtype = DType::f32;  // f32, f16 or bf16
  bool sharded = false;      // a file for each layer and one for the rest, with an index
  uint32_t seed = 1;
};

/// Writes config.json, generation_config.json and the weights into an existing directory. The same values
/// give the same bytes. Weights are scaled so that activations and logits stay of the order of 1.
Status write_tiny_checkpoint(const std::string& directory, const TinyModel& model);

}  // namespace sluice::model::testing
