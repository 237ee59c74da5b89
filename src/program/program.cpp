#include "program/program.h"

namespace sluice::program {

uint64_t Program::page_bytes(int32_t group) const {
  uint64_t bytes = 0;
  for (const CacheInfo& c : caches) {
    if (c.group == group) bytes += c.key_page_bytes + c.value_page_bytes;
  }
  return bytes;
}

std::string_view op_name(const Step& step) {
  return std::visit([](const auto& s) { return std::remove_cvref_t<decltype(s)>::Op::kName; }, step.op);
}

std::string_view kernel_name(const Step& step) {
  return std::visit(
      [](const auto& s) { return s.kernel == nullptr ? std::string_view("?") : s.kernel->name; }, step.op);
}

std::string kernel_key(const Step& step) {
  return std::visit(
      [](const auto& s) {
        return fmt::format("{}: {}", std::remove_cvref_t<decltype(s)>::Op::kName, to_line(s.desc));
      },
      step.op);
}

ops::Cost cost(const Step& step, int64_t tokens, int64_t logit_rows, int64_t context) {
  const int64_t rows = step.rows == Rows::tokens ? tokens : logit_rows;
  return std::visit(
      [&](const auto& s) -> ops::Cost {
        using Op = typename std::remove_cvref_t<decltype(s)>::Op;
        if (rows == 0) return {};
        if constexpr (std::is_same_v<Op, ops::Attention>) {
          return Op::cost(s.desc, rows, context);
        } else {
          return Op::cost(s.desc, rows);
        }
      },
      step.op);
}

std::string to_text(const Program& program) {
  std::string out =
      fmt::format("limits: {} tokens, {} logit rows a step\n", program.limits.tokens, program.limits.logits);
  for (size_t i = 0; i < program.groups.size(); ++i) {
    out += fmt::format("kv group {}: window {}, {} bytes a page\n", i, program.groups[i].window,
                       program.page_bytes(static_cast<int32_t>(i)));
  }
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const BufferInfo& b = program.buffers[i];
    out += fmt::format("b{:<3} {:<16} [{}, {}] {} at {}+{}\n", i, b.name, enum_name(b.rows), b.cols,
                       name(b.dtype), b.offset, b.bytes);
  }
  for (size_t i = 0; i < program.weights.size(); ++i) {
    const WeightInfo& w = program.weights[i];
    out += fmt::format("w{:<3} {:<28} {}[{}, {}] {} {} at {}+{}\n", i, w.name,
                       w.copies > 1 ? fmt::format("{} x ", w.copies) : "", w.n, w.k, name(w.dtype),
                       w.layout->name, w.offset, w.bytes);
  }
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    std::string operands;
    std::visit(
        [&](const auto& s) {
          s.visit([&](const Operand& o, bool written) {
            if (o.buffer < 0) return;
            operands +=
                fmt::format(" {}b{}[{}:{}]", written ? "->" : "", o.buffer, o.column, o.column + o.cols);
          });
        },
        step.op);
    const std::string layer = step.layer < 0 ? "-" : std::to_string(step.layer);
    out += fmt::format("%{:<4} {:>3} {:<18}{}  {}  ({})\n", i, layer, step.label, operands, kernel_key(step),
                       kernel_name(step));
  }
  return out;
}

}  // namespace sluice::program
