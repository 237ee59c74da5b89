// The references against values worked out by hand: they are what everything else is checked against.
#include "cpu/reference/reference.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cpu/cpu_device.h"
#include "cpu/reference/linear.h"

namespace sluice::cpu::reference {
namespace {

class ReferenceTest : public testing::Test {
 protected:
  template <typename Op>
  void run(const ops::Kernel<Op>& kernel, const typename Op::Desc& desc, const typename Op::Args& args,
           int64_t rows) {
    ASSERT_EQ(kernel.refuses(desc), "");
    std::vector<double> scratch;
    if (kernel.workspace_bytes != nullptr)
      scratch.resize(kernel.workspace_bytes(desc, rows, pool_.threads()) / 8 + 1);
    kernel.run(desc, args, {stream_, reinterpret_cast<std::byte*>(scratch.data())});
  }
  static Matrix matrix(std::vector<float>& v, int64_t rows) {
    const auto cols = static_cast<int64_t>(v.size()) / rows;
    return {v.data(), DType::f32, rows, cols, cols};
  }

  ThreadPool pool_{2};
  CpuStream stream_{pool_};
};

TEST_F(ReferenceTest, LinearAddsProductsAndBias) {
  std::vector<float> x = {1, 2, 3, -1, 0, 1}, w = {1, 0, 0, 1, 1, 1}, bias = {10, 20}, y(4);
  run(linear(), {2, 3, DType::f32, ops::Activations::f32, true},
      {matrix(x, 2), reinterpret_cast<const std::byte*>(w.data()), bias.data(), matrix(y, 2)}, 2);
  EXPECT_EQ(y, (std::vector<float>{11, 26, 9, 20}));
}

TEST_F(ReferenceTest, LinearRefusesInt8ForPlainWeights) {
  EXPECT_NE(linear().refuses({2, 32, DType::bf16, ops::Activations::int8, false}), "");
}

TEST_F(ReferenceTest, ActivationsQuantiseToTheNearestOf255Levels) {
  std::vector<float> x(32, 0.0f);
  x[0] = -2.54f, x[1] = 1.0f, x[2] = 0.03f;  // a step is 0.02: 0.03 is a tie
  int8_t q[32];
  EXPECT_FLOAT_EQ(quantize_activations(x.data(), q), 0.02f);
  EXPECT_EQ(q[0], -127);
  EXPECT_EQ(q[1], 50);
  EXPECT_EQ(q[3], 0);
  x[5] = NAN;
  EXPECT_TRUE(std::isnan(quantize_activations(x.data(), q)));
  x.assign(32, 1e-38f);
  EXPECT_EQ(quantize_activations(x.data(), q), 0.0f);
}

TEST_F(ReferenceTest, AddNormAddsTheScaledBranchAndNormalises) {
  std::vector<float> h = {1, 2}, branch = {4, 2}, y(2), weight = {1, 2};
  run(add_norm(), {2, true, ops::NormKind::none, 0.5f, true, ops::NormKind::rms, 0},
      {matrix(h, 1), matrix(branch, 1), matrix(y, 1), nullptr, nullptr, weight.data(), nullptr}, 1);
  EXPECT_EQ(h, (std::vector<float>{3, 3}));
  EXPECT_FLOAT_EQ(y[0], 1);
  EXPECT_FLOAT_EQ(y[1], 2);
}

TEST_F(ReferenceTest, LayerNormSubtractsTheMean) {
  std::vector<float> h = {1, 3}, none, y(2), bias = {10, 20};
  run(add_norm(), {2, false, ops::NormKind::none, 1, true, ops::NormKind::layer, 0},
      {matrix(h, 1), {}, matrix(y, 1), nullptr, nullptr, nullptr, bias.data()}, 1);
  EXPECT_FLOAT_EQ(y[0], 9);
  EXPECT_FLOAT_EQ(y[1], 21);
}

TEST_F(ReferenceTest, ActivationsHaveTheirKnownValues) {
  EXPECT_FLOAT_EQ(activate(ops::ActivationKind::silu, 1), 0.73105858f);
  EXPECT_FLOAT_EQ(activate(ops::ActivationKind::gelu, 1), 0.84134475f);
  EXPECT_FLOAT_EQ(activate(ops::ActivationKind::gelu_tanh, 1), 0.84119199f);
  EXPECT_FLOAT_EQ(activate(ops::ActivationKind::relu, -1), 0);
  EXPECT_FLOAT_EQ(activate(ops::ActivationKind::relu2, 3), 9);
}

TEST_F(ReferenceTest, RopeTurnsPairsByTheAngleOfTheirPosition) {
  const std::vector<int32_t> positions = {0, 2};
  std::vector<float> frequencies = {0.5f}, table(4);
  run(rope_table(), {1, 1, 1.0f}, {positions.data(), nullptr, frequencies.data(), matrix(table, 2)}, 2);
  EXPECT_EQ(table[0], 1.0f);
  EXPECT_FLOAT_EQ(table[2], std::cos(1.0f));

  // One head of four, the first two dimensions turned; k likewise, v as it is.
  std::vector<float> qkv = {1, 0, 5, 6, 0, 1, 7, 8, 9};
  std::vector<float> keys(4 * 16), values(16);
  const int32_t pages[] = {0};
  const ops::SequenceRows row{0, 1, 2, 0};
  Matrix turned = matrix(table, 2);
  turned.data = turned.f32(1), turned.rows = 1;
  run(rope_kv(),
      {.heads = 1,
       .kv_heads = 1,
       .d_qk = 4,
       .d_v = 1,
       .rope = ops::RopeStyle::half,
       .rope_dims = 2,
       .kv = DType::f32,
       .page_tokens = 16},
      {matrix(qkv, 1),
       turned,
       nullptr,
       nullptr,
       {&row, 1},
       {reinterpret_cast<std::byte*>(keys.data()), reinterpret_cast<std::byte*>(values.data()), {pages, 1}}},
      1);
  EXPECT_FLOAT_EQ(qkv[0], std::cos(1.0f));
  EXPECT_FLOAT_EQ(qkv[1], std::sin(1.0f));
  EXPECT_EQ(qkv[2], 5);
  EXPECT_FLOAT_EQ(keys[0 * 16 + 2], -std::sin(1.0f));
  EXPECT_FLOAT_EQ(keys[1 * 16 + 2], std::cos(1.0f));
  EXPECT_EQ(keys[3 * 16 + 2], 8);
  EXPECT_EQ(values[2], 9);
}

TEST_F(ReferenceTest, AttentionWeighsVisibleValues) {
  // Keys 0, ln 2, ln 4 in one dimension, values 1, 10, 100, query 1 at position 2.
  std::vector<float> keys(16), values(16), q = {1}, out(1);
  keys[1] = std::log(2.0f), keys[2] = std::log(4.0f);
  values[0] = 1, values[1] = 10, values[2] = 100;
  const int32_t pages[] = {0};
  const ops::SequenceRows row{0, 1, 2, 0};
  ops::Attention::Desc d{
      .heads = 1, .kv_heads = 1, .d_qk = 1, .d_v = 1, .scale = 1, .kv = DType::f32, .page_tokens = 16};
  std::vector<float> sinks = {0}, slopes = {std::log(2.0f)};
  const ops::Attention::Args args{
      matrix(q, 1),
      matrix(out, 1),
      {&row, 1},
      {reinterpret_cast<std::byte*>(keys.data()), reinterpret_cast<std::byte*>(values.data()), {pages, 1}},
      sinks.data(),
      slopes.data()};
  run(attention(), d, args, 1);
  EXPECT_FLOAT_EQ(out[0], (1 + 20 + 400) / 7.0f);
  d.window = 2;
  run(attention(), d, args, 1);
  EXPECT_FLOAT_EQ(out[0], (20 + 400) / 6.0f);
  d.window = 0, d.sinks = true;  // the sink takes the weight of a score of 0
  run(attention(), d, args, 1);
  EXPECT_FLOAT_EQ(out[0], (1 + 20 + 400) / 8.0f);
  d.sinks = false, d.alibi = true;  // halves a weight for each step of distance: 1/4, 2/2, 4
  run(attention(), d, args, 1);
  EXPECT_FLOAT_EQ(out[0], (0.25f + 10 + 400) / 5.25f);
  d.alibi = false, d.softcap = 1e-3f;  // all scores but the first become the cap
  run(attention(), d, args, 1);
  EXPECT_NEAR(out[0], 37, 0.1);
}

TEST_F(ReferenceTest, SampleTakesTheLargestOrDrawsByShares) {
  const auto log = [](float v) { return std::log(v); };
  std::vector<float> x = {9,      9,      9,         9,         99,  // a row of a slice before
                          log(1), log(4), log(2),    log(4),    99,        log(1),    NAN, log(2),
                          log(1), 99,     -INFINITY, -INFINITY, -INFINITY, -INFINITY, 99};
  const ops::Choice choices[] = {
      {.row = 11},
      {.row = 11, .temperature = 1, .place = 0.089},  // shares 1/11, 4/11, 2/11, 4/11
      {.row = 11, .temperature = 1, .place = 0.092},
      {.row = 11, .temperature = 1, .place = 0.63},
      {.row = 11, .temperature = 1, .place = 0.64},
      {.row = 11, .temperature = 0.5f, .place = 0.96},           // squared: 1, 16, 4, 16 of 37
      {.row = 11, .top_k = 3, .temperature = 1, .place = 0.39},  // 4, 2, 4 of 10
      {.row = 11, .top_k = 3, .temperature = 1, .place = 0.41},
      {.row = 11, .top_k = 1, .temperature = 1, .place = 0.99},  // the first of equals
      {.row = 11, .temperature = 1, .top_p = 0.37f, .place = 0.99},
      {.row = 11, .temperature = 1, .top_p = 0.36f, .place = 0.99},
      {.row = 11, .temperature = 1, .min_p = 0.4f, .place = 0.0},
      {.row = 12, .temperature = 1},
      {.row = 13},
      {.row = -1},
      {.row = 9}};
  std::vector<int32_t> out(std::size(choices), -7);
  const ops::Sample::Args args{matrix(x, 4), 10, 4, choices, static_cast<int64_t>(out.size()), out.data()};
  run(sample(), {5}, args, 4);
  EXPECT_EQ(out, (std::vector<int32_t>{1, 0, 1, 2, 3, 3, 1, 2, 1, 3, 1, 1, -1, -1, -1, -1}));
}

TEST_F(ReferenceTest, RoutePicksTheLargestAndTheLowerOfEquals) {
  std::vector<float> logits = {1, 3, 3, 2}, weights(2), bias = {0, 0, 0, 5};
  std::vector<int32_t> experts(2);
  const Matrix picked{experts.data(), DType::i32, 1, 2, 2};
  ops::Route::Desc d{.experts = 4, .k = 2, .score_first = false};
  run(route(), d, {matrix(logits, 1), nullptr, picked, matrix(weights, 1)}, 1);
  EXPECT_EQ(experts, (std::vector<int32_t>{1, 2}));
  EXPECT_FLOAT_EQ(weights[0], 0.5f);

  d = {.experts = 4,
       .k = 2,
       .score = ops::RouterScore::sigmoid,
       .selection_bias = true,
       .renormalise = true,
       .scale = 2};
  run(route(), d, {matrix(logits, 1), bias.data(), picked, matrix(weights, 1)}, 1);
  EXPECT_EQ(experts, (std::vector<int32_t>{3, 1}));
  const float a = 1 / (1 + std::exp(-2.0f)), b = 1 / (1 + std::exp(-3.0f));
  EXPECT_FLOAT_EQ(weights[0], 2 * a / (a + b));
  EXPECT_FLOAT_EQ(weights[1], 2 * b / (a + b));
}

TEST_F(ReferenceTest, MoeSumsItsExpertsByWeight) {
  // Two experts of one hidden and one inner dimension, y = w_down * relu(w_up * x).
  std::vector<float> x = {2}, up = {3, 5}, down = {1, 10}, weights = {0.5f, 0.25f}, y(1);
  std::vector<int32_t> experts = {1, 0};
  run(moe_mlp(),
      {2, 2, 1, 1, ops::ActivationKind::relu, false, DType::f32, DType::f32, ops::Activations::f32},
      {matrix(x, 1),
       {experts.data(), DType::i32, 1, 2, 2},
       matrix(weights, 1),
       reinterpret_cast<const std::byte*>(up.data()),
       reinterpret_cast<const std::byte*>(down.data()),
       matrix(y, 1)},
      1);
  EXPECT_FLOAT_EQ(y[0], 0.5f * 100 + 0.25f * 6);
}

TEST_F(ReferenceTest, EmbedScalesAndAddsPositions) {
  std::vector<float> table = {1, 2, 3, 4}, positions = {10, 20, 30, 40, 50, 60}, y(2);
  const int32_t id = 1, position = 0;
  run(embed(), {2, 2, DType::f32, 2.0f, 3, 2},
      {&id, &position, reinterpret_cast<const std::byte*>(table.data()), positions.data(), matrix(y, 1)}, 1);
  EXPECT_EQ(y, (std::vector<float>{56, 68}));
}

TEST_F(ReferenceTest, RowsAreGatheredAndCapped) {
  std::vector<float> x = {1, 2, 3, 4}, y(4);
  const int32_t rows[] = {1, 0};
  run(gather_rows(), {2}, {matrix(x, 2), rows, matrix(y, 2)}, 2);
  EXPECT_EQ(y, (std::vector<float>{3, 4, 1, 2}));
  run(scale_softcap(), {2, 10.0f, 5.0f}, {matrix(y, 2)}, 2);
  EXPECT_FLOAT_EQ(y[0], 5 * std::tanh(6.0f));
}

}  // namespace
}  // namespace sluice::cpu::reference
