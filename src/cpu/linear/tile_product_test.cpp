// The kernels on tile registers with the registers emulated: the packing and index code that AMX runs, on any
// machine.
#include <gtest/gtest.h>

#include <cstring>

#include "cpu/simd/scalar.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/tile_product.h"
#include "cpu/simd/emulated_tiles.h"

#include "cpu/cpu_device.h"
#include "cpu/linear/linear.h"
#include "ops/cases.h"
#include "ops/testing/conformance.h"

namespace sluice::cpu {
namespace {

using ops::Linear;

ProductFunctions emulated_product(DType weight, ops::Activations activations, int64_t m) {
  const ProductFunctions tiles = scalar::amx_product_functions<EmulatedTiles>(weight, activations, m);
  return tiles.multiply != nullptr ? tiles : scalar_tile_functions().product(weight, activations, m);
}

const TileFunctions& emulated_functions() {
  static const TileFunctions functions{.product = emulated_product,
                                       .unpack = scalar_tile_functions().unpack,
                                       .row_multiple = kTileEdge,
                                       .scratch_bytes = scalar::tile_scratch_bytes};
  return functions;
}

/// y of one problem, with scratch full of NaN.
std::vector<float> run(const TileFunctions& functions, ops::Problem<Linear>& problem,
                       const Linear::Args& args, ThreadPool& pool) {
  const uint64_t bytes = linear_rows16_workspace_bytes(functions, problem.desc, args.x.rows, pool.threads());
  ops::Bytes scratch(bytes);
  std::memset(scratch.data(), 0xff, scratch.size());
  run_linear_rows16(functions, problem.desc, args, pool, scratch.data());
  return problem.outputs();
}

const ops::Kernel<Linear>& kernel_named(const ops::Backend& backend, std::string_view name) {
  for (const auto& kernel : backend.kernels.all<Linear>()) {
    if (kernel.name == name) return kernel;
  }
  throw std::runtime_error("no such kernel");
}

TEST(EmulatedTiles, AgreeWithTheReference) {
  auto backend = make_cpu_backend({.threads = 1});
  ASSERT_TRUE(backend.ok());
  const auto& reference = kernel_named(*backend, "cpu.linear.reference");
  const auto& scalar = kernel_named(*backend, "cpu.linear.rows16.scalar");
  const auto stream = backend->device->make_stream();
  ThreadPool pool(2);
  uint32_t seed = 1;
  for (const auto& c : ops::edge_cases<Linear>()) {
    if (is_block_type(c.desc.weight) && c.desc.activations != ops::Activations::int8) continue;
    if (!rows16_refuses(c.desc).empty()) continue;
    ops::Problem<Linear> problem = ops::make_problem(c, seed++);
    SCOPED_TRACE(fmt::format("({}) rows={}", to_line(c.desc), c.rows));
    ops::Bytes scratch(
        std::max(reference.workspace_bytes(c.desc, c.rows, 1), scalar.workspace_bytes(c.desc, c.rows, 1)));
    const auto result = [&](const ops::Kernel<Linear>& kernel) {
      kernel.run(c.desc, problem.args(kernel), {*stream, scratch.data()});
      return problem.outputs();
    };
    const std::vector<float> expected = result(reference), same = result(scalar);
    const std::vector<float> actual = run(emulated_functions(), problem, problem.args(scalar), pool);
    const std::vector<double> tolerance = problem.tolerances();
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i], tolerance[i]) << "at " << i;
      if (is_block_type(c.desc.weight)) {
        ASSERT_EQ(actual[i], same[i]) << "at " << i;
      }
    }
    // Each row alone has the same bits.
    auto args = problem.args(scalar);
    run(emulated_functions(), problem, args, pool);
    const std::vector<float> together = problem.y;
    for (int64_t row = 0; row < c.rows; row += 5) {
      auto one = args;
      one.x = {args.x.f32(row), DType::f32, 1, args.x.cols, args.x.stride};
      one.y = {args.y.f32(row), DType::f32, 1, args.y.cols, args.y.stride};
      run(emulated_functions(), problem, one, pool);
    }
    ASSERT_EQ(std::memcmp(together.data(), problem.y.data(), together.size() * sizeof(float)), 0);
  }
}

TEST(EmulatedTiles, AreWhatTheMachineHas) {
  if (detect_features().isa < Isa::amx) GTEST_SKIP() << "this machine has no tile registers";
  ThreadPool pool(2);
  uint32_t seed = 1;
  for (const auto& c : ops::edge_cases<Linear>()) {
    if (is_block_type(c.desc.weight) || c.rows < kLeastTileRows || !rows16_refuses(c.desc).empty()) continue;
    ops::Problem<Linear> problem = ops::make_problem(c, seed++);
    SCOPED_TRACE(fmt::format("({}) rows={}", to_line(c.desc), c.rows));
    const ops::Kernel<Linear> layout{.layout = &rows16_layout()};
    const std::vector<float> emulated = run(emulated_functions(), problem, problem.args(layout), pool);
    const std::vector<float> real = run(amx_tile_functions(), problem, problem.args(layout), pool);
    // The processor rounds sums inside an instruction in its own way.
    ops::testing::expect_agreement(real, emulated, problem.tolerances());
  }
}

}  // namespace
}  // namespace sluice::cpu
