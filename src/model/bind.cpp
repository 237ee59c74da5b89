#include "model/bind.h"

#include <algorithm>
#include <set>

namespace sluice::model {
namespace {

void replace_all(std::string& text, std::string_view from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Checkpoints of base models lack the wrapper's prefix; those of multimodal ones have another in front. The
// one under which the embedding is found serves for all names.
struct Renaming {
  std::string from, to;
  std::string operator()(const std::string& name) const {
    return name.starts_with(from) ? to + name.substr(from.size()) : name;
  }
};

Renaming find_renaming(const std::string& embed, const Checkpoint& checkpoint) {
  const std::string first = embed.substr(0, embed.find('.') + 1);
  for (const Renaming& r : {Renaming{"", ""}, Renaming{first, ""}, Renaming{first, "model.language_model."},
                            Renaming{first, "model.text_model."}, Renaming{"", "language_model."}}) {
    if (checkpoint.find(r(embed) + ".weight") != nullptr) return r;
  }
  return {};
}

// What the document says about a role's tensor.
struct Entry {
  std::string name;
  std::string rows;
  bool transpose = false;
  bool plus_one = false;
};

class Binder {
 public:
  Binder(const Spec& spec, const Json& document, const Checkpoint& checkpoint, const std::string& origin)
      : spec_(spec),
        document_(document),
        tensors_(document["tensors"]),
        checkpoint_(checkpoint),
        origin_(origin) {
    renaming_ = find_renaming(entry(tensors_, "embed").name, checkpoint);
  }

  Result<std::vector<Weight>> run() {
    add_all();
    if (!missing_.empty()) return named_tensors("tensors that {} asks for are missing", missing_);
    SLUICE_TRY(status_);
    if (const auto unused = unused_tensors(); !unused.empty())
      return named_tensors("tensors are there that {} says nothing of", unused);
    return sorted();
  }

  /// What would be looked for.
  std::vector<Weight> expected(DType dtype) {
    add_all();
    for (Weight& weight : weights_) weight.dtype = weight.k == 1 ? DType::f32 : dtype;
    return sorted();
  }

 private:
  void add_all() {
    add("embed", entry(tensors_, "embed"), spec_.vocab, spec_.hidden);
    if (spec_.learned_positions > 0)
      add("positions", entry(tensors_, "positions"), spec_.learned_positions, spec_.hidden);
    if (spec_.final_norm)
      add_norm("final_norm", entry(tensors_, "final_norm"), *spec_.final_norm, spec_.hidden);
    if (!spec_.tied_head)
      add_linear("head", entry(tensors_, "head"), spec_.vocab, spec_.hidden, spec_.head_bias);
    for (size_t i = 0; i < spec_.layers.size(); ++i) add_layer(i, spec_.layers[i]);
  }

  std::vector<Weight> sorted() {
    std::sort(weights_.begin(), weights_.end(),
              [](const Weight& a, const Weight& b) { return a.role < b.role; });
    return std::move(weights_);
  }

  static Entry entry(const Json& section, const std::string& role) {
    const auto it = section.find(role);
    if (it == section.end()) return {};
    if (it->is_string()) return {it->get<std::string>(), "", false, false};
    return {(*it)["name"].get<std::string>(), it->value("rows", ""), it->value("transpose", false),
            it->value("plus_one", false)};
  }

  void add_layer(size_t i, const Layer& l) {
    const std::string base = fmt::format("layers.{}.", i);
    const auto at = [&](const char* role) {
      Entry e = entry(tensors_["layer"], role);
      replace_all(e.name, "{i}", std::to_string(i));
      return e;
    };
    for (const auto& [role, norm] :
         {std::pair{"pre_mixer_norm", &l.pre_mixer}, std::pair{"post_mixer_norm", &l.post_mixer},
          std::pair{"pre_ff_norm", &l.pre_ff}, std::pair{"post_ff_norm", &l.post_ff}}) {
      if (*norm) add_norm(base + role, at(role), **norm, spec_.hidden);
    }
    if (l.attention) {
      const Attention& a = *l.attention;
      group_ = {a.heads * a.d_qk, a.kv_heads * a.d_qk, a.kv_heads * a.d_v, a.heads, a.d_qk};
      add_linear(base + "attention.q", at("attention.q"), group_.q, spec_.hidden, a.q_bias);
      add_linear(base + "attention.k", at("attention.k"), group_.k, spec_.hidden, a.k_bias);
      add_linear(base + "attention.v", at("attention.v"), group_.v, spec_.hidden, a.v_bias);
      add_linear(base + "attention.o", at("attention.o"), spec_.hidden, a.heads * a.d_v, a.o_bias);
      if (a.qk_norm != ops::QkNormScope::none) {
        add_qk_norm(base + "attention.q_norm", at("attention.q_norm"), a, a.heads);
        add_qk_norm(base + "attention.k_norm", at("attention.k_norm"), a, a.kv_heads);
      }
    }
    if (l.mlp) {
      width_ = l.mlp->width;
      if (l.mlp->gated) add_linear(base + "mlp.gate", at("mlp.gate"), width_, spec_.hidden, l.mlp->up_bias);
      add_linear(base + "mlp.up", at("mlp.up"), width_, spec_.hidden, l.mlp->up_bias);
      add_linear(base + "mlp.down", at("mlp.down"), spec_.hidden, width_, l.mlp->down_bias);
    }
    if (l.moe) {
      width_ = l.moe->width;
      add_linear(base + "moe.router", at("moe.router"), l.moe->experts, spec_.hidden, false);
      if (l.moe->gated) add_experts(base + "moe.gate", at("moe.gate"), l.moe->experts, width_, spec_.hidden);
      add_experts(base + "moe.up", at("moe.up"), l.moe->experts, width_, spec_.hidden);
      add_experts(base + "moe.down", at("moe.down"), l.moe->experts, spec_.hidden, width_);
    }
  }

  void add_norm(const std::string& role, const Entry& e, const Norm& norm, int64_t dim) {
    if (norm.weight) add_part(role, named(e, ".weight"), dim, 1);
    if (norm.bias) add_part(role + ".bias", named(plain(e), ".bias"), dim, 1);
  }

  void add_linear(const std::string& role, const Entry& e, int64_t n, int64_t k, bool bias) {
    add(role, e, n, k);
    if (bias) add_part(role + ".bias", named(plain_rows(e), ".bias"), n, 1);
  }

  void add(const std::string& role, const Entry& e, int64_t n, int64_t k) {
    add_part(role, named(e, ".weight"), n, k);
  }

  // One norm for all heads, one over all of them, or one tensor (or row) for each.
  void add_qk_norm(const std::string& role, const Entry& e, const Attention& a, int64_t heads) {
    const bool shared = a.qk_norm == ops::QkNormScope::head;
    const int64_t n = shared ? a.d_qk : heads * a.d_qk;
    if (e.name.find("{h}") == std::string::npos) {
      add_part(role, named(e, ".weight"), n, 1);
      return;
    }
    weights_.push_back({role, n, 1, DType::f32, {}});
    for (int64_t h = 0; h < heads; ++h) {
      Entry of_head = e;
      replace_all(of_head.name, "{h}", std::to_string(h));
      append(weights_.back(), named(of_head, ".weight"), a.d_qk, 1);
    }
  }

  // All experts of a layer are one weight of (experts * n, k): expert e is rows [e * n, (e + 1) * n).
  void add_experts(const std::string& role, const Entry& e, int64_t experts, int64_t n, int64_t k) {
    if (e.name.find("{e}") == std::string::npos) {
      add(role, e, experts * n, k);
      return;
    }
    weights_.push_back({role, experts * n, k, DType::f32, {}});
    for (int64_t x = 0; x < experts; ++x) {
      Entry of_expert = e;
      replace_all(of_expert.name, "{e}", std::to_string(x));
      append(weights_.back(), named(of_expert, ".weight"), n, k);
    }
  }

  static Entry plain(Entry e) { return {std::move(e.name), "", false, false}; }
  static Entry plain_rows(Entry e) { return {std::move(e.name), std::move(e.rows), false, false}; }
  Entry named(Entry e, const char* suffix) const {
    e.name = renaming_(e.name) + suffix;
    return e;
  }

  void add_part(const std::string& role, const Entry& e, int64_t n, int64_t k) {
    weights_.push_back({role, n, k, DType::f32, {}});
    append(weights_.back(), e, n, k);
  }

  // The rows of a fused tensor that are this part, and the rows that the tensor must have.
  std::pair<RowPick, int64_t> pick(const std::string& rows, int64_t n) const {
    const auto& g = group_;
    if (rows == "q_of_qkv") return {{0, n, 0, 1}, g.q + g.k + g.v};
    if (rows == "k_of_qkv") return {{g.q, n, 0, 1}, g.q + g.k + g.v};
    if (rows == "v_of_qkv") return {{g.q + g.k, n, 0, 1}, g.q + g.k + g.v};
    if (rows == "q_of_heads") return {{0, g.head_dim, 3 * g.head_dim, g.heads}, 3 * g.q};
    if (rows == "k_of_heads") return {{g.head_dim, g.head_dim, 3 * g.head_dim, g.heads}, 3 * g.q};
    if (rows == "v_of_heads") return {{2 * g.head_dim, g.head_dim, 3 * g.head_dim, g.heads}, 3 * g.q};
    if (rows == "gate_of_gate_up") return {{0, width_, 0, 1}, 2 * width_};
    if (rows == "up_of_gate_up") return {{width_, width_, 0, 1}, 2 * width_};
    return {{0, n, 0, 1}, n};
  }

  void append(Weight& weight, const Entry& e, int64_t n, int64_t k) {
    if (checkpoint_.find(e.name) == nullptr) {
      missing_.push_back(e.name);
      return;
    }
    auto required = checkpoint_.require(e.name);
    if (!required.ok()) return fail(required.status());
    const TensorInfo* tensor = *required;
    const auto [rows, total] = pick(e.rows, n);

    int64_t have_rows = 1, have_cols = 1;
    const auto& shape = tensor->shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      const bool last = d + 1 == shape.size() && shape.size() > 1 && k > 1;
      (last ? have_cols : have_rows) *= static_cast<int64_t>(shape[d]);
    }
    if (e.transpose && k > 1) std::swap(have_rows, have_cols);
    if (have_rows != total || have_cols != k) {
      std::string text;
      for (uint64_t d : shape) text += (text.empty() ? "" : ", ") + std::to_string(d);
      return fail(corrupt("{}: tensor {} has shape [{}], but {} makes it [{}]", checkpoint_.path(), e.name,
                          text, origin_,
                          k == 1        ? std::to_string(total)
                          : e.transpose ? fmt::format("{}, {}", k, total)
                                        : fmt::format("{}, {}", total, k)));
    }
    if (e.transpose && is_block_type(*tensor->dtype)) {
      return fail(unsupported("{}: tensor {} of type {} cannot be transposed", checkpoint_.path(), e.name,
                              tensor->dtype_name));
    }
    if (!weight.parts.empty() && weight.dtype != *tensor->dtype) {
      return fail(unsupported("{}: the parts of {} have different types", checkpoint_.path(), weight.role));
    }
    weight.dtype = *tensor->dtype;
    weight.parts.push_back({tensor, rows, e.transpose && k > 1, e.plus_one});
  }

  void fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  // Tensors of layers that no weight is made of: more layers than the config says, a bias it does not have.
  std::vector<std::string> unused_tensors() const {
    std::set<const TensorInfo*> used;
    for (const Weight& weight : weights_) {
      for (const WeightPart& part : weight.parts) used.insert(part.tensor);
    }
    std::set<std::string> prefixes;
    for (const auto& [role, unused] : tensors_["layer"].items()) {
      const std::string name = entry(tensors_["layer"], role).name;
      prefixes.insert(renaming_(name.substr(0, name.find("{i}"))));
    }
    const auto derived = [&](const std::string& name) {
      const Json& endings = document_["derived_tensors"];
      return std::any_of(endings.begin(), endings.end(),
                         [&](const Json& ending) { return name.ends_with(ending.get<std::string>()); });
    };
    std::vector<std::string> out;
    for (const TensorInfo& tensor : checkpoint_.tensors()) {
      const bool of_layer = std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
        return tensor.name.starts_with(prefix);
      });
      if (of_layer && !used.contains(&tensor) && !derived(tensor.name)) out.push_back(tensor.name);
    }
    return out;
  }

  Status named_tensors(const char* what, const std::vector<std::string>& names) const {
    std::string text;
    for (size_t i = 0; i < std::min<size_t>(names.size(), 10); ++i) text += (i == 0 ? "" : ", ") + names[i];
    return corrupt("{}: {} {}: {}{}", checkpoint_.path(), names.size(),
                   fmt::format(fmt::runtime(what), origin_), text, names.size() > 10 ? ", ..." : "");
  }

  struct Group {
    int64_t q = 0, k = 0, v = 0, heads = 0, head_dim = 0;
  };

  const Spec& spec_;
  const Json& document_;
  const Json& tensors_;
  const Checkpoint& checkpoint_;
  const std::string& origin_;
  Renaming renaming_;
  Group group_;
  int64_t width_ = 0;
  std::vector<Weight> weights_;
  std::vector<std::string> missing_;
  Status status_;
};

}  // namespace

Result<std::vector<Weight>> bind_weights(const Spec& spec, const Json& document, const Checkpoint& checkpoint,
                                         const std::string& config_origin) {
  return Binder(spec, document, checkpoint, config_origin).run();
}

std::vector<Weight> expected_weights(const Spec& spec, const Json& document, DType dtype) {
  const Checkpoint nothing = Checkpoint::none("");
  return Binder(spec, document, nothing, "").expected(dtype);
}

}  // namespace sluice::model
