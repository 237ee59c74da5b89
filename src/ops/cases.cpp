#include "ops/cases.h"

#include "quant/format.h"

namespace sluice::ops {
namespace {

/// Representations of activations that a weight type allows.
std::vector<Activations> activations_of(DType dtype) {
  if (is_block_type(dtype)) return {Activations::f32, Activations::int8};
  if (dtype == DType::bf16) return {Activations::f32, Activations::bf16};
  return {Activations::f32};
}

}  // namespace

std::vector<DType> weight_types() {
  return {DType::f32,  DType::f16,  DType::bf16, DType::q8_0,   DType::q4_0,
          DType::q4_1, DType::q5_0, DType::q5_1, DType::q2_k,   DType::q3_k,
          DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl, DType::iq4_xs};
}

template <>
std::vector<Case<Linear>> edge_cases() {
  std::vector<Case<Linear>> out;
  for (DType type : weight_types()) {
    for (Activations activations : activations_of(type)) {
      const int64_t block = info(type).block_elems;
      for (int64_t n : {1, 15, 16, 40}) {
        for (int64_t rows : {1, 3, 13}) out.push_back({{n, block, type, activations, n == 40}, rows});
      }
      out.push_back({{49, 3 * block, type, activations, true}, 29});
      out.push_back({{64, 1536 / block * block, type, activations, false}, 7});
      if (!is_block_type(type)) out.push_back({{37, 77, type, activations, true}, 5});
    }
  }
  // Enough rows and columns for every blocking, with a rest in each.
  for (DType type : {DType::f16, DType::bf16, DType::q4_1, DType::q6_k}) {
    for (Activations activations : activations_of(type))
      out.push_back({{297, type == DType::q6_k ? 768 : 736, type, activations, true}, 50});
  }
  return out;
}

template <>
std::vector<Case<Linear>> model_cases() {
  struct Shape {
    int64_t n, k;
    DType type;
  };
  const Shape shapes[] = {
      // SmolLM2-135M: qkv, out, gate and up, down, head
      {960, 576, DType::q4_1},
      {576, 576, DType::q4_1},
      {3072, 576, DType::q4_1},
      {576, 1536, DType::q4_1},
      {49152, 576, DType::q4_1},
      {49152, 576, DType::q8_0},
      {3072, 576, DType::q4_0},
      {3072, 576, DType::q8_0},
      {3072, 576, DType::bf16},
      // of the size of a layer of 1B models
      {8192, 2048, DType::q4_k},
      {8192, 2048, DType::q6_k},
      {8192, 2048, DType::q5_k},
      {8192, 2048, DType::iq4_xs},
      {8192, 2048, DType::bf16},
      {8192, 2048, DType::f16},
  };
  std::vector<Case<Linear>> out;
  for (const Shape& s : shapes) {
    for (Activations activations : activations_of(s.type)) {
      for (int64_t rows : {1, 4, 16, 512}) {
        if (rows == 512 && s.n > 10000) continue;  // only the last row of a prompt meets the head
        out.push_back({{s.n, s.k, s.type, activations, false}, rows});
      }
    }
  }
  return out;
}

template <>
std::vector<Case<MoeMlp>> edge_cases() {
  std::vector<Case<MoeMlp>> out;
  const auto add = [&](int64_t experts, int64_t k, int64_t width, DType up, DType down, Activations a,
                       bool gated, ActivationKind kind, int64_t rows) {
    out.push_back({{experts, k, 64, width, kind, gated, up, down, a}, rows});
  };
  for (int64_t rows : {1, 2, 17}) {
    add(4, 2, 40, DType::f32, DType::f32, Activations::f32, true, ActivationKind::silu, rows);
    add(8, 3, 32, DType::q8_0, DType::q8_0, Activations::int8, true, ActivationKind::silu, rows);
    add(8, 8, 96, DType::q4_0, DType::q4_1, Activations::int8, true, ActivationKind::gelu_tanh, rows);
    add(5, 1, 64, DType::bf16, DType::f16, Activations::f32, false, ActivationKind::relu2, rows);
    add(5, 2, 64, DType::q5_1, DType::q8_0, Activations::f32, true, ActivationKind::gelu, rows);
  }
  for (int64_t rows : {1, 17})
    add(3, 2, 64, DType::bf16, DType::bf16, Activations::bf16, true, ActivationKind::silu, rows);
  return out;
}

template <>
std::vector<Case<MoeMlp>> model_cases() {
  // Of the size of a layer of Qwen3-30B-A3B, with fewer experts.
  const MoeMlp::Desc d{
      32, 8, 2048, 768, ActivationKind::silu, true, DType::q4_k, DType::q4_k, Activations::int8};
  return {{d, 1}, {d, 16}, {d, 128}};
}

template <>
std::vector<Case<Embed>> edge_cases() {
  std::vector<Case<Embed>> out;
  for (DType type : weight_types()) {
    const int64_t block = info(type).block_elems;
    out.push_back({{50, 2 * block, type, 1, 0, 0}, 9});
    out.push_back({{16, block, type, 3.5f, 20, 2}, 1});
  }
  return out;
}
template <>
std::vector<Case<Embed>> model_cases() {
  return {{{49152, 576, DType::q8_0}, 1}, {{49152, 576, DType::q4_1}, 512}};
}

template <>
std::vector<Case<AddNorm>> edge_cases() {
  std::vector<Case<AddNorm>> out;
  for (int64_t dim : {1, 15, 64, 100, 576}) {
    for (NormKind kind : {NormKind::none, NormKind::rms, NormKind::layer}) {
      out.push_back({{dim, true, kind, 0.5f, true, NormKind::rms, 1e-5f}, 3});
      if (dim > 1) out.push_back({{dim, false, NormKind::none, 1, true, kind, 1e-6f}, 2});
    }
    out.push_back({{dim, true, NormKind::none, 1, false, NormKind::none, 1e-5f}, 1});
  }
  return out;
}
template <>
std::vector<Case<AddNorm>> model_cases() {
  const AddNorm::Desc d{576, true, NormKind::none, 1, true, NormKind::rms, 1e-5f};
  return {{d, 1}, {d, 512}};
}

template <>
std::vector<Case<Activation>> edge_cases() {
  std::vector<Case<Activation>> out;
  for (ActivationKind kind : {ActivationKind::silu, ActivationKind::gelu, ActivationKind::gelu_tanh,
                              ActivationKind::relu, ActivationKind::relu2}) {
    for (int64_t dim : {1, 16, 77}) {
      out.push_back({{dim, kind, true}, 3});
      out.push_back({{dim, kind, false}, 2});
    }
  }
  return out;
}
template <>
std::vector<Case<Activation>> model_cases() {
  return {{{1536, ActivationKind::silu, true}, 1},
          {{1536, ActivationKind::silu, true}, 512},
          {{2048, ActivationKind::gelu_tanh, true}, 512}};
}

template <>
std::vector<Case<ScaleSoftcap>> edge_cases() {
  return {{{1, 1, 30}, 2}, {{77, 0.25f, 0}, 3}, {{5000, 1, 30}, 2}, {{64, 1.0f / 16, 50}, 1}};
}
template <>
std::vector<Case<ScaleSoftcap>> model_cases() {
  return {{{256000, 1, 30}, 1}};
}

template <>
std::vector<Case<Sample>> edge_cases() {
  return {{{1}, 20},     {{2}, 40},      {{31}, 60},     {{32}, 60},    {{1000}, 200},
          {{4099}, 200}, {{49152}, 120}, {{128256}, 60}, {{262144}, 12}};
}
template <>
std::vector<Case<Sample>> model_cases() {
  return {{{49152}, 1}, {{128256}, 1}, {{128256}, 16}, {{128256}, 64}, {{128256}, 256}};
}

template <>
std::vector<Case<RopeKv>> edge_cases() {
  const std::vector<ProblemSequence> batch = {{1, 0}, {5, 30}, {40, 17}, {1, 100}, {0, 3}};
  std::vector<Case<RopeKv>> out;
  for (DType kv : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    RopeKv::Desc d{
        .heads = 6, .kv_heads = 2, .d_qk = 24, .d_v = 20, .rope = RopeStyle::half, .rope_dims = 24, .kv = kv};
    out.push_back({d, 0, batch});
    d.page_tokens = 16;
    d.rope_dims = 10;
    d.qk_norm = QkNormScope::head;
    out.push_back({d, 0, batch});
    d.rope = RopeStyle::interleaved;
    d.qk_norm = QkNormScope::per_head;
    d.qk_norm_kind = NormKind::layer;
    out.push_back({d, 0, batch});
    d.qk_norm = QkNormScope::full;
    d.norm_after_rope = true;
    out.push_back({d, 0, batch});
    d.rope = RopeStyle::none;
    d.rope_dims = 0;
    d.qk_norm = QkNormScope::none;
    out.push_back({d, 0, batch});
  }
  return out;
}
template <>
std::vector<Case<RopeKv>> model_cases() {
  const RopeKv::Desc d{
      .heads = 9, .kv_heads = 3, .d_qk = 64, .d_v = 64, .rope = RopeStyle::half, .rope_dims = 64};
  return {{d, 0, {{1, 500}}}, {d, 0, {{512, 0}}}};
}

template <>
std::vector<Case<Attention>> edge_cases() {
  const std::vector<ProblemSequence> batch = {{1, 0},   {1, 15},  {1, 16},   {33, 0},
                                              {7, 250}, {1, 700}, {20, 500}, {0, 9}};
  std::vector<Case<Attention>> out;
  for (DType kv : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
    Attention::Desc d{.heads = 6, .kv_heads = 2, .d_qk = 24, .d_v = 20, .scale = 0.2f, .kv = kv};
    out.push_back({d, 0, batch});
    d.window = 40;
    out.push_back({d, 0, batch});
    d.window = 1;
    d.softcap = 5;
    out.push_back({d, 0, batch});
    d.window = 0;
    d.sinks = true;
    out.push_back({d, 0, batch});
    d.alibi = true;
    d.page_tokens = 16;
    out.push_back({d, 0, batch});
    d = {.heads = 5, .kv_heads = 5, .d_qk = 64, .d_v = 64, .scale = 0.125f, .kv = kv};
    out.push_back({d, 0, batch});
    d = {.heads = 32, .kv_heads = 1, .d_qk = 40, .d_v = 72, .scale = 0.15f, .window = 300, .kv = kv};
    out.push_back({d, 0, batch});
    out.push_back({d, 0, {{1, 5000}}});  // one long sequence: its segments are shared out
  }
  // What tensor cores and tile registers compute.
  Attention::Desc d{
      .heads = 12, .kv_heads = 2, .d_qk = 64, .d_v = 64, .scale = 0.125f, .kv = DType::bf16, .rounded = true};
  for (int64_t window : {0, 40, 300}) {
    d.window = window;
    out.push_back({d, 0, batch});
  }
  d = {.heads = 3, .kv_heads = 3, .d_qk = 96, .d_v = 32, .scale = 0.1f, .softcap = 5, .sinks = true};
  d.kv = DType::bf16, d.rounded = true, d.page_tokens = 64;
  out.push_back({d, 0, batch});
  d.scale = 0.5f, d.softcap = 0;  // few tokens have all the weight
  out.push_back({d, 0, {{1, 5000}}});
  return out;
}
template <>
std::vector<Case<Attention>> model_cases() {
  const Attention::Desc smollm{.heads = 9, .kv_heads = 3, .d_qk = 64, .d_v = 64, .scale = 0.125f};
  const Attention::Desc llama{.heads = 32, .kv_heads = 8, .d_qk = 64, .d_v = 64, .scale = 0.125f};
  Attention::Desc coded = smollm;
  coded.kv = DType::i8;
  return {{smollm, 0, {{1, 511}}},  {smollm, 0, {{1, 4095}}},
          {coded, 0, {{1, 4095}}},  {smollm, 0, std::vector<ProblemSequence>(16, {1, 255})},
          {smollm, 0, {{512, 0}}},  {llama, 0, {{1, 4095}}},
          {llama, 0, {{256, 1024}}}};
}

// ---- a Llama of 8B parameters

template <>
std::vector<Case<Linear>> large_model_cases() {
  std::vector<Case<Linear>> out;
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{6144, 4096},  // qkv, out, gate and up, down
                             {4096, 4096},
                             {28672, 4096},
                             {4096, 14336}}) {
    for (int64_t rows : {1, 4, 16, 64, 256, 2048})
      out.push_back({{n, k, DType::bf16, Activations::bf16, false}, rows});
  }
  for (int64_t rows : {1, 64}) out.push_back({{128256, 4096, DType::bf16, Activations::bf16, false}, rows});
  for (int64_t rows : {256, 2048})
    out.push_back({{28672, 4096, DType::bf16, Activations::bf16, false, ActivationKind::silu}, rows});
  return out;
}
template <>
std::vector<Case<MoeMlp>> large_model_cases() {
  // A layer of Qwen3-30B-A3B with a quarter of its experts.
  const MoeMlp::Desc d{
      32, 8, 2048, 768, ActivationKind::silu, true, DType::bf16, DType::bf16, Activations::bf16};
  return {{d, 1}, {d, 16}, {d, 128}};
}
template <>
std::vector<Case<Embed>> large_model_cases() {
  const Embed::Desc d{.vocab = 128256, .hidden = 4096, .weight = DType::bf16};
  return {{d, 1}, {d, 64}, {d, 2048}};
}
template <>
std::vector<Case<AddNorm>> large_model_cases() {
  const AddNorm::Desc d{4096, true, NormKind::none, 1, true, NormKind::rms, 1e-5f};
  return {{d, 1}, {d, 64}, {d, 2048}};
}
template <>
std::vector<Case<Activation>> large_model_cases() {
  const Activation::Desc d{14336, ActivationKind::silu, true};
  return {{d, 1}, {d, 64}, {d, 2048}};
}
template <>
std::vector<Case<ScaleSoftcap>> large_model_cases() {
  return {{{128256, 1, 30}, 1}, {{128256, 1, 30}, 64}};
}
template <>
std::vector<Case<Sample>> large_model_cases() {
  return {{{128256}, 1}, {{128256}, 16}, {{128256}, 64}, {{128256}, 256}};
}
template <>
std::vector<Case<RopeKv>> large_model_cases() {
  const RopeKv::Desc d{.heads = 32,
                       .kv_heads = 8,
                       .d_qk = 128,
                       .d_v = 128,
                       .rope = RopeStyle::half,
                       .rope_dims = 128,
                       .kv = DType::bf16};
  return {{d, 0, {{1, 1087}}}, {d, 0, std::vector<ProblemSequence>(64, {1, 1087})}, {d, 0, {{2048, 0}}}};
}
template <>
std::vector<Case<Attention>> large_model_cases() {
  const Attention::Desc d{.heads = 32,
                          .kv_heads = 8,
                          .d_qk = 128,
                          .d_v = 128,
                          .scale = 0.0883883f,
                          .kv = DType::bf16,
                          .rounded = true};
  std::vector<Case<Attention>> out;
  for (size_t sequences : {1, 4, 16, 64})
    out.push_back({d, 0, std::vector<ProblemSequence>(sequences, {1, 1087})});
  out.push_back({d, 0, {{2048, 0}}});
  out.push_back({d, 0, {{2048, 8192}}});
  out.push_back({d, 0, std::vector<ProblemSequence>(16, {1024, 0})});
  return out;
}

}  // namespace sluice::ops
