#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/kv_page.h"
#include "cpu/reference/reference.h"
#include "cpu/workspace.h"

namespace sluice::cpu::reference {
namespace {

using Desc = ops::Attention::Desc;

/// One query: head `head` of one row of the batch.
struct Query {
  const Desc& d;
  const ops::Attention::Args& a;
  int32_t sequence;
  int64_t row, position, head;

  int64_t kv_head() const { return head / (d.heads / d.kv_heads); }
  int64_t page(int64_t j) const { return page_of(a.cache.tables, sequence, j / d.page_tokens); }
  int64_t first() const { return d.window > 0 ? std::max<int64_t>(0, position - d.window + 1) : 0; }

  float query_element(float x) const {
    if (!d.rounded || d.kv == DType::f32 || d.kv == DType::i8) return x;
    return d.kv == DType::f16 ? f16_to_f32(f32_to_f16(x)) : bf16_to_f32(f32_to_bf16(x));
  }

  double score(int64_t j) const {
    const float* q = a.q.f32(row) + head * d.d_qk;
    std::byte* keys = key_block(d, a.cache, page(j), kv_head());
    double dot = 0;
    for (int64_t i = 0; i < d.d_qk; ++i)
      dot += double{query_element(q[i])} * load_element(d.kv, keys, key_index(d, j % d.page_tokens, i));
    if (d.kv == DType::i8) dot *= kv_scales(keys, d.d_qk * d.page_tokens)[j % d.page_tokens];
    double s = d.scale * dot;
    if (d.softcap > 0) s = d.softcap * std::tanh(s / d.softcap);
    if (d.alibi) s -= a.alibi_slopes[head] * static_cast<double>(position - j);
    return s;
  }
};

void attend(const Query& query, double* sum) {
  const Desc& d = query.d;
  double top = d.sinks ? query.a.sinks[query.head] : -std::numeric_limits<double>::infinity();
  for (int64_t j = query.first(); j <= query.position; ++j) top = std::max(top, query.score(j));
  double total = d.sinks ? std::exp(query.a.sinks[query.head] - top) : 0;
  std::fill(sum, sum + d.d_v, 0.0);
  for (int64_t j = query.first(); j <= query.position; ++j) {
    const double weight = std::exp(query.score(j) - top);
    std::byte* values = value_block(d, query.a.cache, query.page(j), query.kv_head());
    const int64_t slot = j % d.page_tokens;
    total += weight;
    const double factor =
        d.kv == DType::i8 ? weight * kv_scales(values, d.d_v * d.page_tokens)[slot] : weight;
    for (int64_t i = 0; i < d.d_v; ++i)
      sum[i] += factor * load_element(d.kv, values, value_index(d, slot, i));
  }
  float* out = query.a.out.f32(query.row) + query.head * d.d_v;
  for (int64_t i = 0; i < d.d_v; ++i) out[i] = static_cast<float>(sum[i] / total);
}

void run_attention(const Desc& d, const ops::Attention::Args& a, const ops::Launch& launch) {
  ThreadPool& pool = pool_of(launch);
  double* sums = Workspace(launch.workspace).take<double>(d.d_v * pool.threads());
  for (const ops::SequenceRows& s : a.sequences) {
    pool.parallel_for(s.rows * d.heads, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t i = item / d.heads;
        attend({d, a, s.table, s.first_row + i, s.first_position + i, item % d.heads}, sums + worker * d.d_v);
      }
    });
  }
}

}  // namespace

ops::Kernel<ops::Attention> attention() {
  return {.name = "cpu.attention.reference",
          .refuses = [](const Desc& d) -> std::string {
            if (!ops::is_kv_type(d.kv)) return "KV pages hold f32, f16, bf16 or i8";
            return d.kv_heads > 0 && d.heads % d.kv_heads == 0 ? "" : "heads are not a multiple of kv_heads";
          },
          .seconds =
              [](const Desc& d, int64_t rows) {
                return roofline_seconds(ops::Attention::cost(d, rows, rows), kReferenceRates);
              },
          .run = run_attention,
          .workspace_bytes = [](const Desc& d, int64_t,
                                int threads) { return scratch_bytes<double>(d.d_v * threads); }};
}

}  // namespace sluice::cpu::reference
