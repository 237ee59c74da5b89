// What a kernel says about itself, and the registry that finds it.
//
// An op is a struct with three members: `Desc` (facts known when a Program is lowered: a plain, printable,
// comparable value), `Args` (pointers and sizes known at each step), and `kName`. Kernels of an op are found
// by its Desc, once, at lowering; after that a step calls `run` through a pointer and looks nothing up.
#pragma once

#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "base/fields.h"
#include "device/device.h"
#include "tensor/dtype.h"

namespace sluice::ops {

/// Bytes moved through memory and arithmetic operations of one call: what rooflines and planners read.
struct Cost {
  double bytes = 0;
  double flops = 0;
  Cost& operator+=(const Cost& o) {
    bytes += o.bytes;
    flops += o.flops;
    return *this;
  }
};

/// How a kernel wants a weight matrix to lie in memory. Packing is a bijection on the values: a packed row
/// unpacks to exactly what the source row dequantises to. Names carry a version: an engine on disk outlives a
/// release.
struct WeightLayout {
  std::string_view name;  // "plain", "cpu-rows16.2"
  int64_t row_tile = 1;   // pack() is called with ranges of rows that begin at multiples of this

  /// Bytes of a packed (n, k) matrix.
  uint64_t (*packed_bytes)(DType dtype, int64_t n, int64_t k) = nullptr;
  /// Packs rows [row, row + rows) given in plain row-major order at `src` into their place in `dst`, the
  /// start of the packed matrix. Different ranges may be packed from different threads. n - row may be less
  /// than row_tile at the end.
  void (*pack)(DType dtype, int64_t n, int64_t k, int64_t row, int64_t rows, const std::byte* src,
               std::byte* dst) = nullptr;
  /// Dequantises one row of a packed matrix to k floats.
  void (*unpack_row)(DType dtype, int64_t n, int64_t k, const std::byte* packed, int64_t row,
                     float* out) = nullptr;
};

/// Rows one after another as in the checkpoint. Every backend accepts it for what it reads row by row.
const WeightLayout& plain_layout();

/// Where a call runs: its queue, and the scratch memory that the kernel asked for (undefined content).
struct Launch {
  device::Stream& stream;
  std::byte* workspace = nullptr;
};

template <typename Op>
struct Kernel {
  std::string_view name;  // "cpu.linear.rows16.avx512vnni"
  /// Empty when the kernel computes `desc` on this machine; otherwise the reason why not, for the refusal's
  /// text.
  std::string (*refuses)(const typename Op::Desc& desc) = nullptr;
  /// Predicted seconds of one call with `rows` rows, up to a common factor: the cheapest accepted kernel is
  /// chosen when the engine's tuning table has no measurement.
  double (*seconds)(const typename Op::Desc& desc, int64_t rows) = nullptr;
  void (*run)(const typename Op::Desc& desc, const typename Op::Args& args, const Launch& launch) = nullptr;
  /// Scratch bytes for calls of up to `max_rows` rows on a device of that parallelism; nullptr: none. Planned
  /// once for the whole Program: kernels never allocate.
  uint64_t (*workspace_bytes)(const typename Op::Desc& desc, int64_t max_rows, int parallelism) = nullptr;
  /// Layout in which the op's weight must be; nullptr for ops without one. For `embed` and `linear` kernels
  /// alike.
  const WeightLayout* layout = nullptr;
  /// Each output row is bitwise the same whatever other rows are in the call.
  bool batch_invariant = true;
};

/// The kernels of one backend for every op in `Ops`. Filled by one function per backend, in one place.
template <typename... Ops>
class KernelTable {
 public:
  template <typename Op>
  void add(const Kernel<Op>& kernel) {
    std::get<std::vector<Kernel<Op>>>(tables_).push_back(kernel);
  }
  template <typename Op>
  const std::vector<Kernel<Op>>& all() const {
    return std::get<std::vector<Kernel<Op>>>(tables_);
  }

  /// Calls visit(kernel) for every kernel of every op: tests and benchmarks find what there is.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    (for_each_of<Ops>(visit), ...);
  }

  struct Wish {
    int64_t rows = 1;                      // batch rows to optimise for
    std::string_view name;                 // exact kernel by name (tuning table, tests); empty: by cost
    const WeightLayout* layout = nullptr;  // only kernels that read this layout; nullptr: any
    bool batch_invariant = false;
  };

  /// The kernel for `desc`; a refusal says what was asked, what exists and why each does not fit. The pointer
  /// lives as long as the table.
  template <typename Op>
  Result<const Kernel<Op>*> select(const typename Op::Desc& desc, const Wish& wish) const {
    const Kernel<Op>* best = nullptr;
    double best_seconds = 0;
    std::string reasons;
    for (const Kernel<Op>& kernel : all<Op>()) {
      std::string why;
      if (!wish.name.empty() && wish.name != kernel.name) {
        why = "not the one asked for";
      } else if (wish.layout != nullptr && kernel.layout != nullptr &&
                 kernel.layout->name != wish.layout->name) {
        why = fmt::format("reads layout {}", kernel.layout->name);
      } else if (wish.batch_invariant && !kernel.batch_invariant) {
        why = "is not batch invariant";
      } else {
        why = kernel.refuses(desc);
      }
      if (!why.empty()) {
        reasons += fmt::format("; {}: {}", kernel.name, why);
        continue;
      }
      const double seconds = kernel.seconds(desc, wish.rows);
      if (best == nullptr || seconds < best_seconds) {
        best = &kernel;
        best_seconds = seconds;
      }
    }
    if (best == nullptr) {
      return unsupported("no kernel for {} ({}){}", Op::kName, to_line(desc),
                         reasons.empty() ? "; none exists" : reasons);
    }
    return best;
  }

 private:
  template <typename Op, typename Visit>
  void for_each_of(Visit& visit) const {
    for (const Kernel<Op>& kernel : all<Op>()) visit(kernel);
  }
  std::tuple<std::vector<Kernel<Ops>>...> tables_;
};

}  // namespace sluice::ops
