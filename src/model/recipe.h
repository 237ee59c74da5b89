// Recipe: how a model shall run. What `optimize` and the engine's options decide, as one printable value.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/model.h"
#include "ops/linear.h"

namespace sluice::model {

/// "these weights of these layers in this type". Later rules win.
struct PrecisionRule {
  int64_t first_layer = -1;  // -1: every layer and what is outside layers
  int64_t last_layer = -1;
  std::string
      group;  // attention.qkv, attention.out, feedforward.intermediate, feedforward.output, embedding, head
  DType dtype = DType::f32;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("first_layer", s.first_layer), v("last_layer", s.last_layer), v("group", s.group), v("dtype", s.dtype);
  }
  bool operator==(const PrecisionRule&) const = default;
};

struct Recipe {
  std::vector<PrecisionRule> precision;                   // empty: every weight as the checkpoint has it
  ops::Activations activations = ops::Activations::int8;  // int8: with quantised weights only
  DType kv = DType::f16;
  int64_t page_tokens = 0;       // of a KV page; 0: what the backend prefers
  int64_t max_seq_len = 0;       // tokens of one sequence, prompt and output; 0: min(model's, 4096)
  int64_t max_sequences = 0;     // running together; 0: 16
  int64_t max_batch_tokens = 0;  // of one step; 0: 512
  int64_t kv_tokens = 0;         // capacity of the KV pool; 0: max(max_seq_len, 256 * max_sequences)
  int64_t weight_budget = 0;     // bytes of weights that a device with memory of its own holds; 0: all
  bool batch_invariant = false;
  int64_t tensor_parallel = 1;
  int64_t pipeline_parallel = 1;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("precision", s.precision), v("activations", s.activations), v("kv", s.kv),
        v("page_tokens", s.page_tokens);
    v("max_seq_len", s.max_seq_len), v("max_sequences", s.max_sequences),
        v("max_batch_tokens", s.max_batch_tokens);
    v("kv_tokens", s.kv_tokens), v("weight_budget", s.weight_budget), v("batch_invariant", s.batch_invariant),
        v("tensor_parallel", s.tensor_parallel);
    v("pipeline_parallel", s.pipeline_parallel);
  }
  bool operator==(const Recipe&) const = default;
};

/// The type of each matrix of a model, by role. Vectors (norms, biases, positions) are always f32.
using RoleTypes = std::map<std::string, DType, std::less<>>;

/// Rules of `--precision`: "auto" gives none; a type gives it to every matrix, except that embedding and head
/// stay at q8_0 when it is a narrower block type.
Result<std::vector<PrecisionRule>> precision_from_name(const std::string& name);

/// Rules of a `--precision_config` document: {"attention": {"qkv", "out"}, "feedforward": {"intermediate",
/// "output"}, "embedding", "head", "normalization": "fp32", "layers": {"0": {...}, "2-5": {...}}}, values
/// being type names.
Result<std::vector<PrecisionRule>> precision_from_json(const Json& document, const std::string& origin);

/// Sizes that `recipe` leaves open (0) as an engine was made with. A stored KV size counts only with the
/// sizes it was for.
void inherit_sizes(Recipe& recipe, const Recipe& stored);

/// Fills in what the recipe leaves to the model, and `page_tokens` where it leaves those to the backend, and
/// checks it: sizes in range, rules that name existing layers, what is not there yet refused in one sentence.
Status complete(Recipe& recipe, const Spec& spec, int64_t page_tokens);

/// What the recipe makes of each matrix. A block type whose block does not divide a row's length falls back
/// to q8_0, then to bf16; `notes` gets one line for each group that did.
Result<RoleTypes> resolve_types(const Model& model, const Recipe& recipe, std::vector<std::string>& notes);

}  // namespace sluice::model
