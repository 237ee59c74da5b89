#include "model/testing/tiny_checkpoint.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "model/arch_document.h"
#include "model/checkpoint/safetensors.h"
#include "quant/format.h"

namespace sluice::model::testing {
namespace {

struct Tensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<std::byte> bytes;
};

class Generator {
 public:
  explicit Generator(const TinyModel& model) : m_(model), random_(model.seed) {}

  /// Normal with standard deviation 1 / sqrt(k) around 0.
  Tensor matrix(const std::string& name, int64_t n, int64_t k) {
    return tensor(name, {n, k}, 0, 1 / std::sqrt(static_cast<float>(k)));
  }
  Tensor norm(const std::string& name, int64_t n) {
    return tensor(name, {n}, m_.arch == "gemma2" ? 0 : 1, 0.2f);  // gemma multiplies by 1 + w
  }
  Tensor bias(const std::string& name, int64_t n) { return tensor(name, {n}, 0, 0.1f); }

 private:
  Tensor tensor(const std::string& name, const std::vector<int64_t>& shape, float mean, float deviation) {
    Tensor out{name, {shape.begin(), shape.end()}, {}};
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    std::vector<float> values(static_cast<size_t>(count));
    // The sum of twelve uniform numbers: the same everywhere, which the library's normal distribution is not.
    for (float& v : values) {
      float sum = -6;
      for (int i = 0; i < 12; ++i) sum += static_cast<float>(random_() >> 8) * 0x1p-24f;
      v = mean + deviation * sum;
    }
    out.bytes.resize(row_bytes(m_.dtype, values.size()));
    quant::quantize_row(m_.dtype, values.data(), out.bytes.data(), count);
    return out;
  }

  const TinyModel& m_;
  std::mt19937 random_;
};

std::vector<Tensor> layer_tensors(const TinyModel& m, Generator& g, int64_t layer) {
  const std::string at = fmt::format("model.layers.{}.", layer);
  const bool gemma = m.arch == "gemma2";
  std::vector<Tensor> out;
  const auto attention = [&](const char* name, int64_t n, int64_t k, bool bias) {
    out.push_back(g.matrix(at + "self_attn." + name + ".weight", n, k));
    if (bias) out.push_back(g.bias(at + "self_attn." + name + ".bias", n));
  };
  const bool bias = m.arch == "qwen2";
  attention("q_proj", m.heads * m.head_dim, m.hidden, bias);
  attention("k_proj", m.kv_heads * m.head_dim, m.hidden, bias);
  attention("v_proj", m.kv_heads * m.head_dim, m.hidden, bias);
  attention("o_proj", m.hidden, m.heads * m.head_dim, false);
  for (const char* name : {"input_layernorm", "post_attention_layernorm"})
    out.push_back(g.norm(at + name + ".weight", m.hidden));
  if (gemma) {
    for (const char* name : {"pre_feedforward_layernorm", "post_feedforward_layernorm"})
      out.push_back(g.norm(at + name + ".weight", m.hidden));
  }
  const auto mlp = [&](const std::string& prefix, const char* gate, const char* up, const char* down) {
    out.push_back(g.matrix(prefix + gate + ".weight", m.width, m.hidden));
    out.push_back(g.matrix(prefix + up + ".weight", m.width, m.hidden));
    out.push_back(g.matrix(prefix + down + ".weight", m.hidden, m.width));
  };
  if (m.arch == "mixtral") {
    out.push_back(g.matrix(at + "block_sparse_moe.gate.weight", m.experts, m.hidden));
    for (int64_t e = 0; e < m.experts; ++e)
      mlp(fmt::format("{}block_sparse_moe.experts.{}.", at, e), "w1", "w3", "w2");
  } else {
    mlp(at + "mlp.", "gate_proj", "up_proj", "down_proj");
  }
  return out;
}

std::vector<Tensor> outer_tensors(const TinyModel& m, Generator& g) {
  std::vector<Tensor> out;
  out.push_back(g.matrix("model.embed_tokens.weight", m.vocab, m.hidden));
  out.push_back(g.norm("model.norm.weight", m.hidden));
  if (m.arch != "gemma2") out.push_back(g.matrix("lm_head.weight", m.vocab, m.hidden));
  return out;
}

Json config_of(const TinyModel& m) {
  Json config = {{"architectures", (*arch_for_model_type(m.arch))["classes"]},
                 {"model_type", m.arch},
                 {"vocab_size", m.vocab},
                 {"hidden_size", m.hidden},
                 {"intermediate_size", m.width},
                 {"num_hidden_layers", m.layers},
                 {"num_attention_heads", m.heads},
                 {"num_key_value_heads", m.kv_heads},
                 {"head_dim", m.head_dim},
                 {"max_position_embeddings", m.max_positions},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", m.arch == "gemma2"},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2}};
  config["hidden_act"] = "silu";
  if (m.arch == "gemma2") {
    config["hidden_activation"] = "gelu_pytorch_tanh";
    config["query_pre_attn_scalar"] = m.head_dim;
    config["attn_logit_softcapping"] = 50.0;
    config["final_logit_softcapping"] = 30.0;
    config["sliding_window"] = 16;
  }
  if (m.arch == "mixtral") {
    config["num_local_experts"] = m.experts;
    config["num_experts_per_tok"] = 2;
  }
  return config;
}

Status write_tensors(const std::string& path, const std::vector<Tensor>& tensors, DType dtype) {
  std::vector<SafetensorsTensorData> data;
  for (const Tensor& t : tensors) data.push_back({t.name, dtype, t.shape, t.bytes});
  return write_safetensors(path, data);
}

}  // namespace

Status write_tiny_checkpoint(const std::string& directory, const TinyModel& model) {
  SLUICE_CHECK(
      model.arch == "llama" || model.arch == "qwen2" || model.arch == "gemma2" || model.arch == "mixtral",
      "{}", model.arch);
  SLUICE_TRY(write_file_atomically(join_path(directory, "config.json"), dump_json(config_of(model), 2)));
  SLUICE_TRY(
      write_file_atomically(join_path(directory, "generation_config.json"),
                            R"({"do_sample": true, "temperature": 0.7, "top_k": 20, "eos_token_id": 2})"));
  Generator generator(model);
  std::vector<std::vector<Tensor>> groups = {outer_tensors(model, generator)};
  for (int64_t i = 0; i < model.layers; ++i) groups.push_back(layer_tensors(model, generator, i));
  if (!model.sharded) {
    std::vector<Tensor> all;
    for (auto& group : groups) std::move(group.begin(), group.end(), std::back_inserter(all));
    return write_tensors(join_path(directory, "model.safetensors"), all, model.dtype);
  }
  Json weight_map = Json::object();
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, groups.size());
    SLUICE_TRY(write_tensors(join_path(directory, name), groups[i], model.dtype));
    for (const Tensor& t : groups[i]) weight_map[t.name] = name;
  }
  const Json index = {{"metadata", Json::object()}, {"weight_map", weight_map}};
  return write_file_atomically(join_path(directory, "model.safetensors.index.json"), dump_json(index, 2));
}

}  // namespace sluice::model::testing
