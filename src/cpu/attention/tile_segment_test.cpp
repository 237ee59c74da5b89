// Attention on tile registers with the registers emulated: the index code that AMX runs, on any machine.
#include <gtest/gtest.h>

#include <cstring>

#include "cpu/simd/scalar.h"
// The kernels are made of the vocabulary above.
#include "cpu/attention/tile_segment.h"
#include "cpu/simd/emulated_tiles.h"

#include "cpu/cpu_device.h"
#include "ops/cases.h"
#include "ops/testing/conformance.h"

namespace sluice::cpu {
namespace {

using ops::Attention;

const AttentionFunctions& emulated_functions() {
  static constexpr AttentionFunctions functions{scalar::load_query_tiles, scalar::attend_tiles<EmulatedTiles>,
                                                scalar::merge, scalar::finish, kMostQueryRows};
  return functions;
}

std::vector<ops::Case<Attention>> cases() {
  std::vector<ops::Case<Attention>> out = ops::edge_cases<Attention>();
  std::erase_if(out, [](const auto& c) { return !tiles_refuse(c.desc).empty(); });
  return out;
}

class TileAttention : public ::testing::Test {
 protected:
  TileAttention() : backend_(make_cpu_backend({.threads = 1})) {}

  /// What `functions` make of the problem, with scratch full of NaN.
  std::vector<float> run(const AttentionFunctions& functions, ops::Problem<Attention>& problem) {
    const auto stream = backend_->device->make_stream();
    const auto& kernel = ops::testing::reference<Attention>(*backend_);
    ops::Bytes scratch(attention_workspace_bytes(problem.desc, pool_.threads()));
    problem.fill_cache(ops::testing::reference<ops::RopeKv>(*backend_), {*stream, scratch.data()});
    std::memset(scratch.data(), 0xff, scratch.size());
    run_attention(functions, problem.desc, problem.args(kernel), pool_, scratch.data());
    return problem.outputs();
  }

  Result<ops::Backend> backend_;
  ThreadPool pool_{2};
};

TEST_F(TileAttention, AgreesWithTheReference) {
  ASSERT_TRUE(backend_.ok());
  ASSERT_GE(cases().size(), 3u);
  uint32_t seed = 1;
  for (const auto& c : cases()) {
    ops::Problem<Attention> problem = ops::make_problem(c, seed++);
    SCOPED_TRACE(to_line(c.desc));
    const std::vector<float> expected =
        ops::testing::run(*backend_, problem, ops::testing::reference<Attention>(*backend_));
    ops::testing::expect_agreement(run(emulated_functions(), problem), expected, problem.tolerances());
  }
}

TEST_F(TileAttention, IsWhatTheMachineHas) {
  if (detect_features().isa < Isa::amx) GTEST_SKIP() << "this machine has no tile registers";
  uint32_t seed = 1;
  for (const auto& c : cases()) {
    ops::Problem<Attention> problem = ops::make_problem(c, seed++);
    SCOPED_TRACE(to_line(c.desc));
    const std::vector<float> emulated = run(emulated_functions(), problem);
    ops::testing::expect_agreement(run(amx_attention_functions(), problem), emulated, problem.tolerances());
  }
}

}  // namespace
}  // namespace sluice::cpu
