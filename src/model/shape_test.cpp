#include "model/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/recipe.h"

namespace sluice::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

double parameters(const std::string& name) {
  const auto model = model_of_shape(name);
  EXPECT_TRUE(model.ok()) << model.status().message();
  double total = 0;
  for (const Weight& w : model->weights) total += static_cast<double>(w.n) * static_cast<double>(w.k);
  return total;
}

// What the models' publishers state.
TEST(Shape, HasTheParametersOfTheModelItIsNamedAfter) {
  EXPECT_NEAR(parameters("random:llama-135m"), 134.5e6, 0.1e6);
  EXPECT_NEAR(parameters("random:llama-1b"), 1.236e9, 0.001e9);
  EXPECT_NEAR(parameters("random:llama-3b"), 3.213e9, 0.001e9);
  EXPECT_NEAR(parameters("random:llama-8b"), 8.030e9, 0.001e9);
  EXPECT_NEAR(parameters("random:llama-70b"), 70.554e9, 0.001e9);
  EXPECT_NEAR(parameters("random:qwen3-600m"), 0.596e9, 0.001e9);
  EXPECT_NEAR(parameters("random:qwen3-8b"), 8.191e9, 0.001e9);
  EXPECT_NEAR(parameters("random:qwen3-32b"), 32.76e9, 0.01e9);
  EXPECT_NEAR(parameters("random:qwen3_moe-30b"), 30.53e9, 0.01e9);
  EXPECT_NEAR(parameters("random:mixtral-8x7b"), 46.70e9, 0.01e9);
}

TEST(Shape, TakesThePrecisionAsked) {
  const auto model = model_of_shape("random:llama-1b");
  Recipe recipe;
  recipe.precision = *precision_from_name("q4_0");
  std::vector<std::string> notes;
  const auto types = resolve_types(*model, recipe, notes);
  ASSERT_TRUE(types.ok()) << types.status().message();
  EXPECT_EQ(types->at("layers.3.mlp.down"), DType::q4_0);
  EXPECT_EQ(types->at("embed"), DType::q8_0);
}

TEST(Shape, UnknownOnesAreRefusedWithTheKnown) {
  EXPECT_THAT(model_of_shape("random:llama-9b").status().message(),
              AllOf(HasSubstr("random:llama-9b"), HasSubstr("llama-8b")));
}

}  // namespace
}  // namespace sluice::model
