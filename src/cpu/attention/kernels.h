// What each instruction set provides for attention: the work on a block of queries, without threads.
//
// The positions of a sequence are cut into segments of kSegment tokens, counted from position 0. A query's
// result is defined by segments: each is a softmax of its own (largest score, sum of exponentials, weighted
// sum of values), and they are merged in rising order. So whether a query is computed in a chunk of a prompt
// or alone, by one thread or by many, the operations and their order are the same.
#pragma once

#include <string>

#include "cpu/thread_pool.h"
#include "ops/attention.h"

namespace sluice::cpu {

constexpr int64_t kSegment = 256;  // tokens; a multiple of the page
// Rows of a block: how often a key or value is used once it is in a register. On tile registers, two of them.
constexpr int64_t kQueryRows = 24;
constexpr int64_t kMostQueryRows = 32;
// Floats from one row's scores to the next one's; not a power of two, which would crowd all rows into a few
// lines of the first level cache.
constexpr int64_t kScoreStride = kSegment + 16;

/// Consecutive tokens of one sequence, and some heads that share a KV head. Row r is head r % heads of token
/// r / heads.
struct QueryBlock {
  int32_t table = 0;
  int64_t kv_head = 0;
  int64_t first_head = 0, heads = 0;
  int64_t first_row = 0, tokens = 0;  // rows of the batch
  int64_t first_position = 0;

  int64_t rows() const { return heads * tokens; }
  int64_t last_position() const { return first_position + tokens - 1; }
};

/// Softmax over some positions, not yet divided: for each row of a block the largest score, the sum of
/// exponentials relative to it, and the values weighted by them.
struct Partial {
  float* top;    // (rows)
  float* total;  // (rows)
  float* sum;    // (rows, d_v)
};

struct AttentionCall {
  const ops::Attention::Desc& d;
  const ops::Attention::Args& a;
};

struct AttentionFunctions {
  /// The block's queries, transposed for attend(): `queries` has kMostQueryRows * d_qk floats.
  void (*load_queries)(const AttentionCall& call, const QueryBlock& block, float* queries) = nullptr;
  /// One segment; `scores` is scratch of kMostQueryRows * kScoreStride floats.
  void (*attend)(const AttentionCall& call, const QueryBlock& block, int64_t segment, const float* queries,
                 float* scores, const Partial& out) = nullptr;
  /// into += part, for `rows` rows.
  void (*merge)(const ops::Attention::Desc& d, int64_t rows, const Partial& part,
                const Partial& into) = nullptr;
  /// Divides and writes the block's outputs.
  void (*finish)(const AttentionCall& call, const QueryBlock& block, const Partial& all) = nullptr;
  int64_t query_rows = kQueryRows;  // of a block, at most
};

const AttentionFunctions& scalar_attention_functions();
const AttentionFunctions& avx2_attention_functions();
const AttentionFunctions& avx512_attention_functions();
const AttentionFunctions& avx512bf16_attention_functions();
const AttentionFunctions& amx_attention_functions();

/// Attention by these functions, threads and all; `workspace` as attention_workspace_bytes() says.
void run_attention(const AttentionFunctions& functions, const ops::Attention::Desc& desc,
                   const ops::Attention::Args& args, ThreadPool& pool, std::byte* workspace);
uint64_t attention_workspace_bytes(const ops::Attention::Desc& desc, int threads);
/// Empty when tile registers can compute `desc`.
std::string tiles_refuse(const ops::Attention::Desc& desc);

}  // namespace sluice::cpu
