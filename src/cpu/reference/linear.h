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

/// A block with an outlier would leave little precision to its other elements, and few channels with outliers
/// cause most of a model's error (LLM.int8(), https://arxiv.org/abs/2208.07339). So elements larger than
/// kOutlier times the mean of max|x| over the row's blocks are taken out, the largest kMostOutliers of a
/// block, the first of equals first: the block is quantised as though they were zero, and they are multiplied
/// as floats.
constexpr float kOutlier = 2;
constexpr int kMostOutliers = 4;

}  // namespace sluice::cpu::reference
