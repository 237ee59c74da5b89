// What conformance tests of every backend share: kernels that read the host's memory run on a problem, and
// outputs compared within what rounding explains.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "ops/problem.h"

namespace sluice::ops::testing {

/// The plain kernel that all others are compared with.
template <typename Op>
const Kernel<Op>& reference(const Backend& backend) {
  const Kernel<Op>& first = backend.kernels.template all<Op>().front();
  SLUICE_CHECK(first.name.ends_with(".reference"), "{}", first.name);
  return first;
}

/// Scratch for a kernel's call, filled with NaN: nothing may be read before it was written.
Bytes scratch_for(const Backend& backend, const auto& kernel, const auto& desc, int64_t rows) {
  const int parallelism = backend.device->info().parallelism;
  Bytes scratch(kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(desc, rows, parallelism));
  std::memset(scratch.data(), 0xff, scratch.size());
  return scratch;
}

/// What a kernel of `backend` makes of the problem.
template <typename Op>
std::vector<float> run(const Backend& backend, Problem<Op>& problem, const Kernel<Op>& kernel) {
  const auto stream = backend.device->make_stream();
  Bytes scratch = scratch_for(backend, kernel, problem.desc, problem.rows);
  const Launch launch{*stream, scratch.data()};
  if constexpr (requires { problem.fill_cache(reference<RopeKv>(backend), launch); })
    problem.fill_cache(reference<RopeKv>(backend), launch);
  kernel.run(problem.desc, problem.args(kernel), launch);
  return problem.outputs();
}

inline double root_mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (float v : values) sum += double{v} * v;
  return std::sqrt(sum / static_cast<double>(std::max<size_t>(values.size(), 1)));
}

/// Each output within its tolerance, NaN where NaN is expected; the first five others are reported.
inline void expect_agreement(const std::vector<float>& actual, const std::vector<float>& expected,
                             const std::vector<double>& tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  ASSERT_EQ(expected.size(), tolerance.size());
  const double size = root_mean_square(expected);
  int reported = 0;
  for (size_t i = 0; i < expected.size() && reported < 5; ++i) {
    ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i])) << "at " << i;
    if (std::isnan(expected[i])) continue;
    // A bound wider than what it guards would pass anything.
    ASSERT_LE(tolerance[i], 0.05 * std::max(size, double{std::abs(expected[i])})) << "at " << i;
    const double error = std::abs(double{actual[i]} - expected[i]);
    if (!(error <= tolerance[i])) {
      ADD_FAILURE() << "at " << i << ": " << actual[i] << " for " << expected[i] << ", error " << error
                    << " beyond " << tolerance[i];
      ++reported;
    }
  }
}

}  // namespace sluice::ops::testing
