#include "cpu/limits/limits.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

namespace sluice::cpu {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRuns = 8;

const LimitLoops& loops_of(Isa isa) {
  switch (isa) {
    case Isa::amx:
      return amx_limit_loops();
    case Isa::avx512bf16:
      return avx512bf16_limit_loops();
    case Isa::avx512vnni:
      return avx512vnni_limit_loops();
    case Isa::avx512:
      return avx512_limit_loops();
    case Isa::avxvnni:
      return avxvnni_limit_loops();
    case Isa::avx2:
      return avx2_limit_loops();
    default:
      return scalar_limit_loops();
  }
}

/// The most that `threads` threads achieve together of what work(thread) returns, per second of the slowest.
double best_rate(int threads, const std::function<double(int thread)>& work) {
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::atomic<int> waiting{threads};
    std::vector<double> amount(static_cast<size_t>(threads)), seconds(static_cast<size_t>(threads));
    const auto body = [&](int t) {
      for (--waiting; waiting.load() > 0;) std::this_thread::yield();
      const auto start = Clock::now();
      amount[static_cast<size_t>(t)] = work(t);
      seconds[static_cast<size_t>(t)] = std::chrono::duration<double>(Clock::now() - start).count();
    };
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
    body(0);
    for (std::thread& t : others) t.join();
    double total = 0;
    for (double a : amount) total += a;
    best = std::max(best, total / *std::max_element(seconds.begin(), seconds.end()));
  }
  return best;
}

MachineLimit measure(const LimitLoops& loops, int threads, const device::Buffer& buffer) {
  const int64_t part = static_cast<int64_t>(buffer.size()) / threads / 1024 * 1024;
  std::vector<int32_t> sinks(static_cast<size_t>(threads) * 64, 0x01010101);
  std::vector<float> float_sinks(static_cast<size_t>(threads) * 64, 0.5f);
  MachineLimit limit{.threads = threads};
  limit.read_bytes_per_second = best_rate(threads, [&](int t) {
    sinks[static_cast<size_t>(t) * 64] += loops.read(buffer.data() + t * part, part);
    return static_cast<double>(part);
  });
  constexpr int64_t kRounds = 2'000'000;  // some milliseconds
  limit.f32_per_second = best_rate(threads, [&](int t) {
    return kRounds * loops.f32(kRounds, &float_sinks[static_cast<size_t>(t) * 64]);
  });
  limit.int8_per_second = best_rate(
      threads, [&](int t) { return kRounds * loops.int8(kRounds, &sinks[static_cast<size_t>(t) * 64]); });
  constexpr int64_t kShortRounds = kRounds / 16;
  const auto short_rate = [&](double (*loop)(int64_t)) {
    return loop == nullptr ? 0.0 : best_rate(threads, [&](int) { return kShortRounds * loop(kShortRounds); });
  };
  limit.bf16_per_second = short_rate(loops.bf16);
  limit.tile_int8_per_second = short_rate(loops.tile_int8);
  return limit;
}

}  // namespace

Result<std::vector<MachineLimit>> machine_limits(device::Device& cpu, Isa isa, int threads) {
  // Larger than the caches of one socket, or at least than what is left of them between two passes.
  SLUICE_ASSIGN(const device::Buffer buffer, cpu.allocate(size_t{512} << 20, "measuring the machine"));
  std::vector<MachineLimit> out;
  for (int t = 1; t < threads; t *= 2) out.push_back(measure(loops_of(isa), t, buffer));
  out.push_back(measure(loops_of(isa), threads, buffer));
  return out;
}

}  // namespace sluice::cpu
