#include "model/build_spec.h"

#include <algorithm>
#include <cmath>

#include "model/arch_document.h"
#include "model/describe.h"
#include "model/rope.h"
#include "quant/format.h"

namespace sluice::model {
namespace {

// Sizes beyond this are no model's: they keep every later product of two of them inside int64.
constexpr int64_t kMaxSize = int64_t{1} << 30;

// The form that filled the field an error speaks of, so that the message names the config's key and not only
// ours.
std::string keys_behind(const Json& section, std::string_view path) {
  const Json* at = &section;
  while (!path.empty() && at->is_object()) {
    const size_t dot = path.find('.');
    const auto it = at->find(std::string(path.substr(0, dot)));
    if (it == at->end()) return "";
    at = &*it;
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return config_keys(*at);
}

template <typename Description>
Result<Description> fill(const Json& section, const Config& config, int64_t layer) {
  SLUICE_ASSIGN(const Json values, evaluate(section, config.values, layer, config.origin));
  Description out;
  const Status status = from_json(values, "", out);
  if (status.ok()) return out;
  // "‹.attention.heads›: expected ..." -> name the key of the config in front.
  const std::string& message = status.message();
  const std::string path =
      message.substr(std::min<size_t>(1, message.size()), message.find_first_of(":[") - 1);
  const std::string keys = keys_behind(section, path);
  return Status(status.code(), fmt::format("{}: {}{}", config.origin, keys.empty() ? path : keys,
                                           message.substr(std::min(message.size(), path.size() + 1))));
}

Status require(const Config& config, const Json& section, const char* field, int64_t value) {
  if (value > 0 && value <= kMaxSize) return {};
  const std::string keys = keys_behind(section, field);
  return invalid_argument("{}: {}: {}", config.origin, keys.empty() ? field : keys,
                          value == 0 ? "missing, or 0 where a positive number is needed"
                                     : fmt::format("{} is out of range", value));
}

Result<ops::ActivationKind> activation_kind(const std::string& name, const Config& config,
                                            const std::string& keys) {
  static constexpr std::pair<std::string_view, ops::ActivationKind> kSpellings[] = {
      {"silu", ops::ActivationKind::silu},
      {"swish", ops::ActivationKind::silu},
      {"gelu", ops::ActivationKind::gelu},
      {"gelu_python", ops::ActivationKind::gelu},
      {"gelu_new", ops::ActivationKind::gelu_tanh},
      {"gelu_fast", ops::ActivationKind::gelu_tanh},
      {"gelu_pytorch_tanh", ops::ActivationKind::gelu_tanh},
      {"relu", ops::ActivationKind::relu},
      {"relu2", ops::ActivationKind::relu2},
  };
  std::string known;
  for (const auto& [spelling, kind] : kSpellings) {
    if (spelling == name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(spelling);
  }
  return unsupported("{}: {}: activation function \"{}\" is not known (known: {})", config.origin, keys,
                     name.substr(0, 64), known);
}

// rope_parameters (transformers 5), by layer kind or for all, or the older top-level keys that the document
// names.
Result<std::optional<RopeDescription>> rope_of_layer(const LayerDescription& layer, const Config& config,
                                                     const std::string& kind) {
  if (!layer.rope || layer.rope->enabled == 0) return std::optional<RopeDescription>();
  RopeDescription rope = *layer.rope;
  const Json* parameters = config_value(config.values, "rope_parameters");
  if (parameters == nullptr) return std::optional(rope);
  if (!parameters->is_object())
    return invalid_argument("{}: rope_parameters: expected an object", config.origin);
  const auto disagree = [&](const char* key, const Json* a, const Json* b) -> Status {
    if (a == nullptr || b == nullptr || *a == *b) return {};
    return invalid_argument(
        "{}: rope_parameters and the older rope keys disagree on \"{}\" ({} and {}); remove one",
        config.origin, key, in_brief(*a), in_brief(*b));
  };
  const bool for_all = config_value(*parameters, kind) == nullptr;
  if (!for_all) parameters = config_value(*parameters, kind);
  if (const Json* older = config_value(config.values, "rope_scaling")) {
    if (!older->is_object()) return invalid_argument("{}: rope_scaling: expected an object", config.origin);
    for (const char* key : {"rope_type", "factor"}) {
      const Json* b = config_value(*older, key);
      if (b == nullptr && std::string_view(key) == "rope_type") b = config_value(*older, "type");
      SLUICE_TRY(disagree(key, config_value(*parameters, key), b));
    }
  }
  if (const Json* theta = config_value(*parameters, "rope_theta")) {
    if (for_all) SLUICE_TRY(disagree("rope_theta", theta, config_value(config.values, "rope_theta")));
    SLUICE_TRY(from_json(*theta, config.origin + ": rope_parameters.rope_theta", rope.theta));
  }
  rope.scaling = *parameters;
  return std::optional(rope);
}

// A one-dimensional tensor as floats; empty when the document does not name it or the checkpoint lacks it.
Result<std::vector<float>> optional_vector(const Checkpoint& checkpoint, const Json& document,
                                           const char* role) {
  const Json& tensors = document["tensors"];
  if (!tensors.contains(role)) return std::vector<float>();
  const std::string name = tensors[role].get<std::string>() + ".weight";
  if (checkpoint.find(name) == nullptr) return std::vector<float>();
  SLUICE_ASSIGN(const TensorInfo* tensor, checkpoint.require(name));
  if (tensor->shape.size() != 1 || tensor->shape[0] > 4096 || *tensor->dtype != DType::f32) {
    return corrupt("{}: {}: expected a short f32 vector", checkpoint.path(), name);
  }
  std::vector<float> out(tensor->shape[0]);
  SLUICE_TRY(checkpoint.read(*tensor, 0, std::as_writable_bytes(std::span(out))));
  return out;
}

class Builder {
 public:
  Builder(const Config& config, const Checkpoint& checkpoint) : config_(config), checkpoint_(checkpoint) {}

  Result<Spec> build() {
    const Json& document = config_.document;
    SLUICE_ASSIGN(model_, fill<ModelDescription>(document["model"], config_, 0));
    const Json& section = document["model"];
    for (const auto& [field, value] : {std::pair{"vocab", model_.vocab}, std::pair{"hidden", model_.hidden},
                                       std::pair{"layers", model_.layers}}) {
      SLUICE_TRY(require(config_, section, field, value));
    }
    if (model_.layers > 4096) {
      return invalid_argument("{}: {}: {} layers are more than 4096", config_.origin,
                              keys_behind(section, "layers"), model_.layers);
    }
    if (model_.max_positions.value_or(1) < 1) {
      return invalid_argument("{}: {}: {} is no context length", config_.origin,
                              keys_behind(section, "max_positions"), *model_.max_positions);
    }

    spec_.arch = document["name"].get<std::string>();
    spec_.vocab = model_.vocab;
    spec_.hidden = model_.hidden;
    spec_.max_positions = std::min(model_.max_positions.value_or(0), kMaxSize);
    spec_.learned_positions = model_.learned_positions;
    spec_.embed_scale =
        static_cast<float>(model_.embed_scale_is_sqrt_hidden ? std::sqrt(static_cast<double>(model_.hidden))
                                                             : model_.embed_scale);
    if (model_.final_norm) spec_.final_norm = norm();
    spec_.tied_head = model_.tied_head;
    spec_.head_bias = model_.head_bias;
    if (model_.logit_divisor == 0) {
      return invalid_argument("{}: {}: logits cannot be divided by 0", config_.origin,
                              keys_behind(section, "logit_divisor"));
    }
    spec_.logit_scale = static_cast<float>(model_.logit_scale / model_.logit_divisor);
    spec_.logit_softcap = static_cast<float>(model_.logit_softcap);

    SLUICE_ASSIGN(divisors_, optional_vector(checkpoint_, document, "rope_divisors"));
    SLUICE_ASSIGN(short_, optional_vector(checkpoint_, document, "rope_divisors_short"));
    SLUICE_ASSIGN(long_, optional_vector(checkpoint_, document, "rope_divisors_long"));
    for (int64_t i = 0; i < model_.layers; ++i) {
      SLUICE_ASSIGN(Layer layer, build_layer(i));
      spec_.layers.push_back(std::move(layer));
    }
    SLUICE_TRY(token_ids());
    for (const std::string& problem : validate(spec_))
      return invalid_argument("{}: {}", config_.origin, problem);
    return std::move(spec_);
  }

 private:
  Norm norm() const {
    return {model_.norm, model_.norm_weight, model_.norm_bias, static_cast<float>(model_.norm_eps)};
  }

  Result<Layer> build_layer(int64_t i) {
    SLUICE_ASSIGN(const Json kind_json,
                  evaluate(config_.document["layer_type"], config_.values, i, config_.origin));
    const std::string kind = kind_json.is_string() ? kind_json.get<std::string>() : dump_json(kind_json);
    const Json& types = config_.document["types"];
    if (!types.contains(kind)) {
      return unsupported("{}: layer_types[{}]: \"{}\" is not known for {}", config_.origin, i,
                         kind.substr(0, 64), spec_.arch);
    }
    Json section = config_.document["layer"];
    section.merge_patch(types[kind]);
    // Only the feed-forward part that a layer has needs its config keys.
    SLUICE_ASSIGN(const Json ff, evaluate(section["ff"], config_.values, i, config_.origin));
    if (ff != "mlp") section.erase("mlp");
    if (ff != "moe") section.erase("moe");
    SLUICE_ASSIGN(const LayerDescription d, fill<LayerDescription>(section, config_, i));

    Layer layer;
    layer.parallel = d.parallel;
    if (d.pre_mixer_norm) layer.pre_mixer = norm();
    if (d.post_mixer_norm) layer.post_mixer = norm();
    if (d.pre_ff_norm) layer.pre_ff = norm();
    if (d.post_ff_norm) layer.post_ff = norm();
    layer.residual_multiplier = static_cast<float>(d.residual_multiplier);
    SLUICE_ASSIGN(layer.attention, build_attention(d, section, kind, i));
    if (d.ff == FeedForward::mlp) {
      const int64_t width = d.mlp->width == 0 ? d.mlp->hidden_multiple * spec_.hidden : d.mlp->width;
      SLUICE_TRY(require(config_, section, "mlp.width", width));
      SLUICE_ASSIGN(const auto activation,
                    activation_kind(d.mlp->activation, config_, keys_behind(section, "mlp.activation")));
      layer.mlp = Mlp{width, activation, d.mlp->gated, d.mlp->up_bias, d.mlp->down_bias};
    } else if (d.ff == FeedForward::moe) {
      SLUICE_ASSIGN(layer.moe, build_moe(*d.moe, section));
    }
    return layer;
  }

  Result<Attention> build_attention(const LayerDescription& layer, const Json& section,
                                    const std::string& kind, int64_t i) {
    const AttentionDescription& d = layer.attention;
    SLUICE_TRY(require(config_, section, "attention.heads", d.heads));
    SLUICE_TRY(require(config_, section, "attention.kv_heads", d.kv_heads));
    if (d.heads % d.kv_heads != 0) {
      return invalid_argument("{}: {}: {} attention heads cannot share {} key-value heads evenly",
                              config_.origin, keys_behind(section, "attention.kv_heads"), d.heads,
                              d.kv_heads);
    }
    int64_t head_dim = d.head_dim;
    if (head_dim == 0) {
      if (spec_.hidden % d.heads != 0) {
        return invalid_argument("{}: {}: hidden size {} is not a multiple of {} heads; give head_dim",
                                config_.origin, keys_behind(section, "attention.heads"), spec_.hidden,
                                d.heads);
      }
      head_dim = spec_.hidden / d.heads;
    }
    if (head_dim < 0 || head_dim > 65536)
      return invalid_argument("{}: head_dim: {} is out of range", config_.origin, head_dim);
    if (d.window < 0 || (d.window == 0 && kind == "sliding_attention")) {
      return invalid_argument("{}: {}: layer {} is of kind {} and {} is no window", config_.origin,
                              keys_behind(section, "attention.window"), i, kind, d.window);
    }
    Attention a;
    a.heads = d.heads;
    a.kv_heads = d.kv_heads;
    a.d_qk = a.d_v = head_dim;
    const double scale_dim = d.scale_dim == 0 ? static_cast<double>(head_dim) : d.scale_dim;
    if (scale_dim <= 0) {
      return invalid_argument("{}: {}: {} is out of range", config_.origin,
                              keys_behind(section, "attention.scale_dim"), scale_dim);
    }
    a.scale = static_cast<float>((d.scale != 0 ? d.scale : 1 / std::sqrt(scale_dim)) /
                                 (d.scale_by_layer ? static_cast<double>(i + 1) : 1.0));
    a.softcap = static_cast<float>(d.softcap);
    a.window = std::min(d.window, kMaxSize);
    a.qk_norm = d.qk_norm;
    a.qk_norm_kind = {d.qk_norm_kind, true, false, static_cast<float>(model_.norm_eps)};
    a.norm_after_rope = d.norm_after_rope;
    a.q_bias = d.q_bias, a.k_bias = d.k_bias, a.v_bias = d.v_bias, a.o_bias = d.o_bias;
    SLUICE_ASSIGN(const auto rope, rope_of_layer(layer, config_, kind));
    if (rope) {
      SLUICE_ASSIGN(a.rope, find_rope(*rope, head_dim));
    }
    return a;
  }

  // Layers with equal frequencies share an entry.
  Result<int32_t> find_rope(const RopeDescription& d, int64_t head_dim) {
    RopeRequest request;
    request.style = d.style;
    request.head_dim = head_dim;
    request.dims = d.dims != 0 ? d.dims : static_cast<int64_t>(static_cast<double>(head_dim) * d.partial);
    request.theta = d.theta;
    request.scaling = d.scaling;
    request.max_positions = spec_.max_positions;
    request.divisors = divisors_;
    request.short_factors = short_;
    request.long_factors = long_;
    if (request.scaling.is_object() && !request.scaling.contains("original_max_position_embeddings")) {
      if (const Json* v = config_value(config_.values, "original_max_position_embeddings")) {
        request.scaling["original_max_position_embeddings"] = *v;
      }
    }
    SLUICE_ASSIGN(Rope rope, make_rope(request, config_.origin));
    const auto it = std::find(spec_.ropes.begin(), spec_.ropes.end(), rope);
    if (it != spec_.ropes.end()) return static_cast<int32_t>(it - spec_.ropes.begin());
    spec_.ropes.push_back(std::move(rope));
    return static_cast<int32_t>(spec_.ropes.size() - 1);
  }

  Result<Moe> build_moe(const MoeDescription& d, const Json& section) {
    for (const auto& [field, value] :
         {std::pair{"moe.experts", d.experts}, std::pair{"moe.k", d.k}, std::pair{"moe.width", d.width}}) {
      SLUICE_TRY(require(config_, section, field, value));
    }
    if (d.k > d.experts) {
      return invalid_argument("{}: {}: {} experts a token of {} experts", config_.origin,
                              keys_behind(section, "moe.k"), d.k, d.experts);
    }
    SLUICE_ASSIGN(const auto activation,
                  activation_kind(d.activation, config_, keys_behind(section, "moe.activation")));
    return Moe{d.experts,     d.k,           d.width,
               activation,    d.gated,       d.score,
               d.score_first, d.renormalise, static_cast<float>(d.scale)};
  }

  Status token_ids() {
    const auto in_vocab = [&](int64_t id) { return id >= 0 && id < spec_.vocab; };
    if (const Json* bos = config_value(config_.values, "bos_token_id");
        bos != nullptr && bos->is_number_integer()) {
      const int64_t id = bos->get<int64_t>();
      if (in_vocab(id)) spec_.bos = static_cast<int32_t>(id);
    }
    const Json* eos = config_value(config_.values, "eos_token_id");
    if (eos == nullptr) return {};
    for (const Json& entry : eos->is_array() ? *eos : Json::array({*eos})) {
      if (!entry.is_number_integer() || !in_vocab(entry.get<int64_t>())) {
        return invalid_argument("{}: eos_token_id: {} is not a token of a vocabulary of {}", config_.origin,
                                in_brief(entry), spec_.vocab);
      }
      const int32_t id = entry.get<int32_t>();
      if (std::find(spec_.eos.begin(), spec_.eos.end(), id) == spec_.eos.end()) spec_.eos.push_back(id);
    }
    return {};
  }

  const Config& config_;
  const Checkpoint& checkpoint_;
  ModelDescription model_;
  Spec spec_;
  std::vector<float> divisors_, short_, long_;
};

}  // namespace

Result<Spec> build_spec(const Config& config, const Checkpoint& checkpoint) {
  return Builder(config, checkpoint).build();
}

}  // namespace sluice::model
