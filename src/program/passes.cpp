#include "program/passes.h"

#include <algorithm>
#include <optional>

namespace sluice::program {

void fuse_add_norm(Program& program) {
  std::vector<Step> fused;
  for (Step& step : program.steps) {
    auto* norm = std::get_if<AddNormStep>(&step.op);
    auto* add = fused.empty() ? nullptr : std::get_if<AddNormStep>(&fused.back().op);
    const bool pair = norm != nullptr && add != nullptr && add->desc.branch && !add->desc.output &&
                      !norm->desc.branch && norm->desc.output && norm->h.buffer == add->h.buffer &&
                      (add->desc.branch_norm == ops::NormKind::none || add->desc.eps == norm->desc.eps);
    if (!pair) {
      fused.push_back(std::move(step));
      continue;
    }
    add->desc.output = true;
    add->desc.output_norm = norm->desc.output_norm;
    add->desc.eps = norm->desc.eps;
    add->output_weight = norm->output_weight;
    add->output_bias = norm->output_bias;
    add->y = norm->y;
  }
  program.steps = std::move(fused);
}

void fuse_gates(Program& program, const AcceptsGate& accepts) {
  std::vector<Step> fused;
  for (Step& step : program.steps) {
    auto* act = std::get_if<ActivationStep>(&step.op);
    auto* product = fused.empty() ? nullptr : std::get_if<LinearStep>(&fused.back().op);
    const bool pair = act != nullptr && product != nullptr && act->desc.gated && !product->desc.gate &&
                      product->y.buffer == act->x.buffer && product->y.column == act->x.column &&
                      product->y.cols == act->x.cols;
    ops::Linear::Desc gated = pair ? product->desc : ops::Linear::Desc{};
    if (pair) gated.gate = act->desc.kind;
    if (!pair || !accepts(*product, gated)) {
      fused.push_back(std::move(step));
      continue;
    }
    product->desc = gated;
    product->y = act->y;
  }
  program.steps = std::move(fused);
}

namespace {

/// The type to which every reader of a buffer rounds it; f32 where one does not, where they differ, or where
/// a writer writes f32 only.
class RoundedTypes {
 public:
  explicit RoundedTypes(const Program& program) : types_(program.buffers.size()) {
    for (const Step& step : program.steps) std::visit([&](const auto& s) { note(s); }, step.op);
  }
  DType of(size_t buffer) const { return types_[buffer].value_or(DType::f32); }

 private:
  void read_as(const Operand& operand, DType type) {
    auto& known = types_[static_cast<size_t>(operand.buffer)];
    known = !known || *known == type ? type : DType::f32;
  }
  void note(const LinearStep& s) {
    const bool half =
        s.desc.activations == ops::Activations::bf16 || s.desc.activations == ops::Activations::f16;
    read_as(s.x, half ? s.desc.weight : DType::f32);
    read_as(s.y, DType::f32);
  }
  void note(const AddNormStep& s) {
    for (const Operand& operand : {s.h, s.branch}) {
      if (operand.buffer >= 0) read_as(operand, DType::f32);
    }
  }
  void note(const AttentionStep& s) { read_as(s.q, DType::f32); }
  void note(const ActivationStep& s) { read_as(s.x, DType::f32); }
  template <typename S>
  void note(const S& s) {
    s.visit([&](const Operand& operand, bool) {
      if (operand.buffer >= 0) read_as(operand, DType::f32);
    });
  }

  std::vector<std::optional<DType>> types_;
};

}  // namespace

void round_buffers(Program& program) {
  const RoundedTypes types(program);
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    BufferInfo& buffer = program.buffers[i];
    if (buffer.dtype == DType::f32 && types.of(i) != DType::f32) buffer.dtype = types.of(i);
  }
}

namespace {

constexpr uint64_t kAlignment = 64;

// The stretches of steps during which a buffer holds something: from a write to the last read before the next
// write.
struct Life {
  struct Stretch {
    size_t first, last;
  };
  std::vector<Stretch> stretches;
  bool last_was_write = false;

  void touch(size_t step, bool write) {
    if (stretches.empty() || (write && !last_was_write && stretches.back().last < step)) {
      stretches.push_back({step, step});
    }
    stretches.back().last = step;
    last_was_write = write;
  }
  bool meets(const Life& other) const {
    for (const Stretch& a : stretches) {
      for (const Stretch& b : other.stretches) {
        if (a.first <= b.last && b.first <= a.last) return true;
      }
    }
    return false;
  }
};

std::vector<Life> lives(const Program& program) {
  std::vector<Life> out(program.buffers.size());
  for (size_t i = 0; i < program.steps.size(); ++i) {
    std::visit(
        [&](const auto& s) {
          s.visit([&](const Operand& operand, bool write) {
            if (operand.buffer >= 0) out[static_cast<size_t>(operand.buffer)].touch(i, write);
          });
        },
        program.steps[i].op);
  }
  // Results outlive the last step; observers may read the residual stream after any.
  for (int32_t kept : {program.hidden, program.logits}) {
    Life& life = out[static_cast<size_t>(kept)];
    if (kept == program.hidden) life.stretches.resize(1);
    life.stretches.back().last = program.steps.size();
  }
  return out;
}

}  // namespace

void plan_memory(Program& program, int parallelism) {
  const std::vector<Life> life = lives(program);
  std::vector<size_t> order(program.buffers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (size_t i : order) {
    BufferInfo& b = program.buffers[i];
    const bool unused = life[i].stretches.empty();  // after fusion
    const int64_t rows = unused ? 0 : b.rows == Rows::tokens ? program.limits.tokens : program.limits.logits;
    b.bytes = (static_cast<uint64_t>(rows * b.cols) * info(b.dtype).block_bytes + kAlignment - 1) /
              kAlignment * kAlignment;
  }
  // Large ones first: they find no holes later.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return program.buffers[a].bytes > program.buffers[b].bytes; });
  std::vector<size_t> placed;
  for (size_t i : order) {
    BufferInfo& b = program.buffers[i];
    std::vector<std::pair<uint64_t, uint64_t>> taken;
    for (size_t j : placed) {
      if (life[i].meets(life[j]))
        taken.emplace_back(program.buffers[j].offset, program.buffers[j].offset + program.buffers[j].bytes);
    }
    std::sort(taken.begin(), taken.end());
    b.offset = 0;
    for (const auto& [begin, end] : taken) {
      if (b.offset + b.bytes <= begin) break;
      b.offset = std::max(b.offset, end);
    }
    program.activation_bytes = std::max(program.activation_bytes, b.offset + b.bytes);
    placed.push_back(i);
  }
  for (const Step& step : program.steps) {
    std::visit(
        [&](const auto& s) {
          if (s.kernel->workspace_bytes == nullptr) return;
          const int64_t rows = step.rows == Rows::tokens ? program.limits.tokens : program.limits.logits;
          program.workspace_bytes =
              std::max(program.workspace_bytes, s.kernel->workspace_bytes(s.desc, rows, parallelism));
        },
        step.op);
  }
}

}  // namespace sluice::program
