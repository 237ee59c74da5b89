// The engine on a GPU for a long time. Needs one: without it the test says so and skips.
#include <gtest/gtest.h>

#include "cuda/backend.h"
#include "engine/testing/client.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::cuda {
namespace {

/// Bytes of the GPU's memory that nobody has: a test that loses none sees no fewer, where it has the GPU to
/// itself.
uint64_t free_bytes() { return make_cuda_backend().value().device->info().memory_bytes; }

TEST(CudaEngine, TenThousandRequestsCancelledAndPreemptedLeakNothing) {
  auto backend = make_cuda_backend();
  if (!backend.ok()) GTEST_SKIP() << "skipped: " << backend.status().message();
  const model::testing::TempDirectory directory;
  const model::testing::TinyModel shape{.hidden = 128, .head_dim = 64, .dtype = DType::bf16};
  ASSERT_TRUE(model::testing::write_tiny_checkpoint(directory.path(), shape).ok());
  model::Recipe recipe;
  recipe.max_seq_len = 128;
  recipe.max_sequences = 8;
  recipe.max_batch_tokens = 64;
  recipe.page_tokens = 16;
  recipe.kv_tokens = 160;
  auto model = engine::LoadedModel::load(directory.path(), recipe, *std::move(backend), {});
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto core = engine::Core::create(*std::move(model));
  ASSERT_TRUE(core.ok()) << core.status().message();
  ASSERT_NO_FATAL_FAILURE(engine::testing::soak(**core, 1'000));  // by then all sizes of steps are recorded
  const uint64_t before = free_bytes();
  ASSERT_NO_FATAL_FAILURE(engine::testing::soak(**core, 10'000));
  EXPECT_GE(free_bytes(), before);
}

}  // namespace
}  // namespace sluice::cuda
