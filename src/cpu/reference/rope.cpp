#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "cpu/cost.h"
#include "cpu/cpu_device.h"
#include "cpu/kv_page.h"
#include "cpu/reference/norm.h"
#include "cpu/reference/reference.h"

namespace sluice::cpu::reference {
namespace {

void run_rope_table(const ops::RopeTable::Desc& d, const ops::RopeTable::Args& a, const ops::Launch& launch) {
  const int64_t n = d.frequencies;
  pool_of(launch).parallel_for(a.y.rows, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t variant = d.variants > 1 ? a.variants[t] : 0;
      SLUICE_CHECK(variant >= 0 && variant < d.variants, "variant {} of {}", variant, d.variants);
      float* y = a.y.f32(t);
      for (int64_t i = 0; i < n; ++i) {
        const float angle = static_cast<float>(a.positions[t]) * a.frequencies[variant * n + i];
        y[i] = std::cos(angle) * d.attention_factor;
        y[n + i] = std::sin(angle) * d.attention_factor;
      }
    }
  });
}

/// One head: the pair (x0, x1) turns by its angle.
void rotate(const ops::RopeKv::Desc& d, const float* table, float* head) {
  const int64_t n = d.rope == ops::RopeStyle::none ? 0 : d.rope_dims / 2;
  for (int64_t i = 0; i < n; ++i) {
    const float c = table[i], s = table[n + i];
    float& x0 = d.rope == ops::RopeStyle::half ? head[i] : head[2 * i];
    float& x1 = d.rope == ops::RopeStyle::half ? head[n + i] : head[2 * i + 1];
    const float turned0 = x0 * c - x1 * s;
    x1 = x1 * c + x0 * s;
    x0 = turned0;
  }
}

void normalise_heads(const ops::RopeKv::Desc& d, const float* weight, int64_t heads, float* x) {
  if (d.qk_norm == ops::QkNormScope::none) return;
  if (d.qk_norm == ops::QkNormScope::full)
    return normalise(d.qk_norm_kind, heads * d.d_qk, d.eps, x, weight, nullptr, x);
  const int64_t step = d.qk_norm == ops::QkNormScope::per_head && weight != nullptr ? d.d_qk : 0;
  for (int64_t h = 0; h < heads; ++h)
    normalise(d.qk_norm_kind, d.d_qk, d.eps, x + h * d.d_qk, weight + h * step, nullptr, x + h * d.d_qk);
}

void norm_and_rotate(const ops::RopeKv::Desc& d, const float* weight, const float* table, int64_t heads,
                     float* x) {
  if (!d.norm_after_rope) normalise_heads(d, weight, heads, x);
  for (int64_t h = 0; h < heads; ++h) rotate(d, table, x + h * d.d_qk);
  if (d.norm_after_rope) normalise_heads(d, weight, heads, x);
}

/// One head of one token, x (n), to the elements index(0), index(1), ... of its page.
template <typename F>
void store_head(const ops::RopeKv::Desc& d, const float* x, int64_t n, std::byte* head, int64_t slot,
                const F& index) {
  float factor = 1;
  if (d.kv == DType::i8) {
    float top = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; ++i) {
      finite = finite && std::isfinite(x[i]);
      top = std::max(top, std::abs(x[i]));
    }
    const bool zeros = !finite || top < ops::kTiniestKv;
    factor = zeros ? 0 : 127 / top;
    kv_scales(head, n * d.page_tokens)[slot] = !finite ? std::numeric_limits<float>::quiet_NaN()
                                               : zeros ? 0
                                                       : top / 127;
  }
  for (int64_t i = 0; i < n; ++i) store_element(d.kv, head, index(i), factor == 0 ? 0 : x[i] * factor);
}

void write_kv(const ops::RopeKv::Desc& d, const ops::KvCache& cache, int32_t sequence, int64_t position,
              const float* k, const float* v) {
  const int64_t page = page_of(cache.tables, sequence, position / d.page_tokens);
  const int64_t slot = position % d.page_tokens;
  for (int64_t h = 0; h < d.kv_heads; ++h) {
    std::byte* keys = key_block(d, cache, page, h);
    std::byte* values = value_block(d, cache, page, h);
    store_head(d, k + h * d.d_qk, d.d_qk, keys, slot, [&](int64_t i) { return key_index(d, slot, i); });
    store_head(d, v + h * d.d_v, d.d_v, values, slot, [&](int64_t i) { return value_index(d, slot, i); });
  }
}

void run_rope_kv(const ops::RopeKv::Desc& d, const ops::RopeKv::Args& a, const ops::Launch&) {
  for (const ops::SequenceRows& s : a.sequences) {
    for (int32_t i = 0; i < s.rows; ++i) {
      float* q = a.qkv.f32(s.first_row + i);
      float* k = q + d.heads * d.d_qk;
      const float* table = d.rope == ops::RopeStyle::none ? nullptr : a.rope_table.f32(s.first_row + i);
      norm_and_rotate(d, a.q_norm, table, d.heads, q);
      norm_and_rotate(d, a.k_norm, table, d.kv_heads, k);
      write_kv(d, a.cache, s.table, s.first_position + i, k, k + d.kv_heads * d.d_qk);
    }
  }
}

}  // namespace

ops::Kernel<ops::RopeTable> rope_table() {
  return {.name = "cpu.rope_table.reference",
          .refuses = [](const ops::RopeTable::Desc&) { return std::string(); },
          .seconds =
              [](const ops::RopeTable::Desc& d, int64_t rows) {
                return roofline_seconds(ops::RopeTable::cost(d, rows), kReferenceRates);
              },
          .run = run_rope_table};
}

ops::Kernel<ops::RopeKv> rope_kv() {
  return {
      .name = "cpu.rope_kv.reference",
      .refuses = [](const ops::RopeKv::Desc& d) -> std::string {
        return ops::is_kv_type(d.kv) ? "" : "KV pages hold f32, f16, bf16 or i8";
      },
      .seconds = [](const ops::RopeKv::Desc& d,
                    int64_t rows) { return roofline_seconds(ops::RopeKv::cost(d, rows), kReferenceRates); },
      .run = run_rope_kv};
}

}  // namespace sluice::cpu::reference
