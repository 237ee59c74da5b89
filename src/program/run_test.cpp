// Programs on real memory: what is left over from earlier steps, in any arena, must never matter.
#include "program/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "program/pack.h"
#include "program/testing/tiny_program.h"

namespace sluice::program {
namespace {

using model::testing::TinyModel;
using testing::TinyProgram;

// A program with its memory and one sequence.
class Rig {
 public:
  explicit Rig(const TinyModel& shape, const TinyProgram::Change& change = {},
               const TinyProgram::Options& options = {})
      : tiny_(make(shape, change, options)) {
    const Program& p = tiny_.program;
    activations_.resize(p.activation_bytes + 64);
    workspace_.resize(p.workspace_bytes + 64);
    memory_.activations = aligned(activations_);
    memory_.workspace = aligned(workspace_);
    weights_.resize(p.weight_bytes + 64);
    for (size_t i = 0; i < p.weights.size(); ++i) load(i);
    const auto pages = static_cast<uint64_t>(kPages);
    for (const CacheInfo& c : p.caches) {
      caches_.emplace_back((c.key_page_bytes + c.value_page_bytes) * pages + 64);
      memory_.caches.push_back({aligned(caches_.back()), aligned(caches_.back()) + c.key_page_bytes * pages});
    }
    for (size_t g = 0; g < p.groups.size(); ++g) tables_.push_back({kTable, kPages});
    stream_ = tiny_.backend.device->make_stream();
  }

  /// Every byte of activations, workspace and caches; 0xff is NaN in every float type.
  void fill(int byte, bool caches) {
    std::memset(activations_.data(), byte, activations_.size());
    std::memset(workspace_.data(), byte, workspace_.size());
    if (!caches) return;
    for (auto& cache : caches_) std::memset(cache.data(), byte, cache.size());
  }

  /// Runs tokens [first, first + count) and appends the logits of each.
  void step(const std::vector<int32_t>& ids, int first, int count, std::vector<float>& logits) {
    std::vector<int32_t> positions, rows;
    for (int i = 0; i < count; ++i) positions.push_back(first + i), rows.push_back(i);
    const std::vector<int32_t> variants(static_cast<size_t>(count));
    const ops::SequenceRows sequence{0, count, first, 0};
    Batch batch;
    batch.tokens = count;
    batch.ids = ids.data() + first;
    batch.positions = positions.data();
    batch.rope_variants = variants.data();
    batch.sequences = {&sequence, 1};
    batch.tables = tables_;
    batch.logit_rows = rows;
    run(tiny_.program, memory_, batch, *stream_, [&](size_t at, Matrix m) {
      EXPECT_EQ(logits.size() % static_cast<size_t>(m.cols), 0u);
      EXPECT_LE(m.rows, tiny_.program.limits.logits);
      EXPECT_EQ(at % static_cast<size_t>(tiny_.program.limits.logits), 0u);
      for (int64_t r = 0; r < m.rows; ++r) logits.insert(logits.end(), m.f32(r), m.f32(r) + m.cols);
    });
  }

 private:
  static constexpr int64_t kPages = 8;
  static constexpr int32_t kTable[kPages] = {5, 2, 7, 0, 3, 6, 1, 4};

  static TinyProgram make(const TinyModel& shape, const TinyProgram::Change& change,
                          const TinyProgram::Options& options) {
    auto made = TinyProgram::make(shape, change, options);
    SLUICE_CHECK(made.ok(), "{}", made.status().message());
    return *std::move(made);
  }
  static std::byte* aligned(std::vector<std::byte>& bytes) {
    return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
  }
  void load(size_t i) {
    const WeightInfo& w = tiny_.program.weights[i];
    std::byte* at = aligned(weights_) + w.offset;
    memory_.weights.push_back(at);
    if (w.constant) {
      std::memcpy(at, tiny_.program.constants[i].data(), tiny_.program.constants[i].size() * sizeof(float));
      return;
    }
    const uint64_t bytes = w.bytes / static_cast<uint64_t>(w.copies);
    for (int64_t c = 0; c < w.copies; ++c) {
      const Status packed = pack_weight(tiny_.model, w, c, {at + static_cast<uint64_t>(c) * bytes, bytes}, 1);
      SLUICE_CHECK(packed.ok(), "{}", packed.message());
    }
  }

  TinyProgram tiny_;
  std::vector<std::byte> activations_, workspace_, weights_;
  std::vector<std::vector<std::byte>> caches_;
  std::vector<ops::PageTables> tables_;
  Memory memory_;
  std::unique_ptr<device::Stream> stream_;
};

std::vector<int32_t> some_ids(int n) {
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back((i * 37 + 11) % 128);
  return ids;
}

constexpr int kTokens = 75;  // three pages of 32, the last one in part; longer than gemma2's window

std::vector<float> logits_of(Rig& rig, int byte, int chunk) {
  const std::vector<int32_t> ids = some_ids(kTokens);
  std::vector<float> out;
  rig.fill(byte, true);
  for (int first = 0; first < kTokens; first += chunk) {
    if (first > 0) rig.fill(byte, false);
    rig.step(ids, first, std::min(chunk, kTokens - first), out);
  }
  return out;
}

struct Setup {
  const char* arch;
  const char* isa;
  DType dtype;
};

class Poisoned : public ::testing::TestWithParam<Setup> {};

TEST_P(Poisoned, MemoryGivesTheSameLogits) {
  TinyProgram::Options options;
  options.isa = GetParam().isa;
  options.recipe.precision = {{-1, -1, "attention.qkv", GetParam().dtype},
                              {-1, -1, "feedforward.intermediate", GetParam().dtype},
                              {-1, -1, "feedforward.output", GetParam().dtype}};
  Rig rig({.arch = GetParam().arch}, {}, options);
  for (int chunk : {kTokens, 9}) {
    const std::vector<float> clean = logits_of(rig, 0, chunk);
    ASSERT_EQ(clean.size(), static_cast<size_t>(kTokens) * 128);
    for (float v : clean) ASSERT_TRUE(std::isfinite(v));
    EXPECT_EQ(clean, logits_of(rig, 0xff, chunk)) << "chunks of " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Poisoned,
    ::testing::Values(Setup{"llama", "", DType::f32}, Setup{"llama", "", DType::q8_0},
                      Setup{"llama", "scalar", DType::q4_0}, Setup{"qwen2", "", DType::bf16},
                      Setup{"gemma2", "", DType::f32}, Setup{"gemma2", "scalar", DType::f16},
                      Setup{"mixtral", "", DType::f32}, Setup{"mixtral", "", DType::q4_0}),
    [](const auto& test) {
      return fmt::format("{}_{}_{}", test.param.arch, test.param.isa, name(test.param.dtype));
    });

TEST(Run, LogitsInSlicesAreThoseInOne) {
  TinyProgram::Options in_one, in_slices;
  in_one.recipe.batch_invariant = in_slices.recipe.batch_invariant = true;
  in_one.logit_rows = kTokens;
  in_slices.logit_rows = 3;
  Rig wide({}, {}, in_one), narrow({}, {}, in_slices);
  EXPECT_EQ(logits_of(wide, 0, kTokens), logits_of(narrow, 0, kTokens));
}

TEST(Run, SplitProductsGiveWhatMergedOnesDo) {
  // The same values in another type of weight: q and k in f32, v in f16, of a checkpoint that holds f16.
  const TinyModel shape{.dtype = DType::f16};
  Rig a(shape), b(shape, [](TinyProgram&t) {
    t.types["layers.0.attention.q"] = t.types["layers.0.attention.k"] = DType::f32;
    t.types["layers.1.mlp.gate"] = DType::f32;
  });
  const std::vector<float> x = logits_of(a, 0, kTokens), y = logits_of(b, 0, kTokens);
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], 1e-4) << i;
}

}  // namespace
}  // namespace sluice::program
