// Every CUDA kernel against the CPU's references, on the same inputs, within what rounding explains. Needs a
// GPU: without one every test says so and skips.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "cpu/cpu_device.h"
#include "cpu/kernels.h"
#include "cpu/kv_page.h"
#include "cuda/backend.h"
#include "ops/cases.h"
#include "ops/mirror.h"
#include "ops/testing/conformance.h"
#include "tensor/half.h"

namespace sluice::cuda {
namespace {

using ops::Activations;
using ops::Case;
using ops::Kernel;
using ops::Mirror;
using ops::Problem;

ops::Backend& reference_backend() {
  static ops::Backend instance = [] {
    auto made = cpu::make_cpu_backend({.threads = 2});
    SLUICE_CHECK(made.ok(), "{}", made.status().message());
    return std::move(made).value();
  }();
  return instance;
}

Result<ops::Backend>& gpu() {
  static Result<ops::Backend> instance = make_cuda_backend();
  return instance;
}

/// Moves what lies as cpu/kv_page.h says to where cuda/kernels/kv_page.cuh has it, (page_tokens, dims), or
/// back; cpu_index(slot, dimension) is an element's place in its head on the CPU.
template <typename F>
void turn(std::byte* pages, size_t bytes, size_t size, int64_t tokens, int64_t dims, bool to_gpu,
          const F& cpu_index) {
  const size_t block = size * static_cast<size_t>(tokens * dims);
  std::vector<std::byte> turned(block);
  for (size_t at = 0; at < bytes; at += block) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < dims; ++i) {
        const size_t cpu = static_cast<size_t>(cpu_index(t, i)) * size;
        const size_t gpu_place = static_cast<size_t>(t * dims + i) * size;
        std::memcpy(turned.data() + (to_gpu ? gpu_place : cpu), pages + at + (to_gpu ? cpu : gpu_place),
                    size);
      }
    }
    std::memcpy(pages + at, turned.data(), block);
  }
}
template <typename Desc>
void turn_pages(const Desc& d, ops::ProblemCache& cache, bool to_gpu) {
  const size_t size = info(d.kv).block_bytes;
  turn(cache.cache().keys, cache.key_bytes(), size, d.page_tokens, d.d_qk, to_gpu,
       [&](int64_t slot, int64_t i) { return cpu::key_index(d, slot, i); });
  turn(cache.cache().values, cache.value_bytes(), size, d.page_tokens, d.d_v, to_gpu,
       [&](int64_t slot, int64_t i) { return cpu::value_index(d, slot, i); });
}

uint64_t scratch_bytes(const auto& kernel, const auto& desc, int64_t rows) {
  return kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(desc, rows, 132);
}

template <typename Op>
std::vector<float> outputs_of(Problem<Op>& problem, const Kernel<Op>& kernel) {
  constexpr bool kAttention = std::is_same_v<Op, ops::Attention>, kRopeKv = std::is_same_v<Op, ops::RopeKv>;
  Mirror device(*gpu()->device);
  auto args = problem.args(kernel);
  if constexpr (kAttention) turn_pages(problem.desc, problem.cache, true);
  mirror(device, problem, args);
  std::byte* scratch = device.scratch(scratch_bytes(kernel, problem.desc, problem.rows));
  kernel.run(problem.desc, args, {device.stream(), scratch});
  device.fetch();
  if constexpr (kAttention || kRopeKv) turn_pages(problem.desc, problem.cache, false);
  return problem.outputs();
}

template <typename Op>
void compare(const Case<Op>& c, uint32_t seed, int& tried) {
  Problem<Op> problem = ops::make_problem(c, seed);
  const ops::Backend& host = reference_backend();
  const std::vector<float> expected = ops::testing::run(host, problem, ops::testing::reference<Op>(host));
  const std::vector<double> tolerance = problem.tolerances();
  for (const Kernel<Op>& kernel : gpu()->kernels.template all<Op>()) {
    if (!kernel.refuses(c.desc).empty()) continue;
    ++tried;
    SCOPED_TRACE(fmt::format("{} ({}) rows={} seed={}", kernel.name, to_line(c.desc), problem.rows, seed));
    ops::testing::expect_agreement(outputs_of(problem, kernel), expected, tolerance);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

#define SKIP_WITHOUT_GPU() \
  if (!gpu().ok()) GTEST_SKIP() << "skipped: " << gpu().status().message()

template <typename Op>
void compare_all(const std::vector<Case<Op>>& cases) {
  uint32_t seed = 1;
  int tried = 0;
  for (const Case<Op>& c : cases) compare(c, seed++, tried);
  EXPECT_GT(tried, 0);
}

/// Shapes that the matrix instructions take, at the edges of their tiles.
std::vector<Case<ops::Linear>> half_cases() {
  std::vector<Case<ops::Linear>> out;
  for (const auto& [type, activations] :
       {std::pair(DType::bf16, Activations::bf16), std::pair(DType::f16, Activations::f16)}) {
    for (int64_t rows : {1, 7, 8, 9, 16, 17, 33, 64, 65, 130, 257}) {
      out.push_back({{200, 576, type, activations, rows % 2 == 0}, rows});
      out.push_back(
          {{rows == 7 ? 1027 : 24, rows == 9 ? 104 : 2048, type, activations, rows % 2 == 1}, rows});
    }
    out.push_back({{37, 77, type, activations, true}, 5});
    out.push_back({{4096, 4096, type, activations, false}, 1});
    // More rows of W than blocks take at once, more of k than registers hold.
    for (int64_t rows : {3, 8}) out.push_back({{8500, 4200, type, activations, true}, rows});
    // k in several parts, which blocks share or not.
    for (int64_t rows : {1, 20, 300})
      out.push_back({{rows == 20 ? 500 : 1000, 8200, type, activations, true}, rows});
  }
  return out;
}

/// Products with a gate, of rows that are few and many, at the edges of tiles.
std::vector<Case<ops::Linear>> gated_cases() {
  std::vector<Case<ops::Linear>> out;
  for (const auto& [type, activations] :
       {std::pair(DType::bf16, Activations::bf16), std::pair(DType::f16, Activations::f16)}) {
    for (const auto kind :
         {ops::ActivationKind::silu, ops::ActivationKind::gelu, ops::ActivationKind::gelu_tanh}) {
      for (int64_t rows : {1, 20, 129, 300})
        out.push_back(
            {{rows == 300 ? 16 : 528, rows == 20 ? 1024 : 584, type, activations, rows % 2 == 0, kind},
             rows});
    }
  }
  // More tiles than multiprocessors.
  out.push_back({{7184, 264, DType::bf16, Activations::bf16, true, ops::ActivationKind::silu}, 2500});
  return out;
}

using AttentionCases = std::vector<Case<ops::Attention>>;

void add_masks(AttentionCases& out, DType kv, int64_t dim, const std::vector<ops::ProblemSequence>& batch) {
  ops::Attention::Desc d{
      .heads = 8, .kv_heads = 2, .d_qk = dim, .d_v = dim, .scale = 0.12f, .kv = kv, .rounded = true};
  out.push_back({d, 0, batch});
  d.window = 40;
  out.push_back({d, 0, batch});
  d.softcap = 5;
  d.window = 0;
  out.push_back({d, 0, batch});
  d.sinks = true;
  d.alibi = true;
  d.page_tokens = 16;
  out.push_back({d, 0, batch});
}

void add_long(AttentionCases& out, int64_t heads, int64_t kv_heads, int64_t dim,
              const ops::ProblemSequence& sequence) {
  out.push_back({{.heads = heads,
                  .kv_heads = kv_heads,
                  .d_qk = dim,
                  .d_v = dim,
                  .scale = 0.1f,
                  .kv = DType::f16,
                  .rounded = true},
                 0,
                 {sequence}});
}

AttentionCases tile_cases() {
  AttentionCases out;
  const std::vector<ops::ProblemSequence> batch = {{1, 0},   {1, 15},   {1, 16},   {33, 0}, {70, 250},
                                                   {1, 700}, {20, 500}, {129, 63}, {2, 9}};
  for (DType kv : {DType::f16, DType::bf16}) {
    for (int64_t dim : {64, 128}) add_masks(out, kv, dim, batch);
  }
  // Rows whose keys are of more and of fewer segments.
  const ops::ProblemSequence rows{70, 3800};
  // One long context, shared out over a cluster. Its averages are so small that bf16's steps would hide an
  // error.
  const ops::ProblemSequence row{1, 5000};
  add_long(out, 4, 2, 128, rows);
  for (int64_t dim : {64, 128}) add_long(out, 12, 1, dim, row);
  // Other heads, beyond the first keys: with two of them, the roundings of weights do not average out as
  // tolerances assume.
  std::vector<ops::ProblemSequence> later = batch;
  later[3].first_position = 10;
  for (int64_t dim : {80, 96, 256}) {
    for (DType kv : {DType::f16, DType::bf16}) add_masks(out, kv, dim, later);
    add_long(out, 4, 2, dim, rows);
    add_long(out, 12, 1, dim, row);
  }
  return out;
}

TEST(CudaConformance, Linear) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::Linear>());
  compare_all(half_cases());
  compare_all(gated_cases());
  compare_all<ops::Linear>({{{1030, 520, DType::bf16, Activations::bf16, true}, 1500}});  // by large tiles
}

/// What is written rounded is what is written in f32, rounded.
TEST(CudaConformance, GatesRoundWhatTheyWrite) {
  SKIP_WITHOUT_GPU();
  for (const Case<ops::Linear>& c : gated_cases()) {
    Problem<ops::Linear> problem = ops::make_problem(c, 3);
    for (const Kernel<ops::Linear>& kernel : gpu()->kernels.all<ops::Linear>()) {
      if (!kernel.refuses(c.desc).empty()) continue;
      SCOPED_TRACE(fmt::format("{} ({}) rows={}", kernel.name, to_line(c.desc), c.rows));
      const std::vector<float> exact = outputs_of(problem, kernel);
      Mirror device(*gpu()->device);
      auto args = problem.args(kernel);
      mirror(device, problem, args);
      args.y.dtype = c.desc.weight;
      std::byte* scratch = device.scratch(scratch_bytes(kernel, c.desc, c.rows));
      kernel.run(c.desc, args, {device.stream(), scratch});
      device.fetch();
      const auto* rounded = reinterpret_cast<const uint16_t*>(problem.y.data());
      const bool is_bf16 = c.desc.weight == DType::bf16;
      for (size_t i = 0; i < exact.size(); ++i)
        ASSERT_EQ(rounded[i], is_bf16 ? f32_to_bf16(exact[i]) : f32_to_f16(exact[i])) << "at " << i;
    }
  }
}
TEST(CudaConformance, MoeMlp) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::MoeMlp>());
}
TEST(CudaConformance, Embed) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::Embed>());
}
TEST(CudaConformance, AddNorm) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::AddNorm>());
}
TEST(CudaConformance, Activation) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::Activation>());
}
TEST(CudaConformance, ScaleSoftcap) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::ScaleSoftcap>());
}
/// Heads of 128 dimensions, for which there is a kernel of their own.
std::vector<Case<ops::RopeKv>> common_heads() {
  std::vector<Case<ops::RopeKv>> out;
  for (const DType kv : {DType::bf16, DType::f16, DType::f32}) {
    for (const auto norm : {ops::QkNormScope::none, ops::QkNormScope::head, ops::QkNormScope::per_head}) {
      out.push_back({{.heads = 5,
                      .kv_heads = 5,
                      .d_qk = 128,
                      .d_v = 128,
                      .rope = ops::RopeStyle::half,
                      .rope_dims = 128,
                      .qk_norm = norm,
                      .qk_norm_kind = kv == DType::bf16 ? ops::NormKind::rms : ops::NormKind::layer,
                      .kv = kv,
                      .page_tokens = 16},
                     0,
                     {{1, 0}, {5, 30}, {40, 17}, {1, 100}}});
    }
    out.back().desc.heads = 32;
  }
  return out;
}
TEST(CudaConformance, RopeKv) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::RopeKv>());
  compare_all(common_heads());
}
TEST(CudaConformance, Attention) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::Attention>());
  compare_all(tile_cases());
}

/// Rows together and in calls of many sizes, which are cut into tiles in many ways: the same bits.
TEST(CudaBatchInvariance, Linear) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kRows = 1300;
  int tried = 0;
  std::vector<ops::Linear::Desc> descs;
  for (const auto& [n, k] :
       {std::pair(200, 576), std::pair(1000, 8200), std::pair(2048, 8192), std::pair(24, 16384)})
    descs.push_back({n, k, DType::bf16, Activations::bf16, true});
  descs.push_back({1008, 2056, DType::bf16, Activations::bf16, true, ops::ActivationKind::silu});
  for (const ops::Linear::Desc& d : descs) {
    Problem<ops::Linear> problem = ops::make_problem(Case<ops::Linear>{d, kRows}, 7);
    for (const Kernel<ops::Linear>& kernel : gpu()->kernels.all<ops::Linear>()) {
      if (!kernel.batch_invariant || !kernel.refuses(d).empty()) continue;
      ++tried;
      SCOPED_TRACE(fmt::format("{} ({})", kernel.name, to_line(d)));
      const auto outputs = [&](auto size_after) {
        Mirror device(*gpu()->device);
        auto args = problem.args(kernel);
        mirror(device, problem, args);
        std::byte* scratch = device.scratch(scratch_bytes(kernel, d, kRows));
        for (int64_t row = 0, size = size_after(0); row < kRows; row += size, size = size_after(size)) {
          auto some = args;
          for (Matrix* m : {&some.x, &some.y}) {
            m->data = m->f32(row);
            m->rows = std::min(size, kRows - row);
          }
          kernel.run(d, some, {device.stream(), scratch});
        }
        device.fetch();
        return problem.outputs();
      };
      const std::vector<float> together = outputs([](int64_t) { return kRows; });
      for (float y : together) ASSERT_TRUE(std::isfinite(y));
      const auto expect_same = [&](const char* what, const std::vector<float>& got) {
        EXPECT_EQ(std::memcmp(got.data(), together.data(), got.size() * sizeof(float)), 0) << what;
      };
      expect_same("few at a time", outputs([](int64_t size) { return size % 10 + 1; }));
      expect_same("more at a time", outputs([](int64_t size) { return size * 3 % 257 + 1; }));
      expect_same("two calls", outputs([](int64_t size) { return size == 0 ? 530 : kRows - 530; }));
    }
  }
  EXPECT_GT(tried, 0);
}

/// Long enough that segments of keys grow on the way (attention_work.cuh).
constexpr int32_t kLongPrompt = 4200;

std::vector<ops::Attention::Desc> invariance_cases() {
  std::vector<ops::Attention::Desc> out;
  for (int64_t dim : {64, 80, 96, 128, 256}) {
    const ops::Attention::Desc plain{.heads = 8,
                                     .kv_heads = 2,
                                     .d_qk = dim,
                                     .d_v = dim,
                                     .scale = 0.12f,
                                     .kv = DType::bf16,
                                     .rounded = true};
    const bool some = dim == 80 || dim == 96;
    for (int64_t window :
         some ? std::vector<int64_t>{0, 1000} : std::vector<int64_t>{0, 1, 100, 1000, 4000}) {
      ops::Attention::Desc d = plain;
      d.window = window;
      d.page_tokens = window == 0 ? 64 : 32;
      out.push_back(d);
    }
    if (some) continue;
    ops::Attention::Desc d = plain;
    d.kv = DType::f16;
    d.heads = 6, d.kv_heads = 6;
    d.sinks = true;
    d.page_tokens = 16;
    out.push_back(d);
    d.heads = 12, d.kv_heads = 1;
    d.softcap = 5;
    d.page_tokens = 128;
    out.push_back(d);
    d.softcap = 0;
    d.alibi = true;
    d.window = 700;
    out.push_back(d);
  }
  return out;
}

/// A prompt in one chunk, in chunks of odd sizes, and each of its tokens as if it had been generated, in
/// small batches and in large ones, alone and beside another sequence: the same bits.
TEST(CudaBatchInvariance, AttentionWhateverTheChunks) {
  SKIP_WITHOUT_GPU();
  const ops::Backend& host = reference_backend();
  const auto host_stream = host.device->make_stream();
  int tried = 0;
  for (const ops::Attention::Desc& d : invariance_cases()) {
    Problem<ops::Attention> problem(d, std::vector<ops::ProblemSequence>{{kLongPrompt, 0}, {1, 900}}, 5);
    problem.fill_cache(ops::testing::reference<ops::RopeKv>(host), {*host_stream});
    turn_pages(d, problem.cache, true);
    for (const Kernel<ops::Attention>& kernel : gpu()->kernels.all<ops::Attention>()) {
      if (!kernel.batch_invariant || !kernel.refuses(d).empty()) continue;
      ++tried;
      SCOPED_TRACE(fmt::format("{} ({})", kernel.name, to_line(d)));
      const ops::SequenceRows company{kLongPrompt, 1, 900, 1};
      const auto outputs = [&](const std::vector<std::vector<ops::SequenceRows>>& steps) {
        Mirror device(*gpu()->device);
        auto args = problem.args(kernel);
        mirror(device, problem, args);
        std::byte* scratch = device.scratch(scratch_bytes(kernel, d, problem.rows));
        for (const std::vector<ops::SequenceRows>& step : steps) {
          args.sequences = step;
          args.on_device = device.sequences(step, problem.rows);
          kernel.run(d, args, {device.stream(), scratch});
        }
        device.fetch();
        return problem.outputs();
      };
      // Chunks of one size after the other, `together` of them a step.
      const auto steps = [&](auto size_after, size_t together) {
        std::vector<std::vector<ops::SequenceRows>> out;
        std::vector<ops::SequenceRows> step = {company};
        for (int32_t at = 0, size = size_after(0); at < kLongPrompt; at += size, size = size_after(size)) {
          step.push_back({at, std::min(size, kLongPrompt - at), at, 0});
          if (step.size() > together || at + size >= kLongPrompt) out.push_back(std::exchange(step, {}));
        }
        return out;
      };
      const std::vector<float> whole = outputs(steps([](int32_t) { return kLongPrompt; }, 1));
      for (float x : whole) ASSERT_TRUE(std::isfinite(x));
      const auto expect_same = [&](const char* what, const std::vector<std::vector<ops::SequenceRows>>& how) {
        const std::vector<float> got = outputs(how);
        size_t differ = 0, first = 0;
        for (size_t i = whole.size(); i-- > 0;) {
          if (std::memcmp(&got[i], &whole[i], sizeof(float)) != 0) ++differ, first = i;
        }
        const auto width = static_cast<size_t>(d.heads * d.d_v);
        EXPECT_EQ(differ, 0u) << what << ": the first in row " << first / width << ", column "
                              << first % width << ": " << got[first] << " for " << whole[first];
      };
      expect_same("in chunks", steps([](int32_t size) { return size * 3 % 257 + 1; }, 1));
      expect_same("in chunks, several a step", steps([](int32_t size) { return size * 5 % 173 + 1; }, 7));
      expect_same("token by token, few at a time", steps([](int32_t) { return 1; }, 40));
      expect_same("token by token, many at a time", steps([](int32_t) { return 1; }, 1000));
    }
  }
  EXPECT_GT(tried, 0);
}

TEST(CudaConformance, Sample) {
  SKIP_WITHOUT_GPU();
  compare_all(ops::edge_cases<ops::Sample>());
}

/// What one row draws at places all over [0, 1), the places split over calls of many and of few rows.
TEST(CudaConformance, SampleDrawsEachTokenByItsShare) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kDim = 3000, kDraws = 100'000;
  const std::vector<float> logits = ops::random_floats(kDim, 5, 2);
  const ops::Largest largest = ops::largest_logit(logits);
  for (const ops::Choice& way :
       {ops::Choice{.temperature = 1}, ops::Choice{.top_k = 200, .temperature = 0.9f},
        ops::Choice{.temperature = 1.2f, .top_p = 0.8f}}) {
    ops::Candidates kept;
    const double sum = ops::candidates(logits, largest.value, way, kept);
    std::vector<int> drawn(kDim);
    for (const int64_t rows : {kDraws - 3000, int64_t{3000}}) {
      std::vector<ops::Choice> choices(static_cast<size_t>(rows), way);
      for (size_t i = 0; i < choices.size(); ++i) {
        choices[i].row = 0;
        choices[i].place = (static_cast<double>(i) + 0.5) / static_cast<double>(rows);
      }
      std::vector<float> x = logits;
      std::vector<int32_t> tokens(choices.size());
      Mirror device(*gpu()->device);
      ops::Sample::Args args{.x = {x.data(), DType::f32, 1, kDim, kDim}, .limit = kDim, .count = rows};
      device.in(args.x);
      args.choices = device.in(choices.data(), choices.size() * sizeof(ops::Choice));
      args.out = device.in(tokens.data(), tokens.size() * sizeof(int32_t));
      gpu()->kernels.all<ops::Sample>().front().run({kDim}, args, {device.stream()});
      device.fetch();
      for (const int32_t token : tokens) ++drawn.at(static_cast<size_t>(token));
    }
    double share = 0;
    for (const auto& [weight, id] : kept) {
      const double wanted = static_cast<double>(weight) / sum * kDraws;
      EXPECT_NEAR(drawn[static_cast<size_t>(id)], wanted, 2.1)
          << id;  // an edge may take a place on either side
      share += drawn[static_cast<size_t>(id)];
    }
    EXPECT_EQ(share, kDraws) << "and no other";
  }
}

TEST(CudaDevice, RefusesWhatDoesNotFit) {
  SKIP_WITHOUT_GPU();
  const auto refused = gpu()->device->allocate(size_t{1} << 45, "weights");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("weights"), std::string::npos);
}

TEST(CudaDevice, RecordsAndReplaysWork) {
  SKIP_WITHOUT_GPU();
  std::vector<int32_t> host = {1, 2, 3};
  Mirror device(*gpu()->device);
  int32_t* from = device.in(host.data(), 12);
  auto to = gpu()->device->allocate(12, "a test");
  ASSERT_TRUE(to.ok());
  const auto work = device.stream().record([&] { device.stream().copy(to->data(), from, 12); });
  ASSERT_NE(work, nullptr);
  std::vector<int32_t> got(3, 0);
  for (int round = 0; round < 2; ++round) {
    host[0] = 10 + round;
    device.stream().copy(from, host.data(), 12);
    device.stream().replay(*work);
    device.stream().copy(got.data(), to->data(), 12);
    device.stream().synchronize();
    EXPECT_EQ(got, host);
  }
}

/// Without a driver the program starts and says what is missing.
TEST(CudaBackend, SaysWhatIsMissing) {
  if (gpu().ok()) GTEST_SKIP() << "skipped: there is a GPU here";
  EXPECT_EQ(gpu().status().code(), StatusCode::unsupported);
  EXPECT_NE(gpu().status().message().find("--device cpu"), std::string::npos);
}

}  // namespace
}  // namespace sluice::cuda
