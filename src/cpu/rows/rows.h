// Ops on rows: norms, activations, rotation and the KV write. Included once per instruction set, after its
// simd header.
#pragma once

#include "cpu/rows/kernels.h"
#include "cpu/simd/math.h"

namespace sluice::cpu::SLUICE_ISA {

/// f(offset, lanes) over n elements: vectors, then the rest as a part of one.
template <typename F>
SLUICE_SIMD void for_each_vector(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, static_cast<int64_t>(kLanes));
  if (i < n) f(i, n - i);
}
SLUICE_SIMD F32 load_lanes(const float* p, int64_t lanes) {
  return lanes == kLanes ? load(p) : load_first(p, lanes);
}
SLUICE_SIMD void store_lanes(float* p, F32 v, int64_t lanes) {
  if (lanes == kLanes) return store(p, v);
  store_first(p, v, lanes);
}

// ---- activation

template <ops::ActivationKind K>
SLUICE_SIMD F32 activation(F32 x) {
  using ops::ActivationKind;
  const auto sigmoid_times = [](F32 value, F32 at) {
    return div(value, add(set1(1.0f), exp(sub(zero(), at))));
  };
  if constexpr (K == ActivationKind::silu) return sigmoid_times(x, x);
  if constexpr (K == ActivationKind::gelu_tanh) {  // (1 + tanh u) / 2 = sigmoid(2 u)
    const F32 cubic = fma(mul(mul(x, x), x), set1(0.044715f), x);
    return sigmoid_times(x, mul(cubic, set1(2 * 0.79788456080286536f)));
  }
  if constexpr (K == ActivationKind::gelu) {  // x * erfc(-x / sqrt 2) / 2, from erfc of what is positive
    const F32 tail = mul(set1(0.5f), erfc(mul(abs(x), set1(0.70710678118654752f))));
    return mul(x, select_less(x, zero(), tail, sub(set1(1.0f), tail)));
  }
  const F32 positive = max(zero(), x);
  if constexpr (K == ActivationKind::relu) return positive;
  if constexpr (K == ActivationKind::relu2) return mul(positive, positive);
}

template <ops::ActivationKind K>
static void activate_as(bool gated, int64_t dim, const float* x, float* y) {
  for_each_vector(dim, [&](int64_t i, int64_t lanes) {
    F32 v = activation<K>(load_lanes(x + i, lanes));
    if (gated) v = mul(v, load_lanes(x + dim + i, lanes));
    store_lanes(y + i, v, lanes);
  });
}

static void activate(ops::ActivationKind kind, bool gated, int64_t dim, const float* x, float* y) {
  using ops::ActivationKind;
  if (kind == ActivationKind::silu) return activate_as<ActivationKind::silu>(gated, dim, x, y);
  if (kind == ActivationKind::gelu) return activate_as<ActivationKind::gelu>(gated, dim, x, y);
  if (kind == ActivationKind::gelu_tanh) return activate_as<ActivationKind::gelu_tanh>(gated, dim, x, y);
  if (kind == ActivationKind::relu) return activate_as<ActivationKind::relu>(gated, dim, x, y);
  activate_as<ActivationKind::relu2>(gated, dim, x, y);
}

// ---- norms

/// x -> (x - shift) * factor, then weight and bias.
struct Normaliser {
  float shift = 0;
  float factor = 1;
};

static Normaliser measure(ops::NormKind kind, int64_t n, float eps, const float* x) {
  Normaliser norm;
  if (kind == ops::NormKind::none) return norm;
  if (kind == ops::NormKind::layer) {
    F32 total = zero();
    for_each_vector(n, [&](int64_t i, int64_t lanes) { total = add(total, load_lanes(x + i, lanes)); });
    norm.shift = reduce_add(total) / static_cast<float>(n);
  }
  F32 squares = zero();
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    F32 v = sub(load_lanes(x + i, lanes), set1(norm.shift));
    if (lanes != kLanes) v = keep_range(v, 0, lanes, zero());
    squares = fma(v, v, squares);
  });
  norm.factor = 1.0f / __builtin_sqrtf(reduce_add(squares) / static_cast<float>(n) + eps);
  return norm;
}

SLUICE_SIMD F32 apply(const Normaliser& norm, F32 x, const float* weight, const float* bias, int64_t i,
                      int64_t lanes) {
  F32 v = mul(sub(x, set1(norm.shift)), set1(norm.factor));
  if (weight != nullptr) v = mul(v, load_lanes(weight + i, lanes));
  if (bias != nullptr) v = add(v, load_lanes(bias + i, lanes));
  return v;
}

static void normalise(ops::NormKind kind, int64_t n, float eps, const float* x, const float* weight,
                      const float* bias, float* y) {
  const Normaliser norm = measure(kind, n, eps, x);
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    store_lanes(y + i, apply(norm, load_lanes(x + i, lanes), weight, bias, i, lanes), lanes);
  });
}

static void add_norm(const ops::AddNorm::Desc& d, const ops::AddNorm::Args& a, int64_t row) {
  float* h = a.h.f32(row);
  if (d.branch) {
    const float* branch = a.branch.f32(row);
    const Normaliser norm = measure(d.branch_norm, d.dim, d.eps, branch);
    for_each_vector(d.dim, [&](int64_t i, int64_t lanes) {
      const F32 v = apply(norm, load_lanes(branch + i, lanes), a.branch_weight, a.branch_bias, i, lanes);
      store_lanes(h + i, fma(v, set1(d.multiplier), load_lanes(h + i, lanes)), lanes);
    });
  }
  if (d.output) normalise(d.output_norm, d.dim, d.eps, h, a.output_weight, a.output_bias, a.y.f32(row));
}

static void scale_softcap(const ops::ScaleSoftcap::Desc& d, float* x) {
  for_each_vector(d.dim, [&](int64_t i, int64_t lanes) {
    F32 v = mul(load_lanes(x + i, lanes), set1(d.scale));
    if (d.softcap > 0) v = mul(set1(d.softcap), tanh(div(v, set1(d.softcap))));
    store_lanes(x + i, v, lanes);
  });
}

// ---- q and k

SLUICE_SIMD void rotate_half(int64_t n, const float* cosine, const float* sine, float* x) {
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    const F32 c = load_lanes(cosine + i, lanes), s = load_lanes(sine + i, lanes);
    const F32 a = load_lanes(x + i, lanes), b = load_lanes(x + n + i, lanes);
    store_lanes(x + i, sub(mul(a, c), mul(b, s)), lanes);
    store_lanes(x + n + i, add(mul(b, c), mul(a, s)), lanes);
  });
}
SLUICE_SIMD void rotate_interleaved(int64_t n, const float* cosine, const float* sine, float* x) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosine[i] - b * sine[i];
    x[2 * i + 1] = b * cosine[i] + a * sine[i];
  }
}

static void normalise_heads(const ops::RopeKv::Desc& d, const float* weight, int64_t heads, float* x) {
  if (d.qk_norm == ops::QkNormScope::none) return;
  if (d.qk_norm == ops::QkNormScope::full)
    return normalise(d.qk_norm_kind, heads * d.d_qk, d.eps, x, weight, nullptr, x);
  const int64_t step = d.qk_norm == ops::QkNormScope::per_head && weight != nullptr ? d.d_qk : 0;
  for (int64_t h = 0; h < heads; ++h)
    normalise(d.qk_norm_kind, d.d_qk, d.eps, x + h * d.d_qk, weight + h * step, nullptr, x + h * d.d_qk);
}

static void norm_and_rotate(const ops::RopeKv::Desc& d, const ops::RopeKv::Args& a, const float* table,
                            float* qkv) {
  const int64_t n = d.rope == ops::RopeStyle::none ? 0 : d.rope_dims / 2;
  const auto heads = [&](float* x, int64_t count, const float* weight) {
    if (!d.norm_after_rope) normalise_heads(d, weight, count, x);
    for (int64_t h = 0; h < count && n > 0; ++h) {
      if (d.rope == ops::RopeStyle::half) rotate_half(n, table, table + n, x + h * d.d_qk);
      if (d.rope == ops::RopeStyle::interleaved) rotate_interleaved(n, table, table + n, x + h * d.d_qk);
    }
    if (d.norm_after_rope) normalise_heads(d, weight, count, x);
  };
  heads(qkv, d.heads, a.q_norm);
  heads(qkv + d.heads * d.d_qk, d.kv_heads, a.k_norm);
}

/// n floats, `stride` apart, to consecutive elements.
template <DType D>
SLUICE_SIMD void store_column(const float* src, int64_t stride, int64_t n, std::byte* dst) {
  alignas(64) float column[kLanes];
  constexpr int64_t kBytes = D == DType::f32 ? 4 : 2;
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    for (int64_t j = 0; j < lanes; ++j) column[j] = src[(i + j) * stride];
    std::byte* to = dst + i * kBytes;
    if constexpr (D == DType::f32) {
      for (int64_t j = 0; j < lanes; ++j) reinterpret_cast<float*>(to)[j] = column[j];
    } else {
      alignas(64) uint16_t halves[kLanes];
      store_f16(halves, load(column));
      __builtin_memcpy(to, halves, static_cast<size_t>(lanes * kBytes));
    }
  });
}

/// n floats to elements `stride` apart: what one token's key is in a page.
template <DType D>
SLUICE_SIMD void store_apart(const float* src, int64_t n, int64_t stride, std::byte* dst) {
  constexpr int64_t kBytes = D == DType::f32 ? 4 : 2;
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    alignas(64) std::byte elements[kLanes * kBytes];
    const F32 v = load_lanes(src + i, lanes);
    if constexpr (D == DType::f16) store_f16(elements, v);
    if constexpr (D == DType::f32) store(reinterpret_cast<float*>(elements), v);
    for (int64_t j = 0; j < lanes; ++j)
      __builtin_memcpy(dst + (i + j) * stride * kBytes, elements + j * kBytes, kBytes);
  });
}

/// One head of one token as ops::is_kv_type says of i8: codes `stride` bytes apart, and their scale.
SLUICE_SIMD void store_codes(const float* x, int64_t n, int64_t stride, std::byte* codes, float* scale) {
  I32 top_bits = set1(0);
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    top_bits = max(top_bits, bit_and(as_i32(load_lanes(x + i, lanes)), set1(0x7fffffff)));
  });
  const int32_t bits = reduce_max(top_bits);  // of integers: a NaN is larger than everything
  float top;
  __builtin_memcpy(&top, &bits, 4);
  const bool finite = top < __builtin_inff(), zeros = !finite || top < ops::kTiniestKv;
  *scale = !finite ? __builtin_nanf("") : zeros ? 0.0f : top / 127.0f;
  const float factor = zeros ? 0.0f : 127.0f / top;
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    int8_t q[kLanes];
    store_i8(q, zeros ? set1(0) : round_to_i32(mul(load_lanes(x + i, lanes), set1(factor))));
    if (stride == 1) {
      __builtin_memcpy(codes + i, q, static_cast<size_t>(lanes));
    } else {
      for (int64_t j = 0; j < lanes; ++j) codes[(i + j) * stride] = static_cast<std::byte>(q[j]);
    }
  });
}

static void write_codes(const ops::RopeKv::Desc& d, const ops::KvCache& cache, int64_t page, int64_t slot,
                        int64_t tokens, const float* qkv, int64_t stride) {
  const float* k = qkv + d.heads * d.d_qk;
  const float* v = k + d.kv_heads * d.d_qk;
  const int64_t key_codes = d.d_qk * d.page_tokens, value_codes = d.d_v * d.page_tokens;
  for (int64_t h = 0; h < d.kv_heads; ++h) {
    std::byte* keys = cache.keys + (page * d.kv_heads + h) * (key_codes + 4 * d.page_tokens);
    std::byte* values = cache.values + (page * d.kv_heads + h) * (value_codes + 4 * d.page_tokens);
    float* const key_scales = reinterpret_cast<float*>(keys + key_codes) + slot;
    float* const value_scales = reinterpret_cast<float*>(values + value_codes) + slot;
    for (int64_t t = 0; t < tokens; ++t) {
      store_codes(k + t * stride + h * d.d_qk, d.d_qk, d.page_tokens, keys + slot + t, key_scales + t);
      store_codes(v + t * stride + h * d.d_v, d.d_v, 1, values + (slot + t) * d.d_v, value_scales + t);
    }
  }
}

/// n floats as bf16: element i to dst[place(i)].
template <typename F>
SLUICE_SIMD void store_halves(const float* src, int64_t n, uint16_t* dst, const F& place) {
  for_each_vector(n, [&](int64_t i, int64_t lanes) {
    uint16_t halves[kLanes];
    store_bf16(halves, load_lanes(src + i, lanes));
    for (int64_t j = 0; j < lanes; ++j) dst[place(i + j)] = halves[j];
  });
}

/// Pairs of bf16; see kv_page.h.
static void write_pairs(const ops::RopeKv::Desc& d, const ops::KvCache& cache, int64_t page, int64_t slot,
                        int64_t tokens, const float* qkv, int64_t stride) {
  const int64_t key_elements = d.d_qk * d.page_tokens, value_elements = d.d_v * d.page_tokens;
  for (int64_t h = 0; h < d.kv_heads; ++h) {
    auto* keys = reinterpret_cast<uint16_t*>(cache.keys) + (page * d.kv_heads + h) * key_elements;
    auto* values = reinterpret_cast<uint16_t*>(cache.values) + (page * d.kv_heads + h) * value_elements;
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t at = slot + t;
      const float* k = qkv + t * stride + (d.heads + h) * d.d_qk;
      const float* v = qkv + t * stride + (d.heads + d.kv_heads) * d.d_qk + h * d.d_v;
      store_halves(k, d.d_qk, keys, [&](int64_t i) {
        return (i | 1) < d.d_qk ? (i / 2 * d.page_tokens + at) * 2 + i % 2 : i * d.page_tokens + at;
      });
      store_halves(v, d.d_v, values, [&](int64_t i) { return (at / 2 * d.d_v + i) * 2 + at % 2; });
    }
  }
}

template <DType D>
static void write_page_as(const ops::RopeKv::Desc& d, const ops::KvCache& cache, int64_t page, int64_t slot,
                          int64_t tokens, const float* qkv, int64_t stride) {
  constexpr int64_t kBytes = D == DType::f32 ? 4 : 2;
  const float* k = qkv + d.heads * d.d_qk;
  const float* v = k + d.kv_heads * d.d_qk;
  const int64_t head_keys = d.d_qk * d.page_tokens * kBytes, head_values = d.d_v * d.page_tokens * kBytes;
  for (int64_t h = 0; h < d.kv_heads; ++h) {
    std::byte* keys = cache.keys + (page * d.kv_heads + h) * head_keys;
    std::byte* values = cache.values + (page * d.kv_heads + h) * head_values;
    if (tokens == 1) store_apart<D>(k + h * d.d_qk, d.d_qk, d.page_tokens, keys + slot * kBytes);
    for (int64_t i = 0; i < d.d_qk && tokens > 1; ++i)
      store_column<D>(k + h * d.d_qk + i, stride, tokens, keys + (i * d.page_tokens + slot) * kBytes);
    for (int64_t t = 0; t < tokens; ++t)
      store_column<D>(v + t * stride + h * d.d_v, 1, d.d_v, values + (slot + t) * d.d_v * kBytes);
  }
}

static void write_page(const ops::RopeKv::Desc& d, const ops::KvCache& cache, int64_t page, int64_t slot,
                       int64_t tokens, const float* qkv, int64_t stride) {
  if (d.kv == DType::i8) return write_codes(d, cache, page, slot, tokens, qkv, stride);
  if (d.kv == DType::f16) return write_page_as<DType::f16>(d, cache, page, slot, tokens, qkv, stride);
  if (d.kv == DType::bf16) return write_pairs(d, cache, page, slot, tokens, qkv, stride);
  write_page_as<DType::f32>(d, cache, page, slot, tokens, qkv, stride);
}

}  // namespace sluice::cpu::SLUICE_ISA
