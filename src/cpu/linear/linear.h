// Matrix products in the rows16 layout: linear, embed and moe_mlp on top of an instruction set's functions.
#pragma once

#include "cpu/features.h"
#include "cpu/linear/kernels.h"
#include "cpu/rows/kernels.h"
#include "cpu/thread_pool.h"
#include "ops/ops.h"

namespace sluice::cpu {

/// Adds linear, embed and moe_mlp for the rows16 layout, for the instruction sets that `cpu` has, the best
/// first: it wins a tie.
void register_rows16_kernels(ops::Kernels& kernels, const CpuFeatures& cpu);

/// Scratch bytes: for up to `rows` prepared rows of x, and of one thread in multiply().
int64_t prepared_bytes(const TileFunctions& functions, const ops::Linear::Desc& desc, int64_t rows);
int64_t thread_scratch_bytes(const TileFunctions& functions, const ops::Linear::Desc& desc);

/// Empty when the rows16 kernels can compute `desc`.
std::string rows16_refuses(const ops::Linear::Desc& desc);

/// Items that one claim of the pool should take of `items`: several claims a thread, for balance, of at least
/// `least` items.
int64_t balanced_grain(int64_t items, int threads, int64_t least = 1);

void run_linear_rows16(const TileFunctions& functions, const ops::Linear::Desc& desc,
                       const ops::Linear::Args& args, ThreadPool& pool, std::byte* workspace);
uint64_t linear_rows16_workspace_bytes(const TileFunctions& functions, const ops::Linear::Desc& desc,
                                       int64_t max_rows, int threads);

void run_moe_rows16(const TileFunctions& functions, const RowFunctions& row_functions,
                    const ops::MoeMlp::Desc& desc, const ops::MoeMlp::Args& args, ThreadPool& pool,
                    std::byte* workspace);
uint64_t moe_rows16_workspace_bytes(const TileFunctions& functions, const ops::MoeMlp::Desc& desc,
                                    int64_t max_rows, int threads);

}  // namespace sluice::cpu
