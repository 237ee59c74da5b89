#include "ops/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>

#include "ops/cases.h"
#include "ops/mirror.h"

namespace sluice::ops {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kLargerThanCaches = uint64_t{192} << 20;
constexpr uint64_t kMostCalls = 10000;

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
  if constexpr (requires { d.rounded; }) {
    if (d.rounded) return roof.bf16_per_second;
  }
  return roof.f32_per_second;
}

/// Copies of a weight that calls take in turn.
struct Rotation {
  Bytes copies;
  uint64_t bytes = 0, next = 0;

  void fill(const std::byte* weight, uint64_t size, uint64_t calls) {
    if (bytes == size) return;  // the same weight for another kernel
    bytes = size;
    copies = Bytes(std::clamp<uint64_t>(kLargerThanCaches / size, 1, calls) * size);
    for (uint64_t at = 0; at < copies.size(); at += size) std::memcpy(copies.data() + at, weight, size);
  }
  const std::byte* take() {
    const std::byte* weight = copies.data() + next;
    next = (next + bytes) % copies.size();
    return weight;
  }
};

/// When a case has been timed enough: after either.
struct Effort {
  double seconds = 0;
  uint64_t calls = kMostCalls;
};

struct Timing {
  double min = 0, median = 0;
};

template <typename Op>
Timing time_calls(Problem<Op>& problem, const Kernel<Op>& kernel, const Launch& launch, const Effort& effort,
                  Rotation& rotation) {
  auto args = problem.args(kernel);
  if constexpr (std::is_same_v<Op, Linear>)
    rotation.fill(args.weight,
                  kernel.layout->packed_bytes(problem.desc.weight, problem.desc.n, problem.desc.k),
                  effort.calls);
  std::vector<double> seconds;
  double total = 0;
  constexpr size_t kLeast = 5;
  for (size_t i = 0; i < kLeast || (total < effort.seconds && i < effort.calls); ++i) {
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

uint64_t scratch_bytes(const Backend& backend, const auto& kernel, const auto& problem) {
  return kernel.workspace_bytes == nullptr
             ? 0
             : kernel.workspace_bytes(problem.desc, problem.rows, backend.device->info().parallelism);
}

template <typename Op>
Timing time_on_host(Backend& backend, Problem<Op>& problem, const Kernel<Op>& kernel, double enough) {
  const auto stream = backend.device->make_stream();
  Bytes scratch(scratch_bytes(backend, kernel, problem));
  const Launch launch{*stream, scratch.data()};
  if constexpr (std::is_same_v<Op, Attention>)
    problem.fill_cache(backend.kernels.template all<RopeKv>().front(), launch);
  Rotation rotation;
  return time_calls(problem, kernel, launch, {.seconds = enough}, rotation);
}

/// On a device with memory of its own: a row of calls on arguments that together are larger than its caches,
/// by the device's clock.
template <typename Op>
Timing time_on_device(Backend& backend, Problem<Op>& problem, const Kernel<Op>& kernel, double enough) {
  constexpr size_t kMostCopies = 64, kLeast = 5;
  device::Device& device = *backend.device;
  const auto stream = device.make_stream();
  std::deque<Mirror> copies;
  std::vector<typename Op::Args> args;
  for (uint64_t held = 0; held < kLargerThanCaches && copies.size() < kMostCopies;) {
    args.push_back(problem.args(kernel));
    if constexpr (requires { problem.cache; }) problem.cache.fill(static_cast<uint32_t>(args.size()));
    mirror(copies.emplace_back(device, *stream), problem, args.back());
    stream->synchronize();  // the next copy's values go where this one's were
    held += copies.back().bytes();
  }
  const uint64_t bytes = scratch_bytes(backend, kernel, problem);
  auto scratch = device.allocate(std::max<uint64_t>(bytes, 1), "a benchmark");
  SLUICE_CHECK(scratch.ok(), "{}", scratch.status().message());
  const auto call_all = [&] {
    for (const auto& a : args) kernel.run(problem.desc, a, {*stream, scratch->data()});
  };
  call_all();  // kernels load what they need
  const auto recording = stream->record(call_all);
  std::vector<double> seconds;
  double total = 0;
  while (seconds.size() < kLeast || (total < enough && seconds.size() < kMostCalls)) {
    const auto begin = stream->mark();
    stream->replay(*recording);
    const double elapsed = stream->mark()->seconds_since(*begin);
    seconds.push_back(elapsed / static_cast<double>(args.size()));
    total += elapsed;
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2]};
}

/// Kernels that are slow so that they can be simple.
bool is_plain(std::string_view name) {
  return name.ends_with(".reference") || name.find(".exact") != std::string_view::npos;
}

template <typename Op>
void bench_op(Backend& backend, const Roof& roof, const BenchOptions& options,
              const std::function<void(const BenchRow&)>& report) {
  if (!options.op.empty() && options.op != Op::kName) return;
  const bool on_host = backend.device->shares_host_memory();
  for (const Case<Op>& c : on_host ? model_cases<Op>() : large_model_cases<Op>()) {
    const auto wanted = [&](const Kernel<Op>& kernel) {
      return kernel.name.find(options.kernel) != std::string_view::npos &&
             (options.references || !is_plain(kernel.name)) && kernel.refuses(c.desc).empty();
    };
    const auto& kernels = backend.kernels.template all<Op>();
    if (std::none_of(kernels.begin(), kernels.end(), wanted)) continue;
    Problem<Op> problem = make_problem(c, 1);
    for (const Kernel<Op>& kernel : kernels) {
      if (!wanted(kernel)) continue;
      const Timing timing = on_host ? time_on_host(backend, problem, kernel, options.seconds_per_case)
                                    : time_on_device(backend, problem, kernel, options.seconds_per_case);
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

TunedLinear tune_linear(Backend& backend, const Linear::Desc& desc, const Kernel<Linear>& chosen,
                        int64_t most_sequences) {
  constexpr int64_t kMostOutputs = 4096;
  constexpr Effort kEffort{.seconds = 0.02, .calls = 200};
  Linear::Desc part = desc;
  part.n = std::min(desc.n, kMostOutputs);
  const auto stream = backend.device->make_stream();
  std::vector<TunedLinear> times;
  std::vector<double> scores;  // sums of logarithms
  Rotation rotation;           // they read the same layout
  for (const Kernel<Linear>& kernel : backend.kernels.all<Linear>()) {
    if (kernel.name.ends_with(".reference") || kernel.layout->name != chosen.layout->name ||
        (chosen.batch_invariant && !kernel.batch_invariant) || !kernel.refuses(desc).empty())
      continue;
    // What is predicted to take several times as long is not worth measuring.
    if (kernel.seconds(desc, most_sequences) > 4 * chosen.seconds(desc, most_sequences)) continue;
    times.push_back({&kernel, 0});
    scores.push_back(0);
  }
  for (const int64_t rows : {int64_t{1}, most_sequences, kPrefillRows}) {
    Problem<Linear> problem(part, rows, 1);
    for (size_t i = 0; i < times.size(); ++i) {
      const Kernel<Linear>& kernel = *times[i].kernel;
      Bytes scratch(scratch_bytes(backend, kernel, problem));
      const double seconds = time_calls(problem, kernel, {*stream, scratch.data()}, kEffort, rotation).median;
      scores[i] += std::log(seconds);
      if (rows == 1) times[i].seconds = seconds * static_cast<double>(desc.n) / static_cast<double>(part.n);
    }
  }
  size_t best = 0, of_chosen = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    if (scores[i] < scores[best]) best = i;
    if (times[i].kernel == &chosen) of_chosen = i;
  }
  const bool clearly = scores[best] < scores[of_chosen] - 3 * std::log1p(kTuningMargin);
  return times[clearly ? best : of_chosen];
}

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
  bench_op<Sample>(backend, roof, options, report);
}

}  // namespace sluice::ops
