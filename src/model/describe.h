// What an arch document's "model" and "layer" sections may say: the fields that its values fill, before they
// become a Spec. This is the vocabulary of src/arch; the Spec is what it means.
#pragma once

#include <optional>
#include <string>

#include "model/spec.h"

namespace sluice::model {

struct ModelDescription {
  int64_t vocab = 0, hidden = 0, layers = 0;
  std::optional<int64_t> max_positions;
  bool tied_head = false;
  ops::NormKind norm = ops::NormKind::rms;
  bool norm_weight = true;
  bool norm_bias = false;
  double norm_eps = 1e-6;
  bool final_norm = true;
  double embed_scale = 1;
  bool embed_scale_is_sqrt_hidden = false;
  int64_t learned_positions = 0;
  bool head_bias = false;
  double logit_scale = 1, logit_divisor = 1, logit_softcap = 0;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("vocab", s.vocab), v("hidden", s.hidden), v("layers", s.layers), v("max_positions", s.max_positions);
    v("tied_head", s.tied_head), v("norm", s.norm), v("norm_weight", s.norm_weight),
        v("norm_bias", s.norm_bias);
    v("norm_eps", s.norm_eps), v("final_norm", s.final_norm), v("embed_scale", s.embed_scale);
    v("embed_scale_is_sqrt_hidden", s.embed_scale_is_sqrt_hidden),
        v("learned_positions", s.learned_positions);
    v("head_bias", s.head_bias), v("logit_scale", s.logit_scale), v("logit_divisor", s.logit_divisor);
    v("logit_softcap", s.logit_softcap);
  }
};

struct AttentionDescription {
  int64_t heads = 0, kv_heads = 0;
  int64_t head_dim = 0;         // 0: hidden / heads
  double scale = 0;             // 0: scale_dim ^ -1/2
  double scale_dim = 0;         // 0: head_dim
  bool scale_by_layer = false;  // divided by the layer's number, from 1
  double softcap = 0;
  int64_t window = 0;
  ops::QkNormScope qk_norm = ops::QkNormScope::none;
  ops::NormKind qk_norm_kind = ops::NormKind::rms;
  bool norm_after_rope = false;
  bool q_bias = false, k_bias = false, v_bias = false, o_bias = false;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("heads", s.heads), v("kv_heads", s.kv_heads), v("head_dim", s.head_dim), v("scale", s.scale);
    v("scale_dim", s.scale_dim), v("scale_by_layer", s.scale_by_layer), v("softcap", s.softcap),
        v("window", s.window);
    v("qk_norm", s.qk_norm), v("qk_norm_kind", s.qk_norm_kind), v("norm_after_rope", s.norm_after_rope);
    v("q_bias", s.q_bias), v("k_bias", s.k_bias), v("v_bias", s.v_bias), v("o_bias", s.o_bias);
  }
};

struct RopeDescription {
  ops::RopeStyle style = ops::RopeStyle::half;
  double theta = 10000;
  Json scaling;
  double partial = 1;   // rotated share of a head
  int64_t dims = 0;     // rotated dimensions; 0: by `partial`
  int64_t enabled = 1;  // 0: these layers have no positions
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("style", s.style), v("theta", s.theta), v("scaling", s.scaling), v("partial", s.partial),
        v("dims", s.dims);
    v("enabled", s.enabled);
  }
};

struct MlpDescription {
  int64_t width = 0;            // 0: hidden_multiple * hidden
  int64_t hidden_multiple = 0;  // 0: the config must give a width
  std::string activation;       // as configs spell it
  bool gated = true, up_bias = false, down_bias = false;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("width", s.width), v("hidden_multiple", s.hidden_multiple), v("activation", s.activation);
    v("gated", s.gated), v("up_bias", s.up_bias), v("down_bias", s.down_bias);
  }
};

struct MoeDescription {
  int64_t experts = 0, k = 0, width = 0;
  std::string activation;
  bool gated = true;
  ops::RouterScore score = ops::RouterScore::softmax;
  bool score_first = true, renormalise = false;
  double scale = 1;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("experts", s.experts), v("k", s.k), v("width", s.width), v("activation", s.activation),
        v("gated", s.gated);
    v("score", s.score), v("score_first", s.score_first), v("renormalise", s.renormalise),
        v("scale", s.scale);
  }
};

enum class FeedForward { none, mlp, moe };
constexpr auto enum_names(FeedForward) { return std::array<std::string_view, 3>{"none", "mlp", "moe"}; }

struct LayerDescription {
  bool parallel = false;
  bool pre_mixer_norm = false, post_mixer_norm = false, pre_ff_norm = false, post_ff_norm = false;
  double residual_multiplier = 1;
  FeedForward ff = FeedForward::mlp;
  AttentionDescription attention;
  std::optional<RopeDescription> rope;
  std::optional<MlpDescription> mlp;
  std::optional<MoeDescription> moe;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("parallel", s.parallel), v("pre_mixer_norm", s.pre_mixer_norm), v("post_mixer_norm", s.post_mixer_norm);
    v("pre_ff_norm", s.pre_ff_norm), v("post_ff_norm", s.post_ff_norm),
        v("residual_multiplier", s.residual_multiplier);
    v("ff", s.ff), v("attention", s.attention), v("rope", s.rope), v("mlp", s.mlp), v("moe", s.moe);
  }
};

}  // namespace sluice::model
