#include "ops/bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "ops/cases.h"

namespace sluice::ops {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kLargerThanCaches = uint64_t{192} << 20;

template <typename Op>
Cost cost_of(const Case<Op>& c) {
  if constexpr (std::is_same_v<Op, Attention>) {
    Cost total;
    for (const ProblemSequence& s : c.batch) total += Op::cost(c.desc, s.rows, s.first_position + s.rows);
    return total;
  } else if constexpr (std::is_same_v<Op, RopeKv>) {
    int64_t rows = 0;
    for (const ProblemSequence& s : c.batch) rows += s.rows;
    return Op::cost(c.desc, rows);
  } else {
    return Op::cost(c.desc, c.rows);
  }
}

template <typename Op>
double operations_per_second(const Roof& roof, const typename Op::Desc& d) {
  if constexpr (requires { d.activations; }) {
    if (d.activations == Activations::int8) return roof.int8_per_second;
    if (d.activations == Activations::bf16) return roof.bf16_per_second;
  }
  return roof.f32_per_second;
}

/// Copies of a weight that calls take in turn.
struct Rotation {
  Bytes copies;
  uint64_t bytes = 0, next = 0;

  void fill(const std::byte* weight, uint64_t size) {
    bytes = size;
    copies = Bytes(std::max<uint64_t>(1, kLargerThanCaches / size) * size);
    for (uint64_t at = 0; at < copies.size(); at += size) std::memcpy(copies.data() + at, weight, size);
  }
  const std::byte* take() {
    const std::byte* weight = copies.data() + next;
    next = (next + bytes) % copies.size();
    return weight;
  }
};

struct Timing {
  double min = 0, median = 0;
};

template <typename Op>
Timing time_calls(Problem<Op>& problem, const Kernel<Op>& kernel, const Launch& launch, double budget) {
  auto args = problem.args(kernel);
  Rotation rotation;
  if constexpr (std::is_same_v<Op, Linear>)
    rotation.fill(args.weight,
                  kernel.layout->packed_bytes(problem.desc.weight, problem.desc.n, problem.desc.k));
  std::vector<double> seconds;
  double total = 0;
  constexpr size_t kLeast = 5, kMost = 10000;
  for (size_t i = 0; i < kLeast || (total < budget && i < kMost); ++i) {
    if constexpr (std::is_same_v<Op, Linear>) args.weight = rotation.take();
    const auto start = Clock::now();
    kernel.run(problem.desc, args, launch);
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    total += elapsed;
    if (i > 0) seconds.push_back(elapsed);  // the first touches everything
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

template <typename Op>
void bench_op(Backend& backend, const Roof& roof, const BenchOptions& options,
              const std::function<void(const BenchRow&)>& report) {
  if (!options.op.empty() && options.op != Op::kName) return;
  const auto stream = backend.device->make_stream();
  for (const Case<Op>& c : model_cases<Op>()) {
    const auto wanted = [&](const Kernel<Op>& kernel) {
      const bool reference = kernel.name.ends_with(".reference");
      return kernel.name.find(options.kernel) != std::string_view::npos &&
             (options.references || !reference) && kernel.refuses(c.desc).empty();
    };
    const auto& kernels = backend.kernels.template all<Op>();
    if (std::none_of(kernels.begin(), kernels.end(), wanted)) continue;
    Problem<Op> problem = make_problem(c, 1);
    for (const Kernel<Op>& kernel : kernels) {
      if (!wanted(kernel)) continue;
      Bytes scratch(kernel.workspace_bytes == nullptr
                        ? 0
                        : kernel.workspace_bytes(c.desc, problem.rows, backend.device->info().parallelism));
      const Launch launch{*stream, scratch.data()};
      if constexpr (std::is_same_v<Op, Attention>) {
        const auto& writers = backend.kernels.template all<RopeKv>();
        problem.fill_cache(writers.front(), launch);
      }
      const Timing timing = time_calls(problem, kernel, launch, options.seconds_per_case);
      const Cost cost = cost_of(c);
      const double memory = cost.bytes / roof.bytes_per_second;
      const double compute = cost.flops / operations_per_second<Op>(roof, c.desc);
      report({std::string(Op::kName), std::string(kernel.name), to_line(c.desc), problem.rows, timing.min,
              timing.median, cost.bytes / timing.median, cost.flops / timing.median,
              std::max(memory, compute) / timing.median, memory > compute ? "memory" : "compute"});
    }
  }
}

}  // namespace

void bench_ops(Backend& backend, const Roof& roof, const BenchOptions& options,
               const std::function<void(const BenchRow&)>& report) {
  bench_op<Linear>(backend, roof, options, report);
  bench_op<Attention>(backend, roof, options, report);
  bench_op<MoeMlp>(backend, roof, options, report);
  bench_op<RopeKv>(backend, roof, options, report);
  bench_op<AddNorm>(backend, roof, options, report);
  bench_op<Activation>(backend, roof, options, report);
  bench_op<ScaleSoftcap>(backend, roof, options, report);
  bench_op<Embed>(backend, roof, options, report);
}

}  // namespace sluice::ops
