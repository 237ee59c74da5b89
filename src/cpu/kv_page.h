// How a page of keys and a page of values are laid out on the CPU.
//
//   keys    (kv_heads, d_qk, page_tokens)   a vector register holds one dimension of consecutive tokens, and
//                                           q.k of each token is one sum over d_qk in order
//   values  (kv_heads, page_tokens, d_v)    a vector register holds consecutive dimensions of one token
#pragma once

#include "base/check.h"
#include "ops/batch.h"
#include "tensor/dtype.h"
#include "tensor/half.h"

namespace sluice::cpu {

/// Where the keys and values of one KV head of one page begin.
template <typename Desc>
std::byte* key_block(const Desc& d, const ops::KvCache& cache, int64_t page, int64_t kv_head) {
  return cache.keys + (page * d.kv_heads + kv_head) * d.d_qk * d.page_tokens * info(d.kv).block_bytes;
}
template <typename Desc>
std::byte* value_block(const Desc& d, const ops::KvCache& cache, int64_t page, int64_t kv_head) {
  return cache.values + (page * d.kv_heads + kv_head) * d.d_v * d.page_tokens * info(d.kv).block_bytes;
}

/// The page that holds `position` of the sequence `table`.
inline int64_t page_of(const ops::PageTables& tables, int32_t table, int64_t page_index) {
  const int32_t page = tables.pages[table * tables.stride + page_index];
  SLUICE_CHECK(page >= 0, "sequence {} needs page {} of its table, which holds none", table, page_index);
  return page;
}

inline float load_element(DType dtype, const std::byte* base, int64_t index) {
  switch (dtype) {
    case DType::f16:
      return f16_to_f32(reinterpret_cast<const uint16_t*>(base)[index]);
    case DType::bf16:
      return bf16_to_f32(reinterpret_cast<const uint16_t*>(base)[index]);
    default:
      return reinterpret_cast<const float*>(base)[index];
  }
}
inline void store_element(DType dtype, std::byte* base, int64_t index, float value) {
  switch (dtype) {
    case DType::f16:
      reinterpret_cast<uint16_t*>(base)[index] = f32_to_f16(value);
      break;
    case DType::bf16:
      reinterpret_cast<uint16_t*>(base)[index] = f32_to_bf16(value);
      break;
    default:
      reinterpret_cast<float*>(base)[index] = value;
  }
}

inline bool is_kv_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace sluice::cpu
