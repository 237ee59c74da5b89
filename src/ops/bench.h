// Times every kernel of a registry over the shared cases, against the roof of the machine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace sluice::ops {

/// What the machine can do at best, measured.
struct Roof {
  double bytes_per_second = 0;  // read from memory by all threads together
  double f32_per_second = 0;    // fp32 operations, an FMA counting two
  double int8_per_second = 0;   // int8 operations, a multiply-add counting two
  double bf16_per_second = 0;   // of bf16 numbers, summed in fp32, likewise
};

struct BenchOptions {
  std::string op;      // only this op; empty: all
  std::string kernel;  // only kernels whose name contains this
  bool references = false;
  double seconds_per_case = 0.2;
};

/// One kernel on one case.
struct BenchRow {
  std::string op, kernel, desc;
  int64_t rows = 0;        // of the batch
  double min_seconds = 0;  // of single calls
  double median_seconds = 0;
  double bytes_per_second = 0;  // at the median; bytes and operations as the op's cost counts them
  double flops_per_second = 0;
  double share_of_roof = 0;  // time that the roof allows / median time
  std::string bound;         // "memory" or "compute": which side of the roof that is
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("op", s.op), v("kernel", s.kernel), v("desc", s.desc), v("rows", s.rows);
    v("min_seconds", s.min_seconds), v("median_seconds", s.median_seconds);
    v("bytes_per_second", s.bytes_per_second), v("flops_per_second", s.flops_per_second);
    v("share_of_roof", s.share_of_roof), v("bound", s.bound);
  }
};

/// Calls `report` with each row as it is measured. Weights are read from memory: successive calls use
/// different copies, together larger than any cache. On a device with memory of its own so do all arguments,
/// of up to 64 copies, and calls are recorded one behind the other and timed together, as steps run them.
void bench_ops(Backend& backend, const Roof& roof, const BenchOptions& options,
               const std::function<void(const BenchRow&)>& report);

/// The kernel to use for products of one shape, and the seconds of a call with one row.
struct TunedLinear {
  const Kernel<Linear>* kernel = nullptr;
  double seconds = 0;
};

/// Times the kernels that can take the place of `chosen` (the same layout of the weight, batch invariant if
/// `chosen` is) with calls of 1, `most_sequences` and kPrefillRows rows, and returns the fastest by the
/// geometric mean; another than `chosen` only if it is faster by more than kTuningMargin, since timings vary.
/// Of a large product a part of the outputs is timed. Needs a device that reads the host's memory.
TunedLinear tune_linear(Backend& backend, const Linear::Desc& desc, const Kernel<Linear>& chosen,
                        int64_t most_sequences);
constexpr int64_t kPrefillRows = 256;
constexpr double kTuningMargin = 0.1;

}  // namespace sluice::ops
