// Program: a model lowered for one device and one recipe. A flat list of steps over numbered buffers and
// weights. The executor runs it, the profiler annotates it, the planner costs it, `inspect` prints it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "model/recipe.h"
#include "model/spec.h"
#include "ops/ops.h"

namespace sluice::program {

/// How many rows a buffer has in a step: decided by the batch.
enum class Rows { tokens, logits };
constexpr auto enum_names(Rows) { return std::array<std::string_view, 2>{"tokens", "logits"}; }

struct BufferInfo {
  std::string name;
  Rows rows = Rows::tokens;
  int64_t cols = 0;
  DType dtype = DType::f32;
  uint64_t offset =
      0;  // bytes from the start of the activation arena; buffers that do not live together may overlap
  uint64_t bytes = 0;  // at the largest batch
};

/// Columns [column, column + cols) of a buffer.
struct Operand {
  int32_t buffer = -1;  // -1: absent
  int64_t column = 0;
  int64_t cols = 0;
};

/// A matrix or vector as its kernels want it. `copies` matrices of (n, k) lie one after another (experts);
/// each is the rows of `roles` in order.
struct WeightInfo {
  std::string name;
  std::vector<std::string> roles;
  int64_t n = 0;
  int64_t k = 0;
  int64_t copies = 1;
  DType dtype = DType::f32;
  const ops::WeightLayout* layout = nullptr;
  uint64_t bytes = 0;   // of all copies
  uint64_t offset = 0;  // bytes from the start of the weight arena
  bool constant =
      false;  // not in a checkpoint: worked out from the Spec (rope frequencies), held in Program::constants
};

constexpr int32_t kNone = -1;

// One struct for each op: its descriptor, its kernel, and which buffers and weights it works on. `visit`
// calls v(operand, written) for each operand; one that is changed in place is read first.
struct EmbedStep {
  using Op = ops::Embed;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t weight = kNone, positions = kNone;
  Operand y;
  template <typename V>
  void visit(V&& v) const {
    v(y, true);
  }
};
struct RopeTableStep {
  using Op = ops::RopeTable;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t frequencies = kNone;
  Operand y;
  template <typename V>
  void visit(V&& v) const {
    v(y, true);
  }
};
struct LinearStep {
  using Op = ops::Linear;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t weight = kNone, bias = kNone;
  Operand x, y;
  template <typename V>
  void visit(V&& v) const {
    v(x, false), v(y, true);
  }
};
struct AddNormStep {
  using Op = ops::AddNorm;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t branch_weight = kNone, branch_bias = kNone, output_weight = kNone, output_bias = kNone;
  Operand h, branch, y;
  template <typename V>
  void visit(V&& v) const {
    v(h, false), v(h, desc.branch), v(branch, false), v(y, true);
  }
};
struct RopeKvStep {
  using Op = ops::RopeKv;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t q_norm = kNone, k_norm = kNone;
  int32_t cache = kNone;  // index into Program::caches
  Operand qkv, rope_table;
  template <typename V>
  void visit(V&& v) const {
    v(rope_table, false), v(qkv, false), v(qkv, true);
  }
};
struct AttentionStep {
  using Op = ops::Attention;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t cache = kNone;
  Operand q, out;
  template <typename V>
  void visit(V&& v) const {
    v(q, false), v(out, true);
  }
};
struct ActivationStep {
  using Op = ops::Activation;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  Operand x, y;
  template <typename V>
  void visit(V&& v) const {
    v(x, false), v(y, true);
  }
};
struct RouteStep {
  using Op = ops::Route;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  Operand logits, experts, weights;
  template <typename V>
  void visit(V&& v) const {
    v(logits, false), v(experts, true), v(weights, true);
  }
};
struct MoeMlpStep {
  using Op = ops::MoeMlp;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  int32_t gate_up = kNone, down = kNone;
  Operand x, experts, weights, y;
  template <typename V>
  void visit(V&& v) const {
    v(x, false), v(experts, false), v(weights, false), v(y, true);
  }
};
struct GatherRowsStep {
  using Op = ops::GatherRows;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  Operand x, y;
  template <typename V>
  void visit(V&& v) const {
    v(x, false), v(y, true);
  }
};
struct ScaleSoftcapStep {
  using Op = ops::ScaleSoftcap;
  Op::Desc desc;
  const ops::Kernel<Op>* kernel = nullptr;
  Operand x;
  template <typename V>
  void visit(V&& v) const {
    v(x, false), v(x, true);
  }
};

struct Step {
  std::variant<EmbedStep, RopeTableStep, LinearStep, AddNormStep, RopeKvStep, AttentionStep, ActivationStep,
               RouteStep, MoeMlpStep, GatherRowsStep, ScaleSoftcapStep>
      op;
  int32_t layer = -1;  // -1: before the first or after the last
  std::string label;   // "attention.qkv": the same in every layer
  Rows rows = Rows::tokens;
};

/// Layers whose queries see the same positions share page tables and a pool of pages.
struct KvGroup {
  int64_t window = 0;  // tokens; 0: everything
};

/// The cached keys and values of one layer: of every page of its group.
struct CacheInfo {
  int32_t group = 0;
  int32_t layer = 0;
  uint64_t key_page_bytes = 0;
  uint64_t value_page_bytes = 0;
};

/// Sizes for which the arenas are planned.
struct Limits {
  int64_t tokens = 0;  // rows of a step
  int64_t logits = 0;  // rows of a step whose logits are computed
};

struct Program {
  Limits limits;
  std::vector<BufferInfo> buffers;
  std::vector<WeightInfo> weights;
  std::vector<std::vector<float>> constants;  // (weights): values of those that are constant, else empty
  std::vector<KvGroup> groups;
  std::vector<CacheInfo> caches;
  std::vector<Step> steps;
  int32_t hidden = kNone;  // buffer of the residual stream, (tokens, hidden)
  int32_t last_hidden =
      kNone;  // of its rows whose logits are wanted, (logits, hidden): all that the last layer makes
  int32_t logits = kNone;  // buffer of the result, (logits, vocab)

  uint64_t activation_bytes = 0;
  uint64_t workspace_bytes = 0;
  uint64_t weight_bytes = 0;  // of the arena, alignment included

  uint64_t page_bytes(int32_t group) const;
};

/// What a caller may already know: layouts of weights packed earlier, kernels measured to be best.
struct Wishes {
  std::map<std::string, std::string, std::less<>> layouts;  // weight name -> layout name
  std::map<std::string, std::string, std::less<>> kernels;  // "op: descriptor line" -> kernel name
};

/// Lowers a Spec. `types` gives each matrix role's type (model::resolve_types); the recipe is complete.
/// `logit_rows` is the largest number of rows whose logits one step computes. Refuses what no kernel of the
/// backend computes, naming it.
Result<Program> lower(const model::Spec& spec, const model::Recipe& recipe, const model::RoleTypes& types,
                      const ops::Backend& backend, int64_t logit_rows, const Wishes& wishes = {});

/// One line for each buffer, weight and step, for people.
std::string to_text(const Program& program);

/// Bytes and operations of a step for a batch of so many rows whose queries see `context` tokens each.
ops::Cost cost(const Step& step, int64_t tokens, int64_t logit_rows, int64_t context);

/// "linear", and the name of the kernel that runs.
std::string_view op_name(const Step& step);
std::string_view kernel_name(const Step& step);
/// Key of Wishes::kernels.
std::string kernel_key(const Step& step);

}  // namespace sluice::program
