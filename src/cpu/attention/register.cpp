#include "cpu/attention/register.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "cpu/attention/kernels.h"
#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/kv_page.h"
#include "cpu/workspace.h"

namespace sluice::cpu {
namespace {

using ops::Attention;
using Desc = Attention::Desc;

// When there are fewer blocks than kFewBlocks a thread, the segments of each are shared out too, kWave of
// them at a time (4096 tokens).
constexpr int64_t kFewBlocks = 4;
constexpr int64_t kWave = 16;

/// How the queries of a batch fall into blocks.
struct Blocking {
  int64_t group;        // heads that share a KV head
  int64_t head_blocks;  // blocks that the group is cut into
  int64_t heads;        // of a block
  int64_t tokens;       // of a block

  Blocking(const Desc& d, int64_t rows)
      : group(d.heads / d.kv_heads),
        head_blocks(ceil_div(group, rows)),
        heads(ceil_div(group, head_blocks)),
        tokens(std::max<int64_t>(1, rows / heads)) {}

  int64_t blocks(const Desc& d, const ops::SequenceRows& s) const {
    return ceil_div<int64_t>(s.rows, tokens) * d.kv_heads * head_blocks;
  }
  /// Block `index` of a sequence. Late tokens first: they take longest.
  QueryBlock block(const Desc& d, const ops::SequenceRows& s, int64_t index) const {
    const int64_t per_token_block = d.kv_heads * head_blocks;
    const int64_t token = (ceil_div<int64_t>(s.rows, tokens) - 1 - index / per_token_block) * tokens;
    const int64_t kv_head = index % per_token_block / head_blocks, head = index % head_blocks * heads;
    return {.table = s.table,
            .kv_head = kv_head,
            .first_head = kv_head * group + head,
            .heads = std::min(heads, group - head),
            .first_row = s.first_row + token,
            .tokens = std::min<int64_t>(tokens, s.rows - token),
            .first_position = s.first_position + token};
  }
};

int64_t first_segment(const Desc& d, const QueryBlock& b) {
  return d.window > 0 ? std::max<int64_t>(0, b.first_position - d.window + 1) / kSegment : 0;
}
int64_t end_segment(const QueryBlock& b) { return b.last_position() / kSegment + 1; }

uint64_t partial_bytes(const Desc& d) {
  return 2 * scratch_bytes<float>(kMostQueryRows) + scratch_bytes<float>(kMostQueryRows * d.d_v);
}
Partial take_partial(const Desc& d, Workspace& w) {
  Partial p;
  p.top = w.take<float>(kMostQueryRows);
  p.total = w.take<float>(kMostQueryRows);
  p.sum = w.take<float>(kMostQueryRows * d.d_v);
  return p;
}
Partial partial_at(const Desc& d, std::byte* base, int64_t index) {
  Workspace w(base + static_cast<uint64_t>(index) * partial_bytes(d));
  return take_partial(d, w);
}
void clear(const Desc& d, int64_t rows, const Partial& p) {
  std::fill_n(p.top, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(p.total, rows, 0.0f);
  std::fill_n(p.sum, rows * d.d_v, 0.0f);
}

/// What one thread needs to work on a block.
struct BlockScratch {
  float *queries, *scores;
  Partial segment, all;

  static uint64_t bytes(const Desc& d) {
    return scratch_bytes<float>(kMostQueryRows * d.d_qk) +
           scratch_bytes<float>(kMostQueryRows * kScoreStride) + 2 * partial_bytes(d);
  }
  BlockScratch(const Desc& d, std::byte* base, int worker) {
    Workspace w(base + static_cast<uint64_t>(worker) * bytes(d));
    queries = w.take<float>(kMostQueryRows * d.d_qk);
    scores = w.take<float>(kMostQueryRows * kScoreStride);
    segment = take_partial(d, w);
    all = take_partial(d, w);
  }
};

/// f(block index counted over all sequences, block) for the indices [begin, end).
template <typename F>
void for_each_block(const AttentionCall& c, const Blocking& blocking, int64_t begin, int64_t end,
                    const F& f) {
  int64_t first = 0;
  for (const ops::SequenceRows& s : c.a.sequences) {
    const int64_t blocks = blocking.blocks(c.d, s);
    for (int64_t i = std::max(begin, first); i < std::min(end, first + blocks); ++i)
      f(i, blocking.block(c.d, s, i - first));
    first += blocks;
  }
}

/// Each block by one thread.
void run_whole_blocks(const AttentionFunctions& f, const AttentionCall& c, const Blocking& blocking,
                      int64_t blocks, ThreadPool& pool, std::byte* workspace) {
  pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int worker) {
    const BlockScratch scratch(c.d, workspace, worker);
    for_each_block(c, blocking, begin, end, [&](int64_t, const QueryBlock& b) {
      f.load_queries(c, b, scratch.queries);
      clear(c.d, b.rows(), scratch.all);
      for (int64_t segment = first_segment(c.d, b); segment < end_segment(b); ++segment) {
        f.attend(c, b, segment, scratch.queries, scratch.scores, scratch.segment);
        f.merge(c.d, b.rows(), scratch.segment, scratch.all);
      }
      f.finish(c, b, scratch.all);
    });
  });
}

/// Segments of all blocks shared out, in waves of kWave segments; then merged in order.
void run_shared_segments(const AttentionFunctions& f, const AttentionCall& c, const Blocking& blocking,
                         int64_t blocks, ThreadPool& pool, std::byte* workspace) {
  std::byte* states = workspace + static_cast<uint64_t>(pool.threads()) * BlockScratch::bytes(c.d);
  std::byte* parts = states + static_cast<uint64_t>(blocks) * partial_bytes(c.d);
  int64_t begin = std::numeric_limits<int64_t>::max(), end = 0;
  for_each_block(c, blocking, 0, blocks, [&](int64_t i, const QueryBlock& b) {
    clear(c.d, b.rows(), partial_at(c.d, states, i));
    begin = std::min(begin, first_segment(c.d, b));
    end = std::max(end, end_segment(b));
  });
  const auto in_range = [&](const QueryBlock& b, int64_t segment) {
    return segment >= first_segment(c.d, b) && segment < end_segment(b);
  };
  for (int64_t wave = begin; wave < end; wave += kWave) {
    const int64_t segments = std::min(kWave, end - wave);
    pool.parallel_for(blocks * segments, 1, [&](int64_t item, int64_t, int worker) {
      const BlockScratch scratch(c.d, workspace, worker);
      const int64_t segment = wave + item % segments, index = item / segments;
      for_each_block(c, blocking, index, index + 1, [&](int64_t i, const QueryBlock& b) {
        if (!in_range(b, segment)) return;
        f.load_queries(c, b, scratch.queries);
        f.attend(c, b, segment, scratch.queries, scratch.scores,
                 partial_at(c.d, parts, i * kWave + segment - wave));
      });
    });
    for_each_block(c, blocking, 0, blocks, [&](int64_t i, const QueryBlock& b) {
      for (int64_t segment = wave; segment < wave + segments; ++segment) {
        if (in_range(b, segment))
          f.merge(c.d, b.rows(), partial_at(c.d, parts, i * kWave + segment - wave),
                  partial_at(c.d, states, i));
      }
    });
  }
  for_each_block(c, blocking, 0, blocks,
                 [&](int64_t i, const QueryBlock& b) { f.finish(c, b, partial_at(c.d, states, i)); });
}

/// Every page that the call will read, so that the work itself need not look.
void check_pages(const AttentionCall& c) {
  for (const ops::SequenceRows& s : c.a.sequences) {
    if (s.rows == 0) continue;
    const int64_t first = c.d.window > 0 ? std::max<int64_t>(0, s.first_position - c.d.window + 1) : 0;
    const int64_t last = s.first_position + s.rows - 1;
    for (int64_t page = first / c.d.page_tokens; page <= last / c.d.page_tokens; ++page)
      page_of(c.a.cache.tables, s.table, page);
  }
}

std::string refuses(const Desc& d) {
  if (!ops::is_kv_type(d.kv)) return "KV pages hold f32, f16, bf16 or i8";
  if (d.kv_heads <= 0 || d.heads % d.kv_heads != 0) return "heads are not a multiple of kv_heads";
  if (d.page_tokens % 16 != 0 || kSegment % d.page_tokens != 0)
    return "page_tokens is not 16, 32, 64, 128 or 256";
  return {};
}

/// What is worth a kernel of its own for bf16: all else is as without it.
std::string refuses_but_pairs(const Desc& d) {
  if (d.kv != DType::bf16 || !d.rounded) return "is for keys and values in bf16 and queries rounded to it";
  return refuses(d);
}

}  // namespace

std::string tiles_refuse(const Desc& d) {
  if (d.d_qk % 32 != 0 || d.d_v % 32 != 0) return "heads are not of a multiple of 32 dimensions";
  if (d.page_tokens % 32 != 0) return "page_tokens is not a multiple of 32";
  return refuses_but_pairs(d);
}

void run_attention(const AttentionFunctions& f, const Desc& d, const Attention::Args& a, ThreadPool& pool,
                   std::byte* workspace) {
  const AttentionCall call{d, a};
  const Blocking blocking(d, f.query_rows);
  check_pages(call);
  int64_t blocks = 0, longest = 0;
  for (const ops::SequenceRows& s : a.sequences) {
    blocks += blocking.blocks(d, s);
    longest = std::max<int64_t>(longest, s.first_position + s.rows);
  }
  const bool shared = pool.threads() > 1 && blocks < kFewBlocks * pool.threads() && longest > 2 * kSegment;
  (shared ? run_shared_segments : run_whole_blocks)(f, call, blocking, blocks, pool, workspace);
}

uint64_t attention_workspace_bytes(const Desc& d, int threads) {
  const auto t = static_cast<uint64_t>(threads);
  return t * BlockScratch::bytes(d) + kFewBlocks * t * (1 + kWave) * partial_bytes(d);
}

namespace {

template <Isa I>
const AttentionFunctions& functions() {
  if constexpr (I == Isa::scalar) return scalar_attention_functions();
  if constexpr (I == Isa::avx2) return avx2_attention_functions();
  if constexpr (I == Isa::avx512) return avx512_attention_functions();
  if constexpr (I == Isa::avx512bf16) return avx512bf16_attention_functions();
  if constexpr (I == Isa::amx) return amx_attention_functions();
}

template <Isa I>
void add_kernel(ops::Kernels& kernels, std::string_view name) {
  kernels.add(ops::Kernel<Attention>{
      .name = name,
      .refuses = I == Isa::amx          ? tiles_refuse
                 : I == Isa::avx512bf16 ? refuses_but_pairs
                                        : refuses,
      .seconds =
          [](const Desc& d, int64_t rows) {
            constexpr double kFlops = I == Isa::scalar       ? 2e9
                                      : I == Isa::avx2       ? 25e9
                                      : I == Isa::avx512bf16 ? 90e9
                                      : I == Isa::amx        ? 200e9
                                                             : 50e9;
            return roofline_seconds(Attention::cost(d, rows, rows), {10e9, kFlops});
          },
      .run =
          [](const Desc& d, const Attention::Args& a, const ops::Launch& launch) {
            run_attention(functions<I>(), d, a, pool_of(launch), launch.workspace);
          },
      .workspace_bytes = [](const Desc& d, int64_t,
                            int threads) { return attention_workspace_bytes(d, threads); }});
}

}  // namespace

void register_attention_kernels(ops::Kernels& kernels, const CpuFeatures& cpu) {
  if (cpu.has(Isa::amx)) add_kernel<Isa::amx>(kernels, "cpu.attention.amx");
  if (cpu.has(Isa::avx512bf16)) add_kernel<Isa::avx512bf16>(kernels, "cpu.attention.avx512bf16");
  if (cpu.has(Isa::avx512)) add_kernel<Isa::avx512>(kernels, "cpu.attention.avx512");
  if (cpu.has(Isa::avx2)) add_kernel<Isa::avx2>(kernels, "cpu.attention.avx2");
  add_kernel<Isa::scalar>(kernels, "cpu.attention.scalar");
}

}  // namespace sluice::cpu
