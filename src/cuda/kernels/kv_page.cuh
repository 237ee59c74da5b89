// Pages of keys and of values: both (kv_heads, page_tokens, dims), a token's head one stretch of memory.
#pragma once

#include "cuda/kernels/kernels.h"

namespace sluice::cuda {

/// Elements before the row of `position` of one KV head; -1 where the table holds no page.
__device__ inline int64_t kv_row(const KvShape& s, const ops::PageTables& tables, int32_t table, int64_t position,
                                 int64_t kv_head, int64_t dims) {
  const int tokens = static_cast<int>(s.page_tokens), at = static_cast<int>(position);
  const int32_t page = tables.pages[table * tables.stride + at / tokens];
  return ((page * s.kv_heads + kv_head) * tokens + at % tokens) * dims;
}

}  // namespace sluice::cuda
