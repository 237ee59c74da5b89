#include "tools/roof.h"

#include "cuda/backend.h"

namespace sluice::tools {
namespace {

/// Operations a second of the arithmetic that a step does most.
double rate_of(const program::Step& step, const ops::Roof& roof) {
  return std::visit(
      [&](const auto& s) {
        if constexpr (requires { s.desc.activations; }) {
          if (s.desc.activations == ops::Activations::int8) return roof.int8_per_second;
          if (s.desc.activations == ops::Activations::bf16) return roof.bf16_per_second;
        }
        return roof.f32_per_second;
      },
      step.op);
}

double streamed_bytes(const program::Program& program, const program::Step& step, const Pass& pass) {
  if (const auto* linear = std::get_if<program::LinearStep>(&step.op)) {
    if (step.rows == program::Rows::logits && pass.logits == 0) return 0;
    return static_cast<double>(program.weights[static_cast<size_t>(linear->weight)].bytes);
  }
  if (const auto* attention = std::get_if<program::AttentionStep>(&step.op)) {
    const program::CacheInfo& cache = program.caches[static_cast<size_t>(attention->cache)];
    const auto& desc = attention->desc;
    const int64_t seen = desc.window > 0 ? std::min(pass.context, desc.window + pass.rows) : pass.context;
    const double token_bytes = static_cast<double>(cache.key_page_bytes + cache.value_page_bytes) /
                               static_cast<double>(desc.page_tokens);
    return static_cast<double>(pass.sequences * seen) * token_bytes;
  }
  // Only the experts that tokens chose are read, which its cost estimates.
  if (std::holds_alternative<program::MoeMlpStep>(step.op)) return cost_of(step, pass).bytes;
  return 0;
}

}  // namespace

Result<cpu::MachineLimit> measure_limit(device::Device& device) {
  const device::DeviceInfo& info = device.info();
  if (info.kind == "cuda") {
    SLUICE_ASSIGN(const cuda::DeviceLimit limit, cuda::measure_cuda_limit(device));
    return cpu::MachineLimit{.threads = info.parallelism,
                             .read_bytes_per_second = limit.read_bytes_per_second,
                             .f32_per_second = limit.f32_per_second,
                             .bf16_per_second = limit.bf16_per_second,
                             .copy_bytes_per_second = limit.copy_bytes_per_second};
  }
  const auto isa = enum_from_name<cpu::Isa>(info.features);
  if (!isa) return unsupported("the limits of a {} device cannot be measured yet", info.kind);
  SLUICE_ASSIGN(const auto limits, cpu::machine_limits(device, *isa, info.parallelism));
  return limits.back();
}

ops::Cost cost_of(const program::Step& step, const Pass& pass) {
  // Each sequence attends to its own context; all else takes the rows of a batch together.
  if (!std::holds_alternative<program::AttentionStep>(step.op))
    return program::cost(step, pass.sequences * pass.rows, pass.sequences * pass.logits, pass.context);
  const ops::Cost one = program::cost(step, pass.rows, pass.logits, pass.context);
  const double sequences = static_cast<double>(pass.sequences);
  return {one.bytes * sequences, one.flops * sequences};
}

RoofSeconds roof_seconds(const ops::Roof& roof, const program::Step& step, const ops::Cost& cost) {
  return {cost.bytes / roof.bytes_per_second, cost.flops / rate_of(step, roof)};
}

double compute_seconds(const ops::Roof& roof, const program::Program& program, std::span<const Pass> passes) {
  double seconds = 0;
  for (const Pass& pass : passes) {
    for (const program::Step& step : program.steps)
      seconds += static_cast<double>(pass.count) * roof_seconds(roof, step, cost_of(step, pass)).compute;
  }
  return seconds;
}

double streamed_bytes(const program::Program& program, std::span<const Pass> passes) {
  double bytes = 0;
  for (const Pass& pass : passes) {
    for (const program::Step& step : program.steps)
      bytes += static_cast<double>(pass.count) * streamed_bytes(program, step, pass);
  }
  return bytes;
}

}  // namespace sluice::tools
