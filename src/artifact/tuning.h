// tuning.json: which kernel each op of the engine's Program uses, and how long it was measured to take.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "artifact/manifest.h"

namespace sluice::artifact {

struct TunedKernel {
  std::string op;      // with its descriptor: "linear: n=576 k=576 weight=q4_1 activations=int8"
  std::string kernel;  // "cpu.linear.rows16.avx512vnni"
  std::optional<double> microseconds;  // of one call with one row; absent: chosen by predicted cost
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("op", s.op), v("kernel", s.kernel), v("microseconds", s.microseconds);
  }
  bool operator==(const TunedKernel&) const = default;
};

struct Tuning {
  Hardware hardware;  // where it was measured
  std::vector<TunedKernel> kernels;
  template <typename Self, typename V>
  static void fields(Self& s, V&& v) {
    v("hardware", s.hardware), v("kernels", s.kernels);
  }
  bool operator==(const Tuning&) const = default;
};

std::string write_tuning(const Tuning& tuning);
Result<Tuning> parse_tuning(std::string_view text, const std::string& origin);

/// Of an engine directory whose checksums were compared; empty when it has none.
Result<Tuning> read_tuning(const std::string& engine);

}  // namespace sluice::artifact
