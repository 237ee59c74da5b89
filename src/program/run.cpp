#include "program/run.h"

#include <algorithm>

namespace sluice::program {
namespace {

class Runner {
 public:
  Runner(const Program& program, const Memory& memory, const Batch& batch)
      : program_(program), memory_(memory), batch_(batch) {}

  ops::Embed::Args args(const EmbedStep& s) const {
    return {batch_.ids, batch_.positions, weight(s.weight), vector(s.positions), at(s.y)};
  }
  ops::RopeTable::Args args(const RopeTableStep& s) const {
    return {batch_.positions, batch_.rope_variants, vector(s.frequencies), at(s.y)};
  }
  ops::Linear::Args args(const LinearStep& s) const {
    return {at(s.x), weight(s.weight), vector(s.bias), at(s.y)};
  }
  ops::AddNorm::Args args(const AddNormStep& s) const {
    return {at(s.h),
            at(s.branch),
            at(s.y),
            vector(s.branch_weight),
            vector(s.branch_bias),
            vector(s.output_weight),
            vector(s.output_bias)};
  }
  ops::RopeKv::Args args(const RopeKvStep& s) const {
    return {at(s.qkv),        at(s.rope_table), vector(s.q_norm), vector(s.k_norm),
            batch_.sequences, cache(s.cache),   batch_.on_device};
  }
  ops::Attention::Args args(const AttentionStep& s) const {
    return {at(s.q), at(s.out), batch_.sequences, cache(s.cache), nullptr, nullptr, batch_.on_device};
  }
  ops::Activation::Args args(const ActivationStep& s) const { return {at(s.x), at(s.y)}; }
  ops::Route::Args args(const RouteStep& s) const {
    return {at(s.logits), nullptr, at(s.experts), at(s.weights)};
  }
  ops::MoeMlp::Args args(const MoeMlpStep& s) const {
    return {at(s.x), at(s.experts), at(s.weights), weight(s.gate_up), weight(s.down), at(s.y)};
  }
  ops::GatherRows::Args args(const GatherRowsStep& s) const {
    return {at(s.x), batch_.logit_rows.data(), at(s.y)};
  }
  ops::ScaleSoftcap::Args args(const ScaleSoftcapStep& s) const { return {at(s.x)}; }

 private:
  Matrix at(const Operand& o) const {
    if (o.buffer < 0) return {};
    const BufferInfo& b = program_.buffers[static_cast<size_t>(o.buffer)];
    std::byte* base =
        memory_.activations + b.offset + static_cast<uint64_t>(o.column) * info(b.dtype).block_bytes;
    const int64_t rows =
        b.rows == Rows::tokens ? batch_.tokens : static_cast<int64_t>(batch_.logit_rows.size());
    return {base, b.dtype, rows, o.cols, b.cols};
  }
  const std::byte* weight(int32_t id) const {
    return id < 0 ? nullptr : memory_.weights[static_cast<size_t>(id)];
  }
  const float* vector(int32_t id) const { return reinterpret_cast<const float*>(weight(id)); }
  ops::KvCache cache(int32_t id) const {
    const Memory::Cache& c = memory_.caches[static_cast<size_t>(id)];
    const CacheInfo& layout = program_.caches[static_cast<size_t>(id)];
    return {c.keys, c.values, batch_.tables[static_cast<size_t>(layout.group)]};
  }

  const Program& program_;
  const Memory& memory_;
  const Batch& batch_;
};

}  // namespace

void run(const Program& program, const Memory& memory, const Batch& batch, device::Stream& stream,
         const LogitsSink& sink, const Observer* observer) {
  const ops::Launch launch{stream, memory.workspace};
  const auto observe = [&](size_t step) {
    if (observer == nullptr) return;
    stream.synchronize();
    (*observer)(step);
  };
  int32_t layer = -1;  // the steps of a layer are neighbours; those of the last may run several times
  const auto enter_layer = [&](int32_t next) {
    if (memory.gate == nullptr || next < 0 || next == layer) return;
    if (layer >= 0) memory.gate->leave(layer, stream);
    layer = next;
    memory.gate->enter(layer, stream);
  };
  const auto execute = [&](const Batch& part, size_t begin, size_t end) {
    const Runner runner(program, memory, part);
    for (size_t i = begin; i < end; ++i) {
      enter_layer(program.steps[i].layer);
      observe(i);
      std::visit([&](const auto& s) { s.kernel->run(s.desc, runner.args(s), launch); }, program.steps[i].op);
    }
  };
  const size_t body = static_cast<size_t>(std::find_if(program.steps.begin(), program.steps.end(),
                                                       [](const Step& s) { return s.rows == Rows::logits; }) -
                                          program.steps.begin());
  if (memory.gate != nullptr) memory.gate->begin(stream);
  execute(batch, 0, body);
  const size_t slice = static_cast<size_t>(program.limits.logits);
  for (size_t first = 0; first < batch.logit_rows.size(); first += slice) {
    Batch part = batch;
    part.logit_rows = batch.logit_rows.subspan(first, std::min(slice, batch.logit_rows.size() - first));
    execute(part, body, program.steps.size());
    sink(first, matrix(program, memory, program.logits, static_cast<int64_t>(part.logit_rows.size())));
  }
  if (memory.gate != nullptr) {
    if (layer >= 0) memory.gate->leave(layer, stream);
    memory.gate->finish(stream);
  }
  observe(program.steps.size());
}

Matrix matrix(const Program& program, const Memory& memory, int32_t buffer, int64_t rows) {
  const BufferInfo& b = program.buffers[static_cast<size_t>(buffer)];
  return {memory.activations + b.offset, b.dtype, rows, b.cols, b.cols};
}

}  // namespace sluice::program
