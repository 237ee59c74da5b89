// What one step computes on, as ops see it: rows of tokens that belong to sequences.
#pragma once

#include <cstdint>
#include <span>

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

/// The cached keys and values of one layer. How a page is laid out inside is private to the backend's
/// `rope_kv` and `attention` kernels, which agree on it; a page of keys has kv_heads * d_qk * page_tokens
/// elements, of values kv_heads * d_v * page_tokens.
struct KvCache {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  PageTables tables;
};

}  // namespace sluice::ops
