#include <algorithm>
#include <set>

#include "base/check.h"
#include "program/passes.h"
#include "program/program.h"

namespace sluice::program {
namespace {

using model::Attention;
using model::Layer;
using model::Norm;
using model::Spec;

constexpr uint64_t kWeightAlignment = 64;

class Lowering {
 public:
  Lowering(const Spec& spec, const model::Recipe& recipe, const model::RoleTypes& types,
           const ops::Backend& backend, const Wishes& wishes)
      : spec_(spec), recipe_(recipe), types_(types), backend_(backend), wishes_(wishes) {}

  Result<Program> run(int64_t logit_rows) {
    program_.limits = {recipe_.max_batch_tokens, logit_rows};
    SLUICE_TRY(kv_groups());
    SLUICE_TRY(embed());
    SLUICE_TRY(rope_tables());
    for (size_t i = 0; i < spec_.layers.size(); ++i) {
      layer_ = static_cast<int32_t>(i);
      SLUICE_TRY(layer(spec_.layers[i]));
    }
    layer_ = -1;
    SLUICE_TRY(head());
    fuse_add_norm(program_);
    if (backend_.rounded_buffers) round_buffers(program_);
    fuse_gates(program_, [&](const LinearStep& product, const ops::Linear::Desc& gated) {
      return is_no_slower(product, gated);
    });
    SLUICE_TRY(select_kernels());
    place_weights();
    plan_memory(program_, backend_.device->info().parallelism);
    return std::move(program_);
  }

 private:
  // --- the three kinds of names
  // -----------------------------------------------------------------------------------

  Operand buffer(const std::string& name, int64_t cols, DType dtype = DType::f32) {
    for (size_t i = 0; i < program_.buffers.size(); ++i) {
      const BufferInfo& b = program_.buffers[i];
      if (b.name == name && b.cols == cols && b.rows == rows_) return {static_cast<int32_t>(i), 0, cols};
    }
    program_.buffers.push_back({name, rows_, cols, dtype, 0, 0});
    return {static_cast<int32_t>(program_.buffers.size() - 1), 0, cols};
  }

  std::string role(const char* name) const {
    return layer_ < 0 ? std::string(name) : fmt::format("layers.{}.{}", layer_, name);
  }

  int32_t weight(WeightInfo info) {
    program_.weights.push_back(std::move(info));
    program_.constants.emplace_back();
    return static_cast<int32_t>(program_.weights.size() - 1);
  }
  int32_t vector(const std::string& name, std::vector<std::string> roles, int64_t n) {
    return weight({.name = name, .roles = std::move(roles), .n = n, .k = 1, .layout = &ops::plain_layout()});
  }
  int32_t vector(const std::string& name, int64_t n) { return vector(name, {name}, n); }

  template <typename S>
  void emit(const char* label, S step) {
    program_.steps.push_back({std::move(step), layer_, label, rows_});
  }

  Result<DType> type_of(const std::string& matrix) const {
    const auto it = types_.find(matrix);
    if (it == types_.end()) return corrupt("the type of weight {} is not stated", matrix);
    return it->second;
  }

  ops::Activations activations(DType weight) const {
    if (is_block_type(weight)) return recipe_.activations;
    if (!rounds(weight)) return ops::Activations::f32;
    return weight == DType::bf16 ? ops::Activations::bf16 : ops::Activations::f16;
  }
  bool rounds(DType type) const {
    const auto& types = backend_.rounded_products;
    return recipe_.activations != ops::Activations::f32 &&
           std::find(types.begin(), types.end(), type) != types.end();
  }

  // --- pieces of a layer
  // ------------------------------------------------------------------------------------------

  /// y = x W^T for the matrices `roles`, side by side in y. Neighbours of one type are one product.
  Status linear(const char* label, const std::vector<std::pair<const char*, int64_t>>& roles, int64_t k,
                bool bias, Operand x, Operand y) {
    int64_t column = y.column;
    for (size_t i = 0; i < roles.size();) {
      SLUICE_ASSIGN(const DType dtype, type_of(role(roles[i].first)));
      WeightInfo w{.name = role(label), .k = k, .dtype = dtype};
      std::vector<std::string> bias_roles;
      size_t j = i;
      for (; j < roles.size(); ++j) {
        SLUICE_ASSIGN(const DType next, type_of(role(roles[j].first)));
        if (next != dtype) break;
        w.roles.push_back(role(roles[j].first));
        bias_roles.push_back(w.roles.back() + ".bias");
        w.n += roles[j].second;
      }
      if (j - i < roles.size()) w.name = w.roles.front();  // not all merged: named by its first part
      LinearStep step;
      step.desc = {w.n, k, dtype, activations(dtype), bias};
      if (bias) step.bias = vector(w.name + ".bias", bias_roles, w.n);
      step.x = x;
      step.y = {y.buffer, column, w.n};
      column += w.n;
      step.weight = weight(std::move(w));
      emit(label, std::move(step));
      i = j;
    }
    return {};
  }

  /// y = norm(h), or h itself where there is no norm.
  Operand normed(const char* name, const std::optional<Norm>& norm, Operand h, const char* into) {
    if (!norm) return h;
    AddNormStep step;
    step.desc = {.dim = spec_.hidden, .output = true, .output_norm = norm->kind, .eps = norm->eps};
    step.h = h;
    step.y = buffer(into, spec_.hidden);
    if (norm->weight) step.output_weight = vector(role(name), spec_.hidden);
    if (norm->bias) step.output_bias = vector(role(name) + ".bias", {role(name) + ".bias"}, spec_.hidden);
    emit(name, step);
    return step.y;
  }

  /// h += multiplier * norm(branch)
  void add(const char* label, const char* name, const std::optional<Norm>& norm, float multiplier,
           Operand branch) {
    AddNormStep step;
    step.desc = {.dim = spec_.hidden, .branch = true, .multiplier = multiplier};
    step.h = hidden_;
    step.branch = branch;
    if (norm) {
      step.desc.branch_norm = norm->kind;
      step.desc.eps = norm->eps;
      if (norm->weight) step.branch_weight = vector(role(name), spec_.hidden);
      if (norm->bias) step.branch_bias = vector(role(name) + ".bias", {role(name) + ".bias"}, spec_.hidden);
    }
    emit(label, step);
  }

  Status layer(const Layer& l) {
    const Operand mixer_in = normed("pre_mixer_norm", l.pre_mixer, hidden_, "normed");
    Operand ff_in = mixer_in;
    if (l.parallel && l.pre_ff) ff_in = normed("pre_ff_norm", l.pre_ff, hidden_, "normed2");
    if (l.attention) {
      SLUICE_TRY(attention(*l.attention, mixer_in, buffer("mixer_out", spec_.hidden)));
      if (!l.parallel)
        add("attention.add", "post_mixer_norm", l.post_mixer, l.residual_multiplier,
            buffer("mixer_out", spec_.hidden));
    }
    if (l.mlp || l.moe) {
      // Behind the last keys and values nothing looks at another row.
      if (!l.parallel && &l == &spec_.layers.back()) keep_wanted_rows();
      if (!l.parallel) ff_in = normed("pre_ff_norm", l.pre_ff, hidden_, "normed");
      const Operand out = buffer("ff_out", spec_.hidden);
      SLUICE_TRY(l.mlp ? mlp(*l.mlp, ff_in, out) : moe(*l.moe, ff_in, out));
      if (l.parallel && l.attention)
        add("attention.add", "post_mixer_norm", l.post_mixer, l.residual_multiplier,
            buffer("mixer_out", spec_.hidden));
      add("ff.add", "post_ff_norm", l.post_ff, l.residual_multiplier, out);
    } else if (l.parallel && l.attention) {
      add("attention.add", "post_mixer_norm", l.post_mixer, l.residual_multiplier,
          buffer("mixer_out", spec_.hidden));
    }
    return {};
  }

  /// From here on there are only the rows whose logits are wanted.
  void keep_wanted_rows() {
    GatherRowsStep gather;
    gather.desc = {spec_.hidden};
    gather.x = hidden_;
    rows_ = Rows::logits;
    gather.y = hidden_ = buffer("last_hidden", spec_.hidden);
    program_.last_hidden = hidden_.buffer;
    emit("head.gather", gather);
  }

  Status attention(const Attention& a, Operand x, Operand out) {
    const int64_t q = a.heads * a.d_qk, k = a.kv_heads * a.d_qk, v = a.kv_heads * a.d_v;
    const Operand qkv = buffer("qkv", q + k + v);
    if (a.q_bias == a.k_bias && a.k_bias == a.v_bias) {
      SLUICE_TRY(linear("attention.qkv", {{"attention.q", q}, {"attention.k", k}, {"attention.v", v}},
                        spec_.hidden, a.q_bias, x, qkv));
    } else {
      SLUICE_TRY(linear("attention.q", {{"attention.q", q}}, spec_.hidden, a.q_bias, x, {qkv.buffer, 0, q}));
      SLUICE_TRY(linear("attention.k", {{"attention.k", k}}, spec_.hidden, a.k_bias, x, {qkv.buffer, q, k}));
      SLUICE_TRY(
          linear("attention.v", {{"attention.v", v}}, spec_.hidden, a.v_bias, x, {qkv.buffer, q + k, v}));
    }
    const int32_t cache = add_cache(a);
    RopeKvStep rope;
    rope.desc = {.heads = a.heads, .kv_heads = a.kv_heads, .d_qk = a.d_qk, .d_v = a.d_v};
    if (a.rope >= 0) {
      const model::Rope& r = spec_.ropes[static_cast<size_t>(a.rope)];
      rope.desc.rope = r.style;
      rope.desc.rope_dims = r.dims;
      rope.rope_table = rope_tables_[static_cast<size_t>(a.rope)];
    }
    rope.desc.qk_norm = a.qk_norm;
    rope.desc.qk_norm_kind = a.qk_norm_kind.kind;
    rope.desc.norm_after_rope = a.norm_after_rope;
    rope.desc.eps = a.qk_norm_kind.eps;
    rope.desc.kv = recipe_.kv;
    rope.desc.page_tokens = recipe_.page_tokens;
    if (a.qk_norm != ops::QkNormScope::none) {
      const bool shared = a.qk_norm == ops::QkNormScope::head;
      rope.q_norm = vector(role("attention.q_norm"), shared ? a.d_qk : q);
      rope.k_norm = vector(role("attention.k_norm"), shared ? a.d_qk : k);
    }
    rope.cache = cache;
    rope.qkv = qkv;
    emit("attention.rope_kv", std::move(rope));

    AttentionStep core;
    core.desc = {.heads = a.heads,
                 .kv_heads = a.kv_heads,
                 .d_qk = a.d_qk,
                 .d_v = a.d_v,
                 .scale = a.scale,
                 .softcap = a.softcap,
                 .window = a.window,
                 .kv = recipe_.kv,
                 .page_tokens = recipe_.page_tokens,
                 .rounded = rounds(recipe_.kv)};
    core.cache = cache;
    core.q = {qkv.buffer, 0, q};
    core.out = buffer("attended", a.heads * a.d_v);
    emit("attention.core", core);
    return linear("attention.out", {{"attention.o", spec_.hidden}}, a.heads * a.d_v, a.o_bias, core.out, out);
  }

  Status mlp(const model::Mlp& m, Operand x, Operand out) {
    const Operand up = buffer("up", m.gated ? 2 * m.width : m.width);
    std::vector<std::pair<const char*, int64_t>> roles;
    if (m.gated) roles.emplace_back("mlp.gate", m.width);
    roles.emplace_back("mlp.up", m.width);
    SLUICE_TRY(linear(m.gated ? "mlp.gate_up" : "mlp.up", roles, spec_.hidden, m.up_bias, x, up));
    ActivationStep act;
    act.desc = {m.width, m.activation, m.gated};
    act.x = up;
    act.y = buffer("activated", m.width);
    emit("mlp.activation", act);
    return linear("mlp.down", {{"mlp.down", spec_.hidden}}, m.width, m.down_bias, act.y, out);
  }

  Status moe(const model::Moe& m, Operand x, Operand out) {
    const Operand logits = buffer("router_logits", m.experts);
    SLUICE_TRY(linear("moe.router", {{"moe.router", m.experts}}, spec_.hidden, false, x, logits));
    RouteStep route;
    route.desc = {m.experts, m.k, m.score, m.score_first, false, m.renormalise, m.scale};
    route.logits = logits;
    route.experts = buffer("expert_ids", m.k, DType::i32);
    route.weights = buffer("expert_weights", m.k);
    emit("moe.route", route);

    MoeMlpStep step;
    SLUICE_ASSIGN(const DType up_type, type_of(role("moe.up")));
    SLUICE_ASSIGN(const DType down_type, type_of(role("moe.down")));
    if (m.gated) {
      SLUICE_ASSIGN(const DType gate_type, type_of(role("moe.gate")));
      if (gate_type != up_type)
        return unsupported("{}: gate and up of experts must have one type", role("moe"));
    }
    step.desc = {.experts = m.experts,
                 .k = m.k,
                 .hidden = spec_.hidden,
                 .width = m.width,
                 .activation = m.activation,
                 .gated = m.gated,
                 .gate_up = up_type,
                 .down = down_type,
                 .activations = activations(up_type) == activations(down_type) ? activations(up_type)
                                                                               : ops::Activations::f32};
    WeightInfo up{.name = role("moe.gate_up"),
                  .n = m.gated ? 2 * m.width : m.width,
                  .k = spec_.hidden,
                  .copies = m.experts,
                  .dtype = up_type};
    if (m.gated) up.roles.push_back(role("moe.gate"));
    up.roles.push_back(role("moe.up"));
    step.gate_up = weight(std::move(up));
    step.down = weight({.name = role("moe.down"),
                        .roles = {role("moe.down")},
                        .n = spec_.hidden,
                        .k = m.width,
                        .copies = m.experts,
                        .dtype = down_type});
    step.x = x;
    step.experts = route.experts;
    step.weights = route.weights;
    step.y = out;
    emit("moe.experts", std::move(step));
    return {};
  }

  // --- what is outside layers
  // -------------------------------------------------------------------------------------

  Status kv_groups() {
    std::set<int64_t> windows;
    for (const Layer& l : spec_.layers) {
      if (l.attention) windows.insert(window_of(*l.attention));
    }
    for (int64_t window : windows) program_.groups.push_back({window});
    if (program_.groups.empty()) return unsupported("a model without attention cannot be run yet");
    return {};
  }

  // A window that no sequence can leave is none.
  int64_t window_of(const Attention& a) const { return a.window >= recipe_.max_seq_len ? 0 : a.window; }

  int32_t add_cache(const Attention& a) {
    CacheInfo cache;
    cache.layer = layer_;
    const auto it = std::find_if(program_.groups.begin(), program_.groups.end(),
                                 [&](const KvGroup& g) { return g.window == window_of(a); });
    cache.group = static_cast<int32_t>(it - program_.groups.begin());
    const auto heads = static_cast<uint64_t>(a.kv_heads);
    cache.key_page_bytes = heads * ops::kv_head_bytes(recipe_.kv, a.d_qk, recipe_.page_tokens);
    cache.value_page_bytes = heads * ops::kv_head_bytes(recipe_.kv, a.d_v, recipe_.page_tokens);
    program_.caches.push_back(cache);
    return static_cast<int32_t>(program_.caches.size() - 1);
  }

  Status embed() {
    hidden_ = buffer("hidden", spec_.hidden);
    program_.hidden = hidden_.buffer;
    EmbedStep step;
    SLUICE_ASSIGN(const DType dtype, type_of("embed"));
    step.desc = {spec_.vocab, spec_.hidden, dtype, spec_.embed_scale, spec_.learned_positions, 0};
    embed_weight_ =
        weight({.name = "embed", .roles = {"embed"}, .n = spec_.vocab, .k = spec_.hidden, .dtype = dtype});
    step.weight = embed_weight_;
    if (spec_.learned_positions > 0) {
      step.positions = vector("positions", spec_.learned_positions * spec_.hidden);
    }
    step.y = hidden_;
    emit("embed", step);
    return {};
  }

  Status rope_tables() {
    for (size_t i = 0; i < spec_.ropes.size(); ++i) {
      const model::Rope& rope = spec_.ropes[i];
      std::vector<float> values = rope.frequencies;
      values.insert(values.end(), rope.long_frequencies.begin(), rope.long_frequencies.end());
      RopeTableStep step;
      step.desc = {rope.dims / 2, rope.long_frequencies.empty() ? 1 : 2, rope.attention_factor};
      step.frequencies = weight({.name = fmt::format("rope.{}.frequencies", i),
                                 .n = static_cast<int64_t>(values.size()),
                                 .k = 1,
                                 .layout = &ops::plain_layout(),
                                 .constant = true});
      program_.constants.back() = std::move(values);
      step.y = buffer(fmt::format("rope.{}", i), rope.dims);
      emit("rope_table", step);
      rope_tables_.push_back(step.y);
    }
    return {};
  }

  Status head() {
    if (rows_ == Rows::tokens) keep_wanted_rows();
    const Operand x = normed("final_norm", spec_.final_norm, hidden_, "last_normed");
    const Operand logits = buffer("logits", spec_.vocab);
    program_.logits = logits.buffer;
    if (spec_.tied_head) {
      LinearStep step;
      const DType dtype = program_.weights[static_cast<size_t>(embed_weight_)].dtype;
      step.desc = {spec_.vocab, spec_.hidden, dtype, activations(dtype), spec_.head_bias};
      if (spec_.head_bias) step.bias = vector("head.bias", spec_.vocab);
      step.weight = embed_weight_;
      step.x = x;
      step.y = logits;
      emit("head", step);
    } else {
      SLUICE_TRY(linear("head", {{"head", spec_.vocab}}, spec_.hidden, spec_.head_bias, x, logits));
    }
    if (spec_.logit_scale != 1 || spec_.logit_softcap != 0) {
      ScaleSoftcapStep step;
      step.desc = {spec_.vocab, spec_.logit_scale, spec_.logit_softcap};
      step.x = logits;
      emit("head.scale", step);
    }
    return {};
  }

  // --- kernels
  // ----------------------------------------------------------------------------------------------------

  ops::Kernels::Wish wish_for(const ops::WeightLayout* layout) const {
    ops::Kernels::Wish wish;
    wish.rows = 1;  // decode decides: most of a model's life is small batches
    wish.layout = layout;
    wish.batch_invariant = recipe_.batch_invariant;
    return wish;
  }

  template <typename S>
  Status select(const Step& step, S& s, const ops::WeightLayout* layout) {
    ops::Kernels::Wish wish = wish_for(layout);
    if (const auto it = wishes_.kernels.find(kernel_key(step)); it != wishes_.kernels.end())
      wish.name = it->second;
    auto kernel = backend_.kernels.select<typename S::Op>(s.desc, wish);
    if (!kernel.ok() && !wish.name.empty()) {  // measured on another machine: fall back to cost
      wish.name = {};
      kernel = backend_.kernels.select<typename S::Op>(s.desc, wish);
    }
    if (!kernel.ok()) return kernel.status();
    s.kernel = *kernel;
    return {};
  }

  // Which layout a weight is already in, by its name in an engine; or nothing.
  Result<const ops::WeightLayout*> stored_layout(const WeightInfo& w) const {
    if (w.layout != nullptr) return w.layout;
    const auto it = wishes_.layouts.find(w.name);
    if (it == wishes_.layouts.end()) return static_cast<const ops::WeightLayout*>(nullptr);
    const ops::WeightLayout* found = nullptr;
    backend_.kernels.for_each([&](const auto& kernel) {
      if (kernel.layout != nullptr && kernel.layout->name == it->second) found = kernel.layout;
    });
    if (found == nullptr) {
      return unsupported("weight {} is packed as \"{}\", which no kernel here reads; run optimize again",
                         w.name, it->second);
    }
    return found;
  }

  /// Whether a product with a gate runs on a kernel that is as fast as the one that the product runs on
  /// without.
  bool is_no_slower(const LinearStep& product, const ops::Linear::Desc& gated) const {
    const auto layout = stored_layout(program_.weights[static_cast<size_t>(product.weight)]);
    if (!layout.ok()) return false;
    const ops::Kernels::Wish wish = wish_for(*layout);
    const auto with = backend_.kernels.select<ops::Linear>(gated, wish);
    const auto without = backend_.kernels.select<ops::Linear>(product.desc, wish);
    return with.ok() && without.ok() &&
           (*with)->seconds(product.desc, wish.rows) <= (*without)->seconds(product.desc, wish.rows);
  }

  // Matrix products first: they decide the layouts, which an embedding tied to the head must then accept.
  Status select_kernels() {
    for (Step& step : program_.steps) {
      if (auto* s = std::get_if<LinearStep>(&step.op)) SLUICE_TRY(select_with_weight(step, *s, s->weight));
    }
    for (Step& step : program_.steps) {
      Status status;
      std::visit(
          [&](auto& s) {
            using S = std::remove_cvref_t<decltype(s)>;
            if constexpr (std::is_same_v<S, EmbedStep>) {
              status = select_with_weight(step, s, s.weight);
            } else if constexpr (std::is_same_v<S, MoeMlpStep>) {
              status = select_with_weight(step, s, s.gate_up);
              if (status.ok()) weight_info(s.down).layout = s.kernel->layout;
            } else if constexpr (!std::is_same_v<S, LinearStep>) {
              status = select(step, s, nullptr);
            }
          },
          step.op);
      SLUICE_TRY(status);
    }
    return {};
  }

  template <typename S>
  Status select_with_weight(const Step& step, S& s, int32_t id) {
    WeightInfo& w = weight_info(id);
    SLUICE_ASSIGN(const ops::WeightLayout* stored, stored_layout(w));
    SLUICE_TRY(select(step, s, stored));
    w.layout = s.kernel->layout;
    return {};
  }

  WeightInfo& weight_info(int32_t id) { return program_.weights[static_cast<size_t>(id)]; }

  void place_weights() {
    uint64_t offset = 0;
    for (WeightInfo& w : program_.weights) {
      SLUICE_CHECK(w.layout != nullptr, "{} has no layout", w.name);
      w.bytes = static_cast<uint64_t>(w.copies) * w.layout->packed_bytes(w.dtype, w.n, w.k);
      w.offset = offset;
      offset += (w.bytes + kWeightAlignment - 1) / kWeightAlignment * kWeightAlignment;
    }
    program_.weight_bytes = offset;
  }

  const Spec& spec_;
  const model::Recipe& recipe_;
  const model::RoleTypes& types_;
  const ops::Backend& backend_;
  const Wishes& wishes_;
  Program program_;
  int32_t layer_ = -1;
  Rows rows_ = Rows::tokens;  // of what is emitted
  Operand hidden_;
  int32_t embed_weight_ = kNone;
  std::vector<Operand> rope_tables_;
};

}  // namespace

Result<Program> lower(const model::Spec& spec, const model::Recipe& recipe, const model::RoleTypes& types,
                      const ops::Backend& backend, int64_t logit_rows, const Wishes& wishes) {
  return Lowering(spec, recipe, types, backend, wishes).run(logit_rows);
}

}  // namespace sluice::program
