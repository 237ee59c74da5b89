// Pages of keys and of values: both (kv_heads, page_tokens, dims), a token's head one stretch of memory.
#pragma once

#include <type_traits>

#include "cuda/kernels/common.cuh"
#include "cuda/kernels/kernels.h"

namespace sluice::cuda {

/// Calls f with a value of the cache's type and a constant, the size of a head (attention_tiles_fit).
template <typename F>
void with_head(const KvShape& s, F&& f) {
  const auto with_dims = [&](auto t) {
    switch (s.d_qk) {
      case 64:
        return f(t, std::integral_constant<int, 64>());
      case 80:
        return f(t, std::integral_constant<int, 80>());
      case 96:
        return f(t, std::integral_constant<int, 96>());
      case 128:
        return f(t, std::integral_constant<int, 128>());
      case 256:
        return f(t, std::integral_constant<int, 256>());
      default:
        throw CudaError("a size of heads that no fast kernel takes");
    }
  };
  s.type == DType::bf16 ? with_dims(__nv_bfloat16{}) : with_dims(__half{});
}

/// Elements before the row of `position` of one KV head; -1 where the table holds no page.
__device__ inline int64_t kv_row(const KvShape& s, const ops::PageTables& tables, int32_t table, int64_t position,
                                 int64_t kv_head, int64_t dims) {
  const int tokens = static_cast<int>(s.page_tokens), at = static_cast<int>(position);
  const int32_t page = tables.pages[table * tables.stride + at / tokens];
  return ((page * s.kv_heads + kv_head) * tokens + at % tokens) * dims;
}

}  // namespace sluice::cuda
