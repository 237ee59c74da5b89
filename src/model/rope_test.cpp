#include "model/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

namespace sluice::model {
namespace {

using testing::HasSubstr;

constexpr double kPi = std::numbers::pi;

RopeRequest request(const char* scaling, int64_t dims = 64, double theta = 10000) {
  RopeRequest r;
  r.head_dim = dims;
  r.dims = dims;
  r.theta = theta;
  r.max_positions = 8192;
  r.scaling = *parse_json(scaling, "scaling");
  return r;
}

Rope rope(const RopeRequest& r) {
  auto made = make_rope(r, "config.json");
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? *made : Rope{};
}
Rope rope(const char* scaling) { return rope(request(scaling)); }

// theta ^ (-2 i / dims), by logarithms.
double plain(size_t i, double dims = 64, double theta = 10000) {
  return std::exp(-std::log(theta) * 2 * static_cast<double>(i) / dims);
}

void expect_equal(const std::vector<float>& got, const std::function<double(size_t)>& want) {
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]) / want(i), 1, 3e-7) << "frequency " << i;
}

TEST(Rope, Default) {
  for (const char* form : {"null", "{}", R"({"rope_type": "default"})", R"({"type": null})"}) {
    const Rope r = rope(form);
    ASSERT_EQ(r.frequencies.size(), 32u);
    expect_equal(r.frequencies, [](size_t i) { return plain(i); });
    EXPECT_EQ(r.attention_factor, 1);
    EXPECT_TRUE(r.long_frequencies.empty());
  }
}

TEST(Rope, OfPartOfTheHead) {
  RopeRequest r = request("null", 16, 500000);
  r.head_dim = 64;
  const Rope got = rope(r);
  EXPECT_EQ(got.dims, 16);
  ASSERT_EQ(got.frequencies.size(), 8u);
  expect_equal(got.frequencies, [](size_t i) { return plain(i, 16, 500000); });
}

TEST(Rope, LinearDividesAll) {
  for (const char* form : {R"({"rope_type": "linear", "factor": 4})", R"({"type": "linear", "factor": 4.0})",
                           R"({"factor": 4})"})
    expect_equal(rope(form).frequencies, [](size_t i) { return plain(i) / 4; });
}

TEST(Rope, DynamicIsTheDefaultInsideTheContext) {
  expect_equal(rope(R"({"rope_type": "dynamic", "factor": 2})").frequencies,
               [](size_t i) { return plain(i); });
}

TEST(Rope, Llama3KeepsShortWavesAndStretchesLongOnes) {
  const Rope r = rope(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                          "original_max_position_embeddings": 1024})");
  expect_equal(r.frequencies, [](size_t i) {
    const double turns = 1024 * plain(i) / (2 * kPi);  // over the original context
    if (turns > 4) return plain(i);
    if (turns < 1) return plain(i) / 8;
    const double share = (turns - 1) / 3;  // from 1 turn to 4
    return plain(i) * (share + (1 - share) / 8);
  });
  EXPECT_EQ(r.attention_factor, 1);
}

TEST(Rope, YarnInterpolatesBelowOneTurnAndKeepsAboveThirtyTwo) {
  const Rope r = rope(R"({"rope_type": "yarn", "factor": 16, "original_max_position_embeddings": 2048})");
  EXPECT_NEAR(static_cast<double>(r.attention_factor), 0.1 * std::log(16.0) + 1, 1e-6);
  std::vector<double> mix;  // 0: as it was, 1: divided
  for (size_t i = 0; i < r.frequencies.size(); ++i) {
    const double turns = 2048 * plain(i) / (2 * kPi);
    const double ratio = static_cast<double>(r.frequencies[i]) / plain(i);
    if (turns >= 32 || turns <= 1) {
      EXPECT_NEAR(ratio, turns >= 32 ? 1 : 1 / 16.0, 1e-6) << i;
    }
    mix.push_back((1 - ratio) / (1 - 1 / 16.0));
  }
  // Between them a straight line over the index, from an integer to an integer.
  std::vector<double> ramp;
  for (double m : mix) {
    if (m > 1e-5 && m < 1 - 1e-5) ramp.push_back(m);
  }
  ASSERT_GT(ramp.size(), 8u);
  const double step = ramp[1] - ramp[0];
  EXPECT_NEAR(1 / step, std::round(1 / step), 1e-3);
  for (size_t i = 0; i < ramp.size(); ++i) EXPECT_NEAR(ramp[i], step * static_cast<double>(i + 1), 1e-5);
}

TEST(Rope, YarnTakesItsParametersFromTheConfig) {
  EXPECT_FLOAT_EQ(rope(R"({"rope_type": "yarn", "factor": 16, "attention_factor": 0.5})").attention_factor,
                  0.5f);
  // DeepSeek's pair: the ratio of two scales.
  EXPECT_NEAR(
      static_cast<double>(rope(R"({"rope_type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 0.7})")
                              .attention_factor),
      (0.1 * std::log(40.0) + 1) / (0.07 * std::log(40.0) + 1), 1e-6);
  // Without a factor: how far the context was stretched.
  EXPECT_NEAR(
      static_cast<double>(
          rope(R"({"rope_type": "yarn", "original_max_position_embeddings": 1024})").attention_factor),
      0.1 * std::log(8.0) + 1, 1e-6);
  // With wide bounds everything lies on the ramp, which no longer begins at an integer.
  const auto wide =
      rope(R"({"rope_type": "yarn", "factor": 2, "beta_fast": 64, "beta_slow": 0.5, "truncate": false})");
  const auto rounded = rope(R"({"rope_type": "yarn", "factor": 2, "beta_fast": 64, "beta_slow": 0.5})");
  EXPECT_NE(wide.frequencies, rounded.frequencies);
}

TEST(Rope, LongropeHasTwoSetsOfFrequencies) {
  const Rope r = rope(request(R"({"rope_type": "longrope", "original_max_position_embeddings": 4096,
                                  "short_factor": [1, 1.5, 2, 4], "long_factor": [2, 3, 8, 64]})",
                              8));
  const double s[] = {1, 1.5, 2, 4}, l[] = {2, 3, 8, 64};
  expect_equal(r.frequencies, [&](size_t i) { return plain(i, 8) / s[i]; });
  expect_equal(r.long_frequencies, [&](size_t i) { return plain(i, 8) / l[i]; });
  EXPECT_EQ(r.switch_length, 4096);
  EXPECT_NEAR(static_cast<double>(r.attention_factor), std::sqrt(1 + std::log(2.0) / std::log(4096.0)), 1e-6);
  RopeRequest su =
      request(R"({"type": "su", "original_max_position_embeddings": 8192, "short_factor": [1, 1, 1, 1],
                               "long_factor": [1, 1, 1, 1]})",
              8);
  EXPECT_EQ(rope(su).attention_factor, 1) << "a context that was not stretched";
  su.scaling["factor"] = 32;
  EXPECT_NEAR(static_cast<double>(rope(su).attention_factor),
              std::sqrt(1 + std::log(32.0) / std::log(8192.0)), 1e-6);
}

TEST(Rope, GgufTensorsDivideTheFrequencies) {
  RopeRequest r = request("null", 8);
  r.divisors = {1, 2, 4, 8};
  expect_equal(rope(r).frequencies,
               [](size_t i) { return plain(i, 8) / std::pow(2.0, static_cast<double>(i)); });

  RopeRequest phi = request(R"({"original_max_position_embeddings": 64, "attention_factor": 1.25})", 8);
  phi.short_factors = {1, 1, 1, 1};
  phi.long_factors = {2, 2, 2, 2};
  EXPECT_EQ(rope(phi).switch_length, 64);
  EXPECT_FLOAT_EQ(rope(phi).attention_factor, 1.25f);
  EXPECT_FLOAT_EQ(rope(phi).long_frequencies[0], 0.5f);
}

TEST(Rope, ImpossibleOnesAreRefused) {
  const auto refusal = [](RopeRequest r) {
    auto made = make_rope(r, "config.json");
    return made.ok() ? std::string("made") : made.status().message();
  };
  RopeRequest r = request("null", 8);
  r.divisors = {1, 2};
  EXPECT_THAT(refusal(r), HasSubstr("rope_freqs has 2 entries"));
  r.divisors = {1, 2, 0, 4};
  EXPECT_THAT(refusal(r), HasSubstr("rope_freqs[2]"));
  r.divisors = {1, 2, NAN, 4};
  EXPECT_THAT(refusal(r), HasSubstr("rope_freqs[2]"));
  RopeRequest phi = request(R"({"original_max_position_embeddings": 64})", 8);
  phi.short_factors = {1, 1};
  phi.long_factors = {1, 1, 1, 1};
  EXPECT_THAT(refusal(phi), HasSubstr("2 entries"));
  phi.short_factors = {1, 1, 1, 1};
  phi.long_factors = {};
  EXPECT_THAT(refusal(phi), HasSubstr("0 entries"));
  for (
      const char* scaling :
      {R"({"rope_type": "longrope", "original_max_position_embeddings": 1, "short_factor": [1], "long_factor": [1]})",
       R"({"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 0})",
       R"({"rope_type": "linear", "factor": 1e999})"}) {
    auto json = parse_json(scaling, "scaling");
    if (!json.ok()) continue;  // a number no double holds ends there
    RopeRequest bad = request("null", 2);
    bad.scaling = *json;
    EXPECT_THAT(refusal(bad), HasSubstr("config.json")) << scaling;
  }
  RopeRequest theta = request(R"({"rope_type": "yarn", "factor": 2})", 8, 1.0);
  EXPECT_THAT(refusal(theta), HasSubstr("rope_theta")) << "turns are counted in powers of theta";
}

}  // namespace
}  // namespace sluice::model
