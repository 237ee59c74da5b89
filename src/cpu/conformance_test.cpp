// Every kernel of every op against the reference, on the same inputs, within what rounding explains; and each
// row of a batch against the same row alone, bit by bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "cpu/kernels.h"
#include "ops/cases.h"
#include "ops/testing/conformance.h"

namespace sluice::cpu {
namespace {

using ops::Case;
using ops::Kernel;
using ops::Problem;

constexpr int kThreads = 2;

ops::Backend& backend() {
  static ops::Backend instance = [] {
    auto made = make_cpu_backend({.threads = kThreads});
    SLUICE_CHECK(made.ok(), "{}", made.status().message());
    return std::move(made).value();
  }();
  return instance;
}

template <typename Op>
const Kernel<Op>& reference() {
  return ops::testing::reference<Op>(backend());
}
ops::Bytes scratch_for(const auto& kernel, const auto& desc, int64_t rows) {
  return ops::testing::scratch_for(backend(), kernel, desc, rows);
}
template <typename Op>
std::vector<float> run(Problem<Op>& problem, const Kernel<Op>& kernel) {
  return ops::testing::run(backend(), problem, kernel);
}

template <typename Op>
void compare(const Case<Op>& c, uint32_t seed) {
  Problem<Op> problem = ops::make_problem(c, seed);
  const std::vector<float> expected = run(problem, reference<Op>());
  const std::vector<double> tolerance = problem.tolerances();
  for (const Kernel<Op>& kernel : backend().kernels.all<Op>()) {
    if (&kernel == &reference<Op>() || !kernel.refuses(c.desc).empty()) continue;
    SCOPED_TRACE(fmt::format("{} ({}) rows={} seed={}", kernel.name, to_line(c.desc), problem.rows, seed));
    ops::testing::expect_agreement(run(problem, kernel), expected, tolerance);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

template <typename Op>
void compare_all() {
  uint32_t seed = 1;
  for (const Case<Op>& c : ops::edge_cases<Op>()) compare(c, seed++);
}

TEST(Conformance, Linear) { compare_all<ops::Linear>(); }
TEST(Conformance, MoeMlp) { compare_all<ops::MoeMlp>(); }
TEST(Conformance, Embed) { compare_all<ops::Embed>(); }
TEST(Conformance, AddNorm) { compare_all<ops::AddNorm>(); }
TEST(Conformance, Activation) { compare_all<ops::Activation>(); }
TEST(Conformance, ScaleSoftcap) { compare_all<ops::ScaleSoftcap>(); }
TEST(Conformance, RopeKv) { compare_all<ops::RopeKv>(); }
TEST(Conformance, Attention) { compare_all<ops::Attention>(); }

/// Rows of x that hold a NaN or an infinity give outputs that are not finite; other rows do not notice.
TEST(Conformance, LinearPassesNonFiniteRowsOn) {
  for (const Case<ops::Linear>& c : ops::edge_cases<ops::Linear>()) {
    if (c.rows < 3) continue;
    for (const Kernel<ops::Linear>& kernel : backend().kernels.all<ops::Linear>()) {
      if (!kernel.refuses(c.desc).empty()) continue;
      SCOPED_TRACE(fmt::format("{} ({}) rows={}", kernel.name, to_line(c.desc), c.rows));
      Problem<ops::Linear> problem = ops::make_problem(c, 7);
      const std::vector<float> clean = run(problem, kernel);
      problem.x[static_cast<size_t>(c.desc.k - 1)] = NAN;
      problem.x[static_cast<size_t>(2 * c.desc.k)] = INFINITY;
      const std::vector<float> y = run(problem, kernel);
      const auto n = static_cast<size_t>(c.desc.n);
      for (size_t i = 0; i < y.size(); ++i) {
        if (i / n == 0) {
          ASSERT_TRUE(std::isnan(y[i])) << "row 0, column " << i % n;
        } else if (i / n == 2 && c.desc.activations == ops::Activations::int8) {
          ASSERT_FALSE(std::isfinite(y[i])) << "row 2, column " << i % n;
        } else if (i / n != 2) {
          ASSERT_EQ(y[i], clean[i]) << "at " << i;
        }
      }
    }
  }
}

/// The last row of a batch alone.
template <typename Op>
void expect_rows_alone_equal(const Case<Op>& c, uint32_t seed) {
  for (const Kernel<Op>& kernel : backend().kernels.all<Op>()) {
    if (!kernel.batch_invariant || !kernel.refuses(c.desc).empty()) continue;
    SCOPED_TRACE(fmt::format("{} ({}) rows={}", kernel.name, to_line(c.desc), c.rows));
    Problem<Op> problem = ops::make_problem(c, seed);
    const std::vector<float> together = run(problem, kernel);
    ops::Bytes scratch = scratch_for(kernel, c.desc, 1);
    const auto stream = backend().device->make_stream();
    auto args = problem.args(kernel);
    const int64_t rows = problem.rows;
    for (int64_t row = 0; row < rows; ++row) {
      auto one = args;
      const auto take = [&](Matrix& m) {
        m.data = m.f32(row);
        m.rows = 1;
      };
      take(one.x), take(one.y);
      if constexpr (requires { one.experts; }) take(one.experts), take(one.weights);
      kernel.run(c.desc, one, {*stream, scratch.data()});
    }
    const std::vector<float> alone = problem.outputs();
    ASSERT_EQ(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)), 0);
  }
}

TEST(BatchInvariance, Linear) {
  for (const auto& c : ops::edge_cases<ops::Linear>()) expect_rows_alone_equal(c, 3);
}
TEST(BatchInvariance, MoeMlp) {
  for (const auto& c : ops::edge_cases<ops::MoeMlp>()) expect_rows_alone_equal(c, 4);
}

/// A prompt in one chunk, in chunks of odd sizes, token by token, and beside other sequences: the same bits.
TEST(BatchInvariance, AttentionWhateverTheChunks) {
  constexpr int32_t kTokens = 601;
  for (const Case<ops::Attention>& c : ops::edge_cases<ops::Attention>()) {
    for (const Kernel<ops::Attention>& kernel : backend().kernels.all<ops::Attention>()) {
      if (!kernel.refuses(c.desc).empty() || kernel.name.ends_with(".reference")) continue;
      SCOPED_TRACE(fmt::format("{} ({})", kernel.name, to_line(c.desc)));
      const std::vector<ops::ProblemSequence> batch = {{kTokens, 0}, {1, 40}};
      Problem<ops::Attention> problem(c.desc, batch, 5);
      const std::vector<float> whole = run(problem, kernel);
      const auto args = problem.args(kernel);
      ops::Bytes scratch = scratch_for(kernel, c.desc, problem.rows);
      const auto stream = backend().device->make_stream();
      const auto chunk = [&](int32_t first, int32_t rows, bool alone) {
        const ops::SequenceRows sequences[] = {{kTokens, 1, 40, 1}, {first, rows, first, 0}};
        auto part = args;
        part.sequences = alone ? std::span(sequences + 1, 1) : std::span(sequences);
        kernel.run(c.desc, part, {*stream, scratch.data()});
      };
      for (int32_t at = 0, size = 1; at < kTokens; at += size, size = size * 3 % 101 + 1)
        chunk(at, std::min(size, kTokens - at), at % 2 == 0);
      chunk(0, 1, false);  // the other sequence at least once
      ASSERT_EQ(std::memcmp(problem.out.data(), whole.data(), whole.size() * sizeof(float)), 0)
          << "in chunks";
      for (int32_t at = 0; at < kTokens; at += 37) chunk(at, 1, at % 2 == 0);
      ASSERT_EQ(std::memcmp(problem.out.data(), whole.data(), whole.size() * sizeof(float)), 0)
          << "token by token";
    }
  }
}

/// Keys and values that a query does not see may hold anything: what later tokens of its own chunk wrote,
/// too.
TEST(Conformance, AttentionOfEarlierTokensIgnoresLaterOnes) {
  constexpr int32_t kTokens = 70, kFinite = 41;
  for (DType kv : {DType::f32, DType::f16, DType::bf16}) {
    for (int64_t window : {0, 20}) {
      const ops::Attention::Desc d{
          .heads = 6, .kv_heads = 2, .d_qk = 24, .d_v = 20, .scale = 0.2f, .window = window, .kv = kv};
      for (const Kernel<ops::Attention>& kernel : backend().kernels.all<ops::Attention>()) {
        if (!kernel.refuses(d).empty()) continue;
        SCOPED_TRACE(fmt::format("{} ({})", kernel.name, to_line(d)));
        Problem<ops::Attention> problem(d, std::vector<ops::ProblemSequence>{{kTokens, 250}}, 9);
        const std::vector<float> clean = run(problem, kernel);
        const auto stream = backend().device->make_stream();
        // Written over the page slots of the last tokens.
        const ops::RopeKv::Desc writer{.heads = d.heads, .kv_heads = 2, .d_qk = 24, .d_v = 20, .kv = kv};
        std::vector<float> qkv(static_cast<size_t>((6 * 24 + 2 * 44) * (kTokens - kFinite)), NAN);
        const int64_t columns = 6 * 24 + 2 * 44;
        const ops::SequenceRows late[] = {{0, kTokens - kFinite, 250 + kFinite, 0}};
        reference<ops::RopeKv>().run(writer,
                                     {.qkv = {qkv.data(), DType::f32, kTokens - kFinite, columns, columns},
                                      .sequences = late,
                                      .cache = problem.cache.cache()},
                                     {*stream, nullptr});
        ops::Bytes scratch = scratch_for(kernel, d, problem.rows);
        kernel.run(d, problem.args(kernel), {*stream, scratch.data()});
        for (size_t i = 0; i < kFinite * 6 * 20; ++i) ASSERT_EQ(problem.out[i], clean[i]) << "at " << i;
        ASSERT_TRUE(std::isnan(problem.out.back()));
      }
    }
  }
}

TEST(Layout, RowsUnpackToWhatTheirSourceDequantisesTo) {
  for (const Kernel<ops::Linear>& kernel : backend().kernels.all<ops::Linear>()) {
    const ops::WeightLayout& layout = *kernel.layout;
    for (DType type : ops::weight_types()) {
      const int64_t k = 3 * info(type).block_elems, n = 37;
      if (!kernel.refuses({n, k, type, ops::Activations::f32, false}).empty()) continue;
      ops::ProblemWeight weight(type, n, k, 1, 11);
      const std::byte* plain = weight.in(ops::plain_layout());
      ops::Bytes packed(layout.packed_bytes(type, n, k));
      std::memset(packed.data(), 0xee, packed.size());
      for (int64_t row = 0; row < n; row += 2 * layout.row_tile) {  // in pieces, as optimize does
        layout.pack(type, n, k, row, std::min(2 * layout.row_tile, n - row),
                    plain + static_cast<uint64_t>(row) * row_bytes(type, static_cast<uint64_t>(k)),
                    packed.data());
      }
      std::vector<float> expected(static_cast<size_t>(k)), actual(static_cast<size_t>(k));
      for (int64_t row = 0; row < n; ++row) {
        ops::plain_layout().unpack_row(type, n, k, plain, row, expected.data());
        layout.unpack_row(type, n, k, packed.data(), row, actual.data());
        ASSERT_EQ(actual, expected) << layout.name << " " << name(type) << " row " << row;
      }
    }
  }
}

TEST(Registry, EveryInstructionSetOfThisMachineIsTried) {
  const CpuFeatures cpu = detect_features();
  for (std::string_view isa : enum_names(Isa{})) {
    const bool expected = cpu.has(*enum_from_name<Isa>(isa));
    bool found = false;
    for (const auto& kernel : backend().kernels.all<ops::Linear>())
      found |= kernel.name.ends_with(fmt::format(".{}", isa));
    EXPECT_EQ(found, expected) << isa;
  }
}

TEST(Registry, TheBestInstructionSetIsChosen) {
  const auto chosen =
      backend().kernels.select<ops::Linear>({576, 576, DType::q4_1, ops::Activations::int8, false}, {});
  ASSERT_TRUE(chosen.ok());
  EXPECT_TRUE((*chosen)->name.ends_with(enum_name(detect_features().isa))) << (*chosen)->name;
}

TEST(CpuBackend, RefusesWhatTheMachineCannotDo) {
  EXPECT_FALSE(make_cpu_backend({.threads = -1}).ok());
  EXPECT_FALSE(make_cpu_backend({.isa = "sse9"}).ok());
  const auto scalar = make_cpu_backend({.threads = 1, .isa = "scalar"});
  ASSERT_TRUE(scalar.ok());
  EXPECT_EQ(scalar->device->info().features, "scalar");
  for (const auto& kernel : scalar->kernels.all<ops::Linear>())
    EXPECT_TRUE(kernel.name.ends_with("scalar") || kernel.name.ends_with("reference")) << kernel.name;
}

TEST(CpuBackend, MemoryIsZeroedAndAligned) {
  for (size_t bytes :
       {size_t{1}, size_t{100'000}, (size_t{2} << 20) - 1, (size_t{2} << 20) + 1, size_t{9} << 20}) {
    auto buffer = backend().device->allocate(bytes, "test");
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(
        reinterpret_cast<uintptr_t>(buffer->data()) % (bytes >= (size_t{2} << 20) ? size_t{2} << 20 : 64),
        0u);
    for (size_t i = 0; i < bytes; i += 511) ASSERT_EQ(buffer->data()[i], std::byte{0});
    std::memset(buffer->data(), 1, bytes);
  }
  const auto refused = backend().device->allocate(~size_t{0} / 2, "weights");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("weights"), std::string::npos);
}

}  // namespace
}  // namespace sluice::cpu
