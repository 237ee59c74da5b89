// Rotary frequencies from what configs say about them: every `rope_type` of transformers'
// modeling_rope_utils.
#pragma once

#include "base/json.h"
#include "model/spec.h"

namespace sluice::model {

struct RopeRequest {
  ops::RopeStyle style = ops::RopeStyle::half;
  int64_t head_dim = 0;
  int64_t dims = 0;  // rotated dimensions of a head
  double theta = 10000;
  Json scaling;  // the config's rope_scaling, or the part of rope_parameters of this layer kind; null: none
  int64_t max_positions = 0;                       // of the config
  std::vector<float> divisors;                     // a GGUF's rope_freqs tensor (llama3), or empty
  std::vector<float> short_factors, long_factors;  // a GGUF's rope_factors_* (longrope), or empty
};

/// default, linear, dynamic (default up to max_positions, where the context then ends), yarn (Peng et al.
/// 2023), longrope (Ding et al. 2024), llama3. Another type, a missing or impossible parameter: one sentence.
/// `origin` names the file.
Result<Rope> make_rope(const RopeRequest& request, const std::string& origin);

}  // namespace sluice::model
