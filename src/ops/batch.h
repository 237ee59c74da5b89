// What one step computes on, as ops see it: rows of tokens that belong to sequences.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace sluice::ops {

/// Consecutive rows of the batch that are consecutive positions of one sequence.
struct SequenceRows {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;  // position of first_row; earlier positions are in the KV pages already
  int32_t table = 0;           // row of the page tables that belongs to this sequence
};

/// The sequences of a batch once more, where a device that does not share the host's memory reads them. Rows
/// that no sequence owns pad the batch.
struct DeviceSequences {
  const SequenceRows* sequences = nullptr;
  const int32_t* sequence_of = nullptr;  // (rows): index of each row's sequence, -1 for padding
};

/// Page tables of one KV group: page of tokens [i * page_tokens, (i + 1) * page_tokens) of a sequence at
/// pages[table * stride + i]; -1 where a sliding window has passed.
struct PageTables {
  const int32_t* pages = nullptr;
  int64_t stride = 0;
};

/// Keys and values may be kept as f32, f16, bf16 or i8. As i8, the d elements of one head of one token share
/// a scale: x = scale * q, q = round(x * 127 / max|x|), ties to even, scale = max|x| / 127 as f32; scale 0
/// below a max|x| of kTiniestKv, NaN when one of them is not finite, and q = 0 in both.
constexpr bool is_kv_type(DType t) {
  return t == DType::f32 || t == DType::f16 || t == DType::bf16 || t == DType::i8;
}
constexpr float kTiniestKv = 1e-30f;
inline uint64_t kv_scale_bytes(DType kv) { return kv == DType::i8 ? sizeof(float) : 0; }

/// Bytes of one KV head of a page: page_tokens * d elements, and then, where the type has them, the tokens'
/// scales.
inline uint64_t kv_head_bytes(DType kv, int64_t d, int64_t page_tokens) {
  return static_cast<uint64_t>(page_tokens) *
         (static_cast<uint64_t>(d) * info(kv).block_bytes + kv_scale_bytes(kv));
}

/// The cached keys and values of one layer. How a head's elements are laid out inside its page is private to
/// the backend's `rope_kv` and `attention` kernels, which agree on it; a page of keys has kv_heads stretches
/// of kv_head_bytes(kv, d_qk, page_tokens), one of values of kv_head_bytes(kv, d_v, page_tokens).
struct KvCache {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  PageTables tables;
};

}  // namespace sluice::ops
