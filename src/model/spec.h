// ModelSpec: what a model is, explicit per layer. Everything that follows a rule in a config ("every sixth
// layer is global") is written out here, so that nothing after this file knows such rules.
//
// What a model has is a member that is present; what it does is one of a closed set of switches. A new kind
// of token mixer (latent attention, a recurrent one) is a new optional member of Layer beside `attention`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/activation.h"
#include "ops/add_norm.h"
#include "ops/moe.h"
#include "ops/rope_kv.h"

namespace sluice::model {

/// Weights are stored so that the plain formula holds: a checkpoint whose norm multiplies by 1 + w has the 1
/// added once.
struct Norm {
  ops::NormKind kind = ops::NormKind::rms;
  bool weight = true;
  bool bias = false;
  float eps = 1e-6f;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("kind", s.kind), v("weight", s.weight), v("bias", s.bias), v("eps", s.eps);
  }
  bool operator==(const Norm&) const = default;
};

/// Rotary positions with their frequencies worked out, whatever scaling the config asked for.
struct Rope {
  ops::RopeStyle style = ops::RopeStyle::half;
  int64_t dims = 0;                // rotated dimensions of each head, from the first
  std::vector<float> frequencies;  // (dims / 2)
  std::vector<float>
      long_frequencies;        // (dims / 2) for sequences longer than switch_length (longrope); or empty
  int64_t switch_length = 0;   // tokens
  float attention_factor = 1;  // multiplies cos and sin
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("style", s.style), v("dims", s.dims), v("frequencies", s.frequencies),
        v("long_frequencies", s.long_frequencies);
    v("switch_length", s.switch_length), v("attention_factor", s.attention_factor);
  }
  bool operator==(const Rope&) const = default;
};

struct Attention {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t d_qk = 0;
  int64_t d_v = 0;
  float scale = 1;
  float softcap = 0;   // 0: none
  int64_t window = 0;  // tokens; 0: none
  int32_t rope = -1;   // index into Spec::ropes, -1: no rotation
  ops::QkNormScope qk_norm = ops::QkNormScope::none;
  Norm qk_norm_kind;
  bool norm_after_rope = false;
  bool q_bias = false, k_bias = false, v_bias = false, o_bias = false;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("heads", s.heads), v("kv_heads", s.kv_heads), v("d_qk", s.d_qk), v("d_v", s.d_v), v("scale", s.scale);
    v("softcap", s.softcap), v("window", s.window), v("rope", s.rope), v("qk_norm", s.qk_norm);
    v("qk_norm_kind", s.qk_norm_kind), v("norm_after_rope", s.norm_after_rope), v("q_bias", s.q_bias);
    v("k_bias", s.k_bias), v("v_bias", s.v_bias), v("o_bias", s.o_bias);
  }
  bool operator==(const Attention&) const = default;
};

struct Mlp {
  int64_t width = 0;
  ops::ActivationKind activation = ops::ActivationKind::silu;
  bool gated = true;
  bool up_bias = false;  // of gate and up
  bool down_bias = false;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("width", s.width), v("activation", s.activation), v("gated", s.gated), v("up_bias", s.up_bias);
    v("down_bias", s.down_bias);
  }
  bool operator==(const Mlp&) const = default;
};

struct Moe {
  int64_t experts = 0;
  int64_t k = 0;      // experts a token uses
  int64_t width = 0;  // of one expert
  ops::ActivationKind activation = ops::ActivationKind::silu;
  bool gated = true;
  ops::RouterScore score = ops::RouterScore::softmax;
  bool score_first = true;
  bool renormalise = false;
  float scale = 1;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("experts", s.experts), v("k", s.k), v("width", s.width), v("activation", s.activation),
        v("gated", s.gated);
    v("score", s.score), v("score_first", s.score_first), v("renormalise", s.renormalise),
        v("scale", s.scale);
  }
  bool operator==(const Moe&) const = default;
};

/// sequential:  h += m * post_mixer(mixer(pre_mixer(h)));  h += m * post_ff(ff(pre_ff(h)))
/// parallel:    h += m * mixer(pre_mixer(h)) + m * ff(pre_ff(h)), where an absent pre_ff means pre_mixer's
/// output An absent norm is the identity. Pre-norm, post-norm, sandwich and both parallel forms are choices
/// of these.
struct Layer {
  bool parallel = false;
  std::optional<Norm> pre_mixer, post_mixer, pre_ff, post_ff;
  float residual_multiplier = 1;
  std::optional<Attention> attention;
  std::optional<Mlp> mlp;
  std::optional<Moe> moe;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("parallel", s.parallel), v("pre_mixer", s.pre_mixer), v("post_mixer", s.post_mixer),
        v("pre_ff", s.pre_ff);
    v("post_ff", s.post_ff), v("residual_multiplier", s.residual_multiplier), v("attention", s.attention);
    v("mlp", s.mlp), v("moe", s.moe);
  }
  bool operator==(const Layer&) const = default;
};

struct Spec {
  std::string arch;  // name of the arch document
  int64_t vocab = 0;
  int64_t hidden = 0;
  int64_t max_positions = 0;  // context the model was made for, tokens
  float embed_scale = 1;
  int64_t learned_positions = 0;  // rows of a learned position table; 0: none
  std::optional<Norm> final_norm;
  bool tied_head = false;  // the head is the embedding
  bool head_bias = false;
  float logit_scale = 1;
  float logit_softcap = 0;  // 0: none
  std::vector<Rope> ropes;
  std::vector<Layer> layers;
  int32_t bos = -1;          // -1: none
  std::vector<int32_t> eos;  // any of these ends a text
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("arch", s.arch), v("vocab", s.vocab), v("hidden", s.hidden), v("max_positions", s.max_positions);
    v("embed_scale", s.embed_scale), v("learned_positions", s.learned_positions),
        v("final_norm", s.final_norm);
    v("tied_head", s.tied_head), v("head_bias", s.head_bias), v("logit_scale", s.logit_scale);
    v("logit_softcap", s.logit_softcap), v("ropes", s.ropes), v("layers", s.layers), v("bos", s.bos),
        v("eos", s.eos);
  }
  bool operator==(const Spec&) const = default;
};

/// Every contradiction in a spec, one sentence each; empty when it can be lowered. Guards what comes from
/// files.
std::vector<std::string> validate(const Spec& spec);

}  // namespace sluice::model
