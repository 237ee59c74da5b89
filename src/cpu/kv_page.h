// How a page of keys and a page of values are laid out on the CPU.
//
//   keys    (kv_heads, d_qk, page_tokens)   a vector register holds one dimension of consecutive tokens, and
//                                           q.k of each token is one sum over d_qk in order
//   values  (kv_heads, page_tokens, d_v)    a vector register holds consecutive dimensions of one token
//
// Of bf16 there are pairs, what dot products of pairs take: keys (kv_heads, d_qk / 2, page_tokens, 2), of an
// odd d_qk the last dimension as above; values (kv_heads, page_tokens / 2, d_v, 2).
//
// Where the type has scales, each head's elements are followed by (page_tokens) f32.
#pragma once

#include <cmath>

#include "base/check.h"
#include "ops/batch.h"
#include "tensor/dtype.h"
#include "tensor/half.h"

namespace sluice::cpu {

/// Where the keys and values of one KV head of one page begin.
template <typename Desc>
std::byte* key_block(const Desc& d, const ops::KvCache& cache, int64_t page, int64_t kv_head) {
  return cache.keys +
         static_cast<uint64_t>(page * d.kv_heads + kv_head) * ops::kv_head_bytes(d.kv, d.d_qk, d.page_tokens);
}
template <typename Desc>
std::byte* value_block(const Desc& d, const ops::KvCache& cache, int64_t page, int64_t kv_head) {
  return cache.values +
         static_cast<uint64_t>(page * d.kv_heads + kv_head) * ops::kv_head_bytes(d.kv, d.d_v, d.page_tokens);
}

/// Which element of its head dimension i of the token in `slot` is.
template <typename Desc>
int64_t key_index(const Desc& d, int64_t slot, int64_t i) {
  const bool pair = d.kv == DType::bf16 && (i | 1) < d.d_qk;
  return pair ? (i / 2 * d.page_tokens + slot) * 2 + i % 2 : i * d.page_tokens + slot;
}
template <typename Desc>
int64_t value_index(const Desc& d, int64_t slot, int64_t i) {
  return d.kv == DType::bf16 ? (slot / 2 * d.d_v + i) * 2 + slot % 2 : slot * d.d_v + i;
}

/// The scales of a head's tokens, behind its `elements` of i8.
inline float* kv_scales(std::byte* head, int64_t elements) {
  return reinterpret_cast<float*>(head + elements);
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
    case DType::i8:
      return static_cast<float>(reinterpret_cast<const int8_t*>(base)[index]);
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
    case DType::i8:
      reinterpret_cast<int8_t*>(base)[index] = static_cast<int8_t>(std::nearbyint(value));
      break;
    default:
      reinterpret_cast<float*>(base)[index] = value;
  }
}

}  // namespace sluice::cpu
