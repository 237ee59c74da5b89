#pragma once

#include "cpu/thread_pool.h"
#include "ops/linear.h"

namespace sluice::cpu::reference {

std::string linear_refuses(const ops::Linear::Desc& desc);
uint64_t linear_workspace_bytes(const ops::Linear::Desc& desc, int64_t max_rows, int threads);
void run_linear(const ops::Linear::Desc& desc, const ops::Linear::Args& args, ThreadPool& pool,
                std::byte* workspace);

/// 32 activations as int8 with one scale: q = round(x * 127 / max|x|), ties to even, and d = max|x| / 127.
/// Below kTinyActivation all are zero; when one is not finite, d is NaN. Every int8 kernel computes exactly
/// this.
constexpr float kTinyActivation = 1e-30f;
float quantize_activations(const float* x, int8_t* q);

}  // namespace sluice::cpu::reference
