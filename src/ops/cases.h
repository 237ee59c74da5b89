// Problems worth trying, shared by conformance tests and benchmarks.
#pragma once

#include <vector>

#include "ops/problem.h"

namespace sluice::ops {

/// A desc with a batch size; for ops over sequences, with a batch.
template <typename Op>
struct Case {
  typename Op::Desc desc;
  int64_t rows = 1;
  std::vector<ProblemSequence> batch = {};
};

template <typename Op>
Problem<Op> make_problem(const Case<Op>& c, uint32_t seed) {
  if constexpr (requires { Problem<Op>(c.desc, c.batch, seed); }) {
    return Problem<Op>(c.desc, c.batch, seed);
  } else {
    return Problem<Op>(c.desc, c.rows, seed);
  }
}

/// Small problems at the edges of tiles, panels, pages and blocks: what can go wrong.
template <typename Op>
std::vector<Case<Op>> edge_cases();

/// The shapes of real models, at the batch sizes of decode and prefill: what must be fast.
template <typename Op>
std::vector<Case<Op>> model_cases();

/// Those of a Llama of 8B parameters in bf16, for GPUs.
template <typename Op>
std::vector<Case<Op>> large_model_cases();

/// All types that linear weights come in.
std::vector<DType> weight_types();

}  // namespace sluice::ops
