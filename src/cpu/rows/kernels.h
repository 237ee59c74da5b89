// What each instruction set provides for ops that work on one row at a time, without threads.
#pragma once

#include "ops/activation.h"
#include "ops/add_norm.h"
#include "ops/rope_kv.h"
#include "ops/rows.h"

namespace sluice::cpu {

struct RowFunctions {
  /// y (dim) = f(x) or f(x[0:dim]) * x[dim:2 dim].
  void (*activate)(ops::ActivationKind kind, bool gated, int64_t dim, const float* x, float* y) = nullptr;
  /// One row of add_norm; absent pointers as in its Args.
  void (*add_norm)(const ops::AddNorm::Desc& desc, const ops::AddNorm::Args& args, int64_t row) = nullptr;
  void (*scale_softcap)(const ops::ScaleSoftcap::Desc& desc, float* x) = nullptr;
  /// Normalises and rotates the q and k of one row in place; `table` is its row of the rope table.
  void (*norm_and_rotate)(const ops::RopeKv::Desc& desc, const ops::RopeKv::Args& args, const float* table,
                          float* qkv) = nullptr;
  /// Writes keys and values of `tokens` rows into one page, from slot `slot` on; qkv is the first row.
  void (*write_page)(const ops::RopeKv::Desc& desc, const ops::KvCache& cache, int64_t page, int64_t slot,
                     int64_t tokens, const float* qkv, int64_t stride) = nullptr;
};

const RowFunctions& scalar_row_functions();
const RowFunctions& avx2_row_functions();
const RowFunctions& avx512_row_functions();

}  // namespace sluice::cpu
