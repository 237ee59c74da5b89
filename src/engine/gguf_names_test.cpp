// The same model from Hugging Face names and from GGUF names gives the same logits. The conversion follows
// what llama.cpp's converter does with each architecture.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>

#include "engine/testing/cores.h"
#include "model/checkpoint/gguf.h"
#include "model/testing/loose_checkpoint.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::engine {
namespace {

using model::GgufValue;
using model::testing::LooseCheckpoint;
using model::testing::LooseTensor;
using model::testing::TempDirectory;

// How one architecture's checkpoints become GGUF.
struct Convention {
  std::string gguf;              // general.architecture
  Json config = Json::object();  // what a GGUF file cannot say: set in the Hugging Face config first
  bool permute_qk = false;       // rotation pairs become neighbours, as in Meta's own checkpoints
  bool plus_one = false;         // norms multiply by w, not by 1 + w
  std::vector<std::pair<std::string, std::string>> rename = {};  // Hugging Face part → GGUF part, first match
};

using Renames = std::vector<std::pair<std::string, std::string>>;
const Renames kCommon = {{"self_attn.q_proj", "attn_q"},
                         {"self_attn.k_proj", "attn_k"},
                         {"self_attn.v_proj", "attn_v"},
                         {"self_attn.o_proj", "attn_output"},
                         {"self_attn.qkv_proj", "attn_qkv"},
                         {"self_attn.q_norm", "attn_q_norm"},
                         {"self_attn.k_norm", "attn_k_norm"},
                         {"mlp.gate_up_proj", "ffn_up"},
                         {"mlp.gate_proj", "ffn_gate"},
                         {"mlp.up_proj", "ffn_up"},
                         {"mlp.down_proj", "ffn_down"},
                         {"mlp.c_fc", "ffn_up"},
                         {"mlp.c_proj", "ffn_down"},
                         {"mlp.gate", "ffn_gate_inp"},
                         {"block_sparse_moe.gate", "ffn_gate_inp"},
                         {"input_layernorm", "attn_norm"},
                         {"post_attention_layernorm", "ffn_norm"}};
const Renames kGemma = {{"post_attention_layernorm", "post_attention_norm"},
                        {"pre_feedforward_layernorm", "ffn_norm"},
                        {"post_feedforward_layernorm", "post_ffw_norm"}};
const Renames kOlmo2 = {{"post_attention_layernorm", "post_attention_norm"},
                        {"post_feedforward_layernorm", "post_ffw_norm"}};
const Renames kNeox = {{"attention.query_key_value", "attn_qkv"},
                       {"attention.dense", "attn_output"},
                       {"mlp.dense_h_to_4h", "ffn_up"},
                       {"mlp.dense_4h_to_h", "ffn_down"}};
const Renames kGpt2 = {
    {"ln_1", "attn_norm"}, {"ln_2", "ffn_norm"}, {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"}};

const Json kNoWindow = {{"sliding_window", nullptr}, {"use_sliding_window", false}, {"layer_types", nullptr}};

std::map<std::string, Convention> conventions() {
  return {
      {"llama", {.gguf = "llama", .permute_qk = true}},
      {"mistral", {.gguf = "llama", .config = kNoWindow, .permute_qk = true}},
      {"mixtral", {.gguf = "llama", .config = kNoWindow, .permute_qk = true}},
      {"qwen2", {.gguf = "qwen2", .config = kNoWindow}},
      {"qwen3", {.gguf = "qwen3", .config = kNoWindow}},
      {"qwen3_moe", {.gguf = "qwen3moe", .config = kNoWindow}},
      {"gemma2",
       {.gguf = "gemma2",
        .config = {{"query_pre_attn_scalar", "head_dim"}},
        .plus_one = true,
        .rename = kGemma}},
      {"gemma3_text",
       {.gguf = "gemma3",
        .config = {{"query_pre_attn_scalar", "head_dim"}},
        .plus_one = true,
        .rename = kGemma}},
      {"phi3", {.gguf = "phi3"}},
      {"gpt2", {.gguf = "gpt2", .rename = kGpt2}},
      {"gpt_neox", {.gguf = "gptneox", .rename = kNeox}},
      {"starcoder2", {.gguf = "starcoder2", .config = kNoWindow}},
      {"olmo2", {.gguf = "olmo2", .rename = kOlmo2}},
      {"cohere2", {.gguf = "cohere2"}},
      {"granite", {.gguf = "granite", .permute_qk = true}},
      {"smollm3", {.gguf = "smollm3", .permute_qk = true}},
      {"stablelm", {.gguf = "stablelm"}},
  };
}

// --- tensors
// --------------------------------------------------------------------------------------------------

uint64_t row_length(const LooseTensor& t) {
  uint64_t n = 1;
  for (size_t d = 1; d < t.shape.size(); ++d) n *= t.shape[d];
  return n;
}

// Rows in another order: row i of the result is row source(i).
template <typename F>
LooseTensor pick_rows(const LooseTensor& t, F&& source) {
  LooseTensor out{t.shape, std::vector<float>(t.values.size())};
  const uint64_t n = row_length(t);
  for (uint64_t i = 0; i < t.shape[0]; ++i) {
    const auto from = t.values.begin() + static_cast<std::ptrdiff_t>(source(i) * n);
    std::copy(from, from + static_cast<std::ptrdiff_t>(n),
              out.values.begin() + static_cast<std::ptrdiff_t>(i * n));
  }
  return out;
}

LooseTensor permuted(const LooseTensor& t, uint64_t heads) {
  const uint64_t dim = t.shape[0] / heads;
  return pick_rows(t, [&](uint64_t i) { return i / dim * dim + i % dim / 2 + (i % 2) * (dim / 2); });
}

// (head, q k v, dim) to (q k v, head, dim).
LooseTensor ungrouped(const LooseTensor& t, uint64_t heads) {
  const uint64_t dim = t.shape[0] / heads / 3;
  return pick_rows(t, [&](uint64_t i) {
    const uint64_t part = i / (heads * dim), head = i / dim % heads;
    return (head * 3 + part) * dim + i % dim;
  });
}

LooseTensor transposed(const LooseTensor& t) {
  LooseTensor out{{t.shape[1], t.shape[0]}, {}};
  for (uint64_t c = 0; c < t.shape[1]; ++c) {
    for (uint64_t r = 0; r < t.shape[0]; ++r) out.values.push_back(t.values[r * t.shape[1] + c]);
  }
  return out;
}

LooseTensor stacked(const std::vector<const LooseTensor*>& parts) {
  LooseTensor out{parts[0]->shape, {}};
  out.shape.insert(out.shape.begin(), parts.size());
  for (const LooseTensor* p : parts) out.values.insert(out.values.end(), p->values.begin(), p->values.end());
  return out;
}

class Converter {
 public:
  Converter(const LooseCheckpoint& checkpoint, const Convention& convention)
      : config_(checkpoint.config), tensors_(checkpoint.tensors), convention_(convention) {}

  Status write(const std::string& path) {
    metadata();
    for (const auto& [name, tensor] : tensors_) convert(name, tensor);
    experts();
    per_head_norms();
    rope_tensors();
    std::vector<model::GgufTensorData> data;
    for (const auto& [name, tensor] : out_)
      data.push_back({name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
    return model::write_gguf(path, metadata_, data);
  }

 private:
  // The first of these keys that the config has.
  const Json* key(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      const auto it = config_.find(name);
      if (it != config_.end() && !it->is_null()) return &*it;
    }
    return nullptr;
  }
  int64_t count(std::initializer_list<const char*> names) const { return key(names)->get<int64_t>(); }
  int64_t heads() const { return count({"num_attention_heads", "n_head"}); }
  int64_t kv_heads() const {
    const Json* v = key({"num_key_value_heads"});
    return v == nullptr ? heads() : v->get<int64_t>();
  }
  int64_t hidden() const { return count({"hidden_size", "n_embd"}); }
  int64_t head_dim() const {
    const Json* v = key({"head_dim"});
    return v == nullptr ? hidden() / heads() : v->get<int64_t>();
  }
  // The rope parameters, of all layers or of the global ones.
  Json rope() const {
    Json out = config_.value("rope_parameters", Json::object());
    if (out.contains("full_attention")) out = out["full_attention"];
    if (const Json* v = key({"rope_scaling"})) out.update(*v);
    for (const char* top : {"rope_theta", "partial_rotary_factor"}) {
      if (!out.contains(top) && config_.contains(top)) out[top] = config_[top];
    }
    return out;
  }

  void set(const std::string& suffix, GgufValue value) {
    metadata_.set(convention_.gguf + "." + suffix, std::move(value));
  }
  void set_u32(const std::string& suffix, int64_t value) {
    set(suffix, GgufValue::u32(static_cast<uint32_t>(value)));
  }
  void copy_u32(const char* suffix, std::initializer_list<const char*> names) {
    if (const Json* v = key(names)) set_u32(suffix, v->get<int64_t>());
  }
  void copy_f32(const char* suffix, std::initializer_list<const char*> names) {
    if (const Json* v = key(names)) set(suffix, GgufValue::f32(v->get<float>()));
  }

  void metadata() {
    metadata_.set("general.architecture", GgufValue::string(convention_.gguf));
    copy_u32("block_count", {"num_hidden_layers", "n_layer"});
    copy_u32("context_length", {"max_position_embeddings", "n_positions"});
    set_u32("embedding_length", hidden());
    const Json* width = key({"intermediate_size", "n_inner"});
    set_u32("feed_forward_length", width == nullptr ? 4 * hidden() : width->get<int64_t>());
    set_u32("attention.head_count", heads());
    set_u32("attention.head_count_kv", kv_heads());
    copy_f32("attention.layer_norm_rms_epsilon", {"rms_norm_eps"});
    copy_f32("attention.layer_norm_epsilon", {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"});
    copy_u32("attention.key_length", {"head_dim"});
    copy_u32("attention.value_length", {"head_dim"});
    if (convention_.config != kNoWindow) copy_u32("attention.sliding_window", {"sliding_window"});
    copy_f32("attn_logit_softcapping", {"attn_logit_softcapping"});
    copy_f32("final_logit_softcapping", {"final_logit_softcapping"});
    copy_f32("attention.scale", {"attention_multiplier"});
    copy_f32("embedding_scale", {"embedding_multiplier"});
    copy_f32("residual_scale", {"residual_multiplier"});
    copy_f32("logit_scale", {"logits_scaling", "logit_scale"});
    copy_u32("expert_count", {"num_local_experts", "num_experts"});
    copy_u32("expert_used_count", {"num_experts_per_tok"});
    copy_u32("expert_feed_forward_length", {"moe_intermediate_size"});
    if (const Json* v = key({"use_parallel_residual"}))
      set("use_parallel_residual", GgufValue::boolean(v->get<bool>()));
    if (const Json* v = key({"eos_token_id"}))
      metadata_.set("tokenizer.ggml.eos_token_id", GgufValue::u32(v->get<uint32_t>()));
    metadata_.set("tokenizer.ggml.model", GgufValue::string("none"));
    if (convention_.gguf != "gpt2") rope_metadata();
  }

  void rope_metadata() {
    const Json r = rope();
    set("rope.freq_base", GgufValue::f32(r.value("rope_theta", 10000.0f)));
    set_u32("rope.dimension_count",
            static_cast<int64_t>(static_cast<double>(head_dim()) * r.value("partial_rotary_factor", 1.0)));
    const std::string type = r.value("rope_type", r.value("type", "default"));
    if (type == "linear" || type == "yarn") {
      set("rope.scaling.type", GgufValue::string(type));
      set("rope.scaling.factor", GgufValue::f32(r["factor"].get<float>()));
    }
    if (type == "yarn")
      set_u32("rope.scaling.original_context_length",
              r.value("original_max_position_embeddings", count({"max_position_embeddings"})));
    if (type == "longrope") {
      const double original = r.contains("original_max_position_embeddings")
                                  ? r["original_max_position_embeddings"].get<double>()
                                  : static_cast<double>(count({"original_max_position_embeddings"}));
      const double scale = static_cast<double>(count({"max_position_embeddings"})) / original;
      set_u32("rope.scaling.original_context_length", static_cast<int64_t>(original));
      set("rope.scaling.attn_factor",
          GgufValue::f32(
              static_cast<float>(scale <= 1 ? 1 : std::sqrt(1 + std::log(scale) / std::log(original)))));
    }
  }

  void convert(const std::string& name, const LooseTensor& tensor) {
    for (const char* derived : {"rotary_emb.inv_freq", ".attn.bias", ".masked_bias", ".attention.bias"}) {
      if (name.ends_with(derived)) return;
    }
    const size_t dot = name.rfind('.');
    const std::string stem = name.substr(0, dot), suffix = name.substr(dot);
    const std::string part = last_part(stem);
    for (const auto& [from, to] :
         {std::pair{"embed_tokens", "token_embd"}, std::pair{"wte", "token_embd"},
          std::pair{"embed_in", "token_embd"}, std::pair{"wpe", "position_embd"},
          std::pair{"lm_head", "output"}, std::pair{"embed_out", "output"}, std::pair{"ln_f", "output_norm"},
          std::pair{"final_layer_norm", "output_norm"}, std::pair{"norm", "output_norm"}}) {
      if (part == from && layer_of(stem) < 0) {
        out_[to + suffix] = plus_one(to, tensor);
        return;
      }
    }
    const int64_t layer = layer_of(stem);
    ASSERT_GE(layer, 0) << name;
    if (stem.find(".experts.") != std::string::npos || stem.find(".norms.") != std::string::npos)
      return;  // later, together
    const std::string inner =
        stem.substr(stem.find("." + std::to_string(layer) + ".") + 2 + std::to_string(layer).size());
    const std::string to = renamed(inner);
    ASSERT_FALSE(to.empty()) << name;
    LooseTensor value = plus_one(to, tensor);
    if (convention_.permute_qk && to == "attn_q") value = permuted(value, static_cast<uint64_t>(heads()));
    if (convention_.permute_qk && to == "attn_k") value = permuted(value, static_cast<uint64_t>(kv_heads()));
    if (convention_.gguf == "gptneox" && to == "attn_qkv")
      value = ungrouped(value, static_cast<uint64_t>(heads()));
    if (convention_.gguf == "gpt2" && value.shape.size() == 2) value = transposed(value);
    out_[fmt::format("blk.{}.{}{}", layer, to, suffix)] = std::move(value);
  }

  std::string renamed(const std::string& inner) const {
    for (const Renames* table : {&convention_.rename, &kCommon}) {
      for (const auto& [from, to] : *table) {
        if (inner == from) return to;
      }
    }
    return "";
  }

  LooseTensor plus_one(const std::string& name, LooseTensor tensor) const {
    if (convention_.plus_one && name.ends_with("norm")) {
      for (float& v : tensor.values) v += 1;
    }
    return tensor;
  }

  static std::string last_part(const std::string& stem) { return stem.substr(stem.rfind('.') + 1); }
  static int64_t layer_of(const std::string& stem) {
    for (const char* before : {"layers.", "h."}) {
      const size_t at = stem.find(before);
      if (at != std::string::npos && (at == 0 || stem[at - 1] == '.'))
        return std::stoll(stem.substr(at + std::string(before).size()));
    }
    return -1;
  }

  // Experts of a layer become one tensor of three dimensions.
  void experts() {
    for (const auto& [hf, to] :
         {std::pair{"gate_proj", "gate"}, std::pair{"up_proj", "up"}, std::pair{"down_proj", "down"},
          std::pair{"w1", "gate"}, std::pair{"w3", "up"}, std::pair{"w2", "down"}}) {
      for (int64_t layer = 0; layer < count({"num_hidden_layers", "n_layer"}); ++layer) {
        std::vector<const LooseTensor*> parts;
        for (const char* block : {"mlp", "block_sparse_moe"}) {
          while (true) {
            const auto it = tensors_.find(
                fmt::format("model.layers.{}.{}.experts.{}.{}.weight", layer, block, parts.size(), hf));
            if (it == tensors_.end()) break;
            parts.push_back(&it->second);
          }
        }
        if (!parts.empty()) out_[fmt::format("blk.{}.ffn_{}_exps.weight", layer, to)] = stacked(parts);
      }
    }
  }

  // StableLM's norm for each head becomes a row of one tensor.
  void per_head_norms() {
    for (const char* which : {"q", "k"}) {
      for (int64_t layer = 0; layer < count({"num_hidden_layers", "n_layer"}); ++layer) {
        std::vector<const LooseTensor*> parts;
        while (true) {
          const auto it = tensors_.find(fmt::format("model.layers.{}.self_attn.{}_layernorm.norms.{}.weight",
                                                    layer, which, parts.size()));
          if (it == tensors_.end()) break;
          parts.push_back(&it->second);
        }
        if (!parts.empty()) out_[fmt::format("blk.{}.attn_{}_norm.weight", layer, which)] = stacked(parts);
      }
    }
  }

  void rope_tensors() {
    const Json r = rope();
    const std::string type = r.value("rope_type", r.value("type", "default"));
    if (type == "longrope") {
      for (const char* which : {"long", "short"}) {
        const auto factors = r[std::string(which) + "_factor"].get<std::vector<float>>();
        out_[fmt::format("rope_factors_{}.weight", which)] = {{factors.size()}, factors};
      }
    }
    if (type != "llama3") return;
    LooseTensor freqs{{static_cast<uint64_t>(head_dim() / 2)}, {}};
    const double low = r["low_freq_factor"].get<double>(), high = r["high_freq_factor"].get<double>(),
                 factor = r["factor"].get<double>();
    const double original = r["original_max_position_embeddings"].get<double>();
    for (int64_t i = 0; i < head_dim() / 2; ++i) {
      const double wave = 2 * std::numbers::pi *
                          std::pow(r["rope_theta"].get<double>(),
                                   2.0 * static_cast<double>(i) / static_cast<double>(head_dim()));
      const double smooth = (original / wave - low) / (high - low);
      const double divisor = wave < original / high  ? 1
                             : wave > original / low ? factor
                                                     : 1 / ((1 - smooth) / factor + smooth);
      freqs.values.push_back(static_cast<float>(divisor));
    }
    out_["rope_freqs.weight"] = std::move(freqs);
  }

  const Json& config_;
  const std::map<std::string, LooseTensor>& tensors_;
  const Convention& convention_;
  model::GgufMetadata metadata_;
  std::map<std::string, LooseTensor> out_;
};

// --- the comparison
// -------------------------------------------------------------------------------------------

std::vector<float> logits_of(const std::string& path) {
  model::Recipe recipe;
  recipe.activations = ops::Activations::f32;
  recipe.kv = DType::f32;
  recipe.max_seq_len = 128;
  auto core = testing::open_core(path, recipe);
  EXPECT_TRUE(core.ok()) << core.status().message();
  if (!core.ok()) return {};
  CoreRequest request;
  for (int i = 0; i < 70; ++i) request.prompt.push_back((i * 37 + 11) % 120);  // longer than the windows
  request.sampling = {.temperature = 0, .max_tokens = 4, .ignore_eos = true};
  request.prompt_logits = true;
  std::vector<float> out;
  for (const auto& [position, row] : testing::alone(**core, request).logits)
    out.insert(out.end(), row.begin(), row.end());
  return out;
}

void expect_equal_from_both(const std::string& directory) {
  auto loose = model::testing::read_loose(directory);
  ASSERT_TRUE(loose.ok()) << loose.status().message();
  const auto all = conventions();
  const auto it = all.find(loose->config["model_type"].get<std::string>());
  ASSERT_NE(it, all.end()) << loose->config["model_type"];
  const Convention& convention = it->second;
  for (const auto& [key, value] : convention.config.items()) {
    loose->config[key] = value == "head_dim" ? loose->config["head_dim"] : value;
  }
  TempDirectory dir;
  const Status written = model::testing::write_loose(dir.path(), *loose);
  ASSERT_TRUE(written.ok()) << written.message();
  const Status converted = Converter(*loose, convention).write(dir / "model.gguf");
  ASSERT_TRUE(converted.ok()) << converted.message();
  const std::vector<float> hf = logits_of(dir.path()), gguf = logits_of(dir / "model.gguf");
  ASSERT_EQ(hf.size(), gguf.size());
  ASSERT_FALSE(hf.empty());
  float worst = 0;
  for (size_t i = 0; i < hf.size(); ++i) worst = std::max(worst, std::abs(hf[i] - gguf[i]));
  EXPECT_LE(worst, 2e-4f);
}

TEST(GgufNames, OfTinyModelsGiveTheSameLogits) {
  for (const char* arch : {"llama", "qwen2", "gemma2", "mixtral"}) {
    SCOPED_TRACE(arch);
    TempDirectory dir;
    ASSERT_TRUE(model::testing::write_tiny_checkpoint(dir.path(), {.arch = arch}).ok());
    expect_equal_from_both(dir.path());
  }
}

TEST(GgufNames, OfLlamasWithBiasesGiveTheSameLogits) {
  TempDirectory dir;
  ASSERT_TRUE(model::testing::write_tiny_checkpoint(dir.path(), {}).ok());
  auto loose = *model::testing::read_loose(dir.path());
  loose.config["attention_bias"] = true;
  for (int layer : {0, 1}) {
    for (const auto& [part, n] :
         {std::pair{"q", 64}, std::pair{"k", 32}, std::pair{"v", 32}, std::pair{"o", 64}}) {
      LooseTensor bias{{static_cast<uint64_t>(n)}, {}};
      for (int i = 0; i < n; ++i) bias.values.push_back(0.01f * static_cast<float>((i * 7 + layer) % 13 - 6));
      loose.tensors[fmt::format("model.layers.{}.self_attn.{}_proj.bias", layer, part)] = bias;
    }
  }
  ASSERT_TRUE(model::testing::write_loose(dir.path(), loose).ok());
  expect_equal_from_both(dir.path());
}

TEST(GgufNames, OfStableLmsVariantsGiveTheSameLogits) {
  TempDirectory dir;
  ASSERT_TRUE(model::testing::write_tiny_checkpoint(dir.path(), {}).ok());
  auto loose = *model::testing::read_loose(dir.path());
  loose.config["model_type"] = "stablelm";
  loose.config["architectures"] = {"StableLmForCausalLM"};
  loose.config["layer_norm_eps"] = 1e-5;
  loose.config["partial_rotary_factor"] = 0.25;
  loose.config["qk_layernorm"] = true;
  loose.config["use_parallel_residual"] = true;
  std::map<std::string, LooseTensor> extra;
  for (auto& [name, tensor] : loose.tensors) {
    if (name.ends_with("norm.weight")) extra[name.substr(0, name.size() - 6) + "bias"] = tensor;
  }
  loose.tensors.merge(extra);
  for (int layer : {0, 1}) {
    for (const char* suffix : {"weight", "bias"})
      loose.tensors.erase(fmt::format("model.layers.{}.post_attention_layernorm.{}", layer, suffix));
    for (const auto& [part, heads] : {std::pair{"q", 4}, std::pair{"k", 2}}) {
      for (int h = 0; h < heads; ++h) {
        LooseTensor norm{{16}, {}};
        for (int i = 0; i < 16; ++i)
          norm.values.push_back(1 + 0.05f * static_cast<float>((i * 5 + h + layer) % 7 - 3));
        loose.tensors[fmt::format("model.layers.{}.self_attn.{}_layernorm.norms.{}.weight", layer, part, h)] =
            norm;
      }
    }
  }
  ASSERT_TRUE(model::testing::write_loose(dir.path(), loose).ok());
  expect_equal_from_both(dir.path());
}

TEST(GgufNames, OfEveryArchitectureGiveTheSameLogits) {
  const std::string fixtures = std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures";
  if (!std::filesystem::exists(fixtures))
    GTEST_SKIP() << "the reference fixtures are not there: " << fixtures;
  for (const char* name :
       {"llama",         "llama-linear", "llama-yarn", "llama-llama3rope", "mistral",     "mixtral",
        "qwen2",         "qwen3",        "qwen3_moe",  "gemma2",           "gemma3_text", "phi3",
        "phi3-longrope", "gpt2",         "gpt_neox",   "starcoder2",       "olmo2",       "cohere2",
        "granite",       "smollm3",      "stablelm"}) {
    SCOPED_TRACE(name);
    expect_equal_from_both(fixtures + "/" + name);
  }
}

TEST(GgufNames, EndTokensAreThoseOfTheTokenizersKeys) {
  TempDirectory dir;
  ASSERT_TRUE(model::testing::write_tiny_checkpoint(dir.path(), {}).ok());
  const auto loose = *model::testing::read_loose(dir.path());
  ASSERT_TRUE(Converter(loose, conventions().at("llama")).write(dir / "model.gguf").ok());
  const auto core = testing::make_core(dir / "model.gguf", {});
  EXPECT_EQ(core->eos(), std::vector<int32_t>{2});
}

}  // namespace
}  // namespace sluice::engine
