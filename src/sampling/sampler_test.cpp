#include "sampling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace sluice::sampling {
namespace {

using testing::HasSubstr;

std::vector<double> softmax(std::span<const float> logits, double temperature = 1) {
  std::vector<double> p;
  double sum = 0;
  for (float v : logits) p.push_back(std::exp(static_cast<double>(v) / temperature));
  for (double v : p) sum += v;
  for (double& v : p) v /= sum;
  return p;
}

std::vector<float> logs(std::vector<double> probabilities) {
  std::vector<float> out;
  for (double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

int32_t choose(Sampler& sampler, std::vector<float> logits) {
  auto sample = sampler.choose(logits, static_cast<int32_t>(logits.size()));
  EXPECT_TRUE(sample.ok()) << sample.status().message();
  return sample.ok() ? sample->token : -1;
}

int32_t greedy(std::vector<float> logits, SamplingParams params = {}, std::vector<int32_t> prompt = {},
               std::vector<int32_t> outputs = {}) {
  params.temperature = 0;
  Sampler sampler(params, prompt, outputs);
  return choose(sampler, std::move(logits));
}

std::map<int32_t, int> counts(SamplingParams params, const std::vector<float>& logits, int draws) {
  params.seed = 7;
  Sampler sampler(params, {}, {});
  std::map<int32_t, int> out;
  for (int i = 0; i < draws; ++i) ++out[choose(sampler, logits)];
  return out;
}

// The tokens that can be chosen at all: each has at least 1 % here, so that 4000 draws miss none.
std::set<int32_t> kept(const SamplingParams& params, const std::vector<float>& logits) {
  std::set<int32_t> out;
  for (const auto& [token, n] : counts(params, logits, 4000)) out.insert(token);
  return out;
}

TEST(Greedy, TakesTheLowestIdOfEqualLogits) {
  EXPECT_EQ(greedy({1, 3, 2, 3, 3}), 1);
  EXPECT_EQ(greedy({-5, -5, -5}), 0);
  EXPECT_EQ(greedy({-INFINITY, -4, -INFINITY}), 1);
  std::vector<float> many(1000, -1.0f);
  many[700] = many[900] = 0.25f;
  EXPECT_EQ(greedy(many), 700);
}

TEST(Greedy, NeverChoosesPaddingIds) {
  std::vector<float> logits = {1, 2, 9, NAN};
  Sampler sampler({.temperature = 0}, {}, {});
  EXPECT_EQ(sampler.choose(logits, 2)->token, 1);
}

const std::vector<double> kProbabilities = {0.05, 0.30, 0.02, 0.25, 0.10, 0.20, 0.08};

TEST(Cuts, TopKKeepsExactlyTheKMostLikely) {
  EXPECT_EQ(kept({.top_k = 1}, logs(kProbabilities)), (std::set<int32_t>{1}));
  EXPECT_EQ(kept({.top_k = 3}, logs(kProbabilities)), (std::set<int32_t>{1, 3, 5}));
  for (int32_t all : {-1, 0, 7, 1'000'000})
    EXPECT_EQ(kept({.top_k = all}, logs(kProbabilities)).size(), 7u) << all;
  EXPECT_EQ(kept({.top_k = 2}, {1, 1, 1, 1}), (std::set<int32_t>{0, 1})) << "ties go to the lower ids";
}

TEST(Cuts, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(kept({.top_p = 0.29f}, logs(kProbabilities)), (std::set<int32_t>{1}));
  EXPECT_EQ(kept({.top_p = 0.31f}, logs(kProbabilities)), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(kept({.top_p = 0.54f}, logs(kProbabilities)), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(kept({.top_p = 0.56f}, logs(kProbabilities)), (std::set<int32_t>{1, 3, 5}));
  EXPECT_EQ(kept({.top_p = 1.0f}, logs(kProbabilities)).size(), 7u);
}

TEST(Cuts, TopPLooksPastItsFirstBatchOfCandidates) {
  // 100 equal tokens: 0.755 needs 76 of them, more than two batches of the search.
  EXPECT_EQ(kept({.top_p = 0.755f}, std::vector<float>(100, 0.5f)).size(), 76u);
}

TEST(Cuts, MinPKeepsThoseNearTheBest) {
  EXPECT_EQ(kept({.min_p = 0.6f}, logs(kProbabilities)), (std::set<int32_t>{1, 3, 5}));
  EXPECT_EQ(kept({.min_p = 0.9f}, logs(kProbabilities)), (std::set<int32_t>{1}));
  EXPECT_EQ(kept({.top_k = 2, .min_p = 0.6f}, logs(kProbabilities)), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(kept({.top_p = 0.9f, .min_p = 0.7f}, logs(kProbabilities)), (std::set<int32_t>{1, 3}));
}

TEST(Cuts, TopPIsAShareOfWhatTopKLeaves) {
  // Of the four most likely (0.85 in all) two hold 0.55 / 0.85 = 0.647.
  EXPECT_EQ(kept({.top_k = 4, .top_p = 0.64f}, logs(kProbabilities)), (std::set<int32_t>{1, 3}));
  EXPECT_EQ(kept({.top_k = 4, .top_p = 0.65f}, logs(kProbabilities)), (std::set<int32_t>{1, 3, 5}));
}

// Pearson's statistic of counts against probabilities.
double chi_square(const std::map<int32_t, int>& counts, const std::vector<double>& p, int draws) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const auto it = counts.find(static_cast<int32_t>(i));
    const double expected = p[i] * draws, seen = it == counts.end() ? 0 : it->second;
    if (expected > 0)
      sum += (seen - expected) * (seen - expected) / expected;
    else
      EXPECT_EQ(seen, 0) << i;
  }
  return sum;
}

const std::vector<float> kLogits = {0.3f, -1.2f, 2.0f, 0.9f, -0.4f, 1.1f, -2.5f, 0.0f, 1.7f, -0.8f};
constexpr double kQuantile = 33.7;  // of chi-square with 9 degrees of freedom at 1 - 1e-4
constexpr int kDraws = 50'000;

TEST(Distribution, IsTheSoftmaxOverTheSteps) {
  EXPECT_LT(chi_square(counts({}, kLogits, kDraws), softmax(kLogits), kDraws), kQuantile);
  for (float t : {0.5f, 2.0f}) {
    EXPECT_LT(chi_square(counts({.temperature = t}, kLogits, kDraws),
                         softmax(kLogits, static_cast<double>(t)), kDraws),
              kQuantile)
        << t;
  }
}

TEST(Distribution, IsTheSoftmaxOverTheSeeds) {
  std::map<int32_t, int> seen;
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    SamplingParams params;
    params.seed = seed;
    Sampler sampler(params, {}, {});
    ++seen[choose(sampler, kLogits)];
  }
  EXPECT_LT(chi_square(seen, softmax(kLogits), kDraws), kQuantile);
}

TEST(Distribution, IsRenormalisedOverWhatACutKeeps) {
  std::vector<double> p = softmax(kLogits);
  std::vector<double> sorted = p;
  std::sort(sorted.rbegin(), sorted.rend());
  double sum = 0;
  for (double& v : p) {
    if (v < sorted[3]) v = 0;
    sum += v;
  }
  for (double& v : p) v /= sum;
  EXPECT_LT(chi_square(counts({.top_k = 4}, kLogits, kDraws), p, kDraws), kQuantile);
  EXPECT_LT(chi_square(counts({.top_k = 4, .top_p = 0.9999f}, kLogits, kDraws), p, kDraws), kQuantile);
}

TEST(Distribution, SurvivesExtremeTemperatures) {
  EXPECT_EQ(kept({.temperature = 1e-6f}, kLogits), (std::set<int32_t>{2}));
  EXPECT_EQ(kept({.temperature = 1e-44f}, kLogits), (std::set<int32_t>{2}));  // its inverse is infinite
  EXPECT_EQ(kept({.temperature = 100}, kLogits).size(), 10u);
}

std::vector<int32_t> sequence(const SamplingParams& params, int length, size_t from = 0,
                              const std::vector<int32_t>& outputs = {}) {
  Sampler sampler(params, {}, outputs);
  std::vector<int32_t> out = outputs;
  for (size_t i = from; i < static_cast<size_t>(length); ++i) out.push_back(choose(sampler, kLogits));
  return out;
}

TEST(Seeds, GiveTheSameTokensAlsoAfterAnInterruption) {
  SamplingParams params;
  params.seed = 42;
  params.frequency_penalty = 0.3f;
  const std::vector<int32_t> whole = sequence(params, 64);
  EXPECT_EQ(sequence(params, 64), whole);
  for (size_t at : {size_t{1}, size_t{20}, size_t{63}}) {
    EXPECT_EQ(sequence(params, 64, at, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(at)}),
              whole)
        << at;
  }
  params.seed = 43;
  EXPECT_NE(sequence(params, 64), whole);
}

TEST(Seeds, GiveTheSameTokensWhoeverChooses) {
  const SamplingParams params{.temperature = 0.7f, .top_k = 8, .top_p = 0.95f, .min_p = 0.01f, .seed = 42};
  const std::vector<int32_t> whole = sequence(params, 64);
  Sampler sampler(params, {}, {});
  const auto by = [](const ops::Choice& choice) {
    ops::Candidates kept;
    const double sum = ops::candidates(kLogits, ops::largest_logit(kLogits).value, choice, kept);
    return ops::token_at(kept, sum, choice.place);
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(by(*sampler.plain_choice(0)), whole[i]);
    if (i + 1 < whole.size()) {
      EXPECT_EQ(by(*sampler.plain_choice(1)), whole[i + 1]) << "ahead of what was told";
    }
    EXPECT_EQ(i % 2 == 0 ? choose(sampler, kLogits) : sampler.take(whole[i])->token, whole[i]);
  }
  EXPECT_EQ(sampler.take(-1).status().code(), StatusCode::internal);
}

TEST(Seeds, AreRandomWhereNoneIsGiven) { EXPECT_NE(sequence({}, 64), sequence({}, 64)); }

TEST(Penalties, RepetitionDividesPositiveAndMultipliesNegativeLogits) {
  // Token 0: in the prompt; token 2: in the output. 4 / 2 = 2 < 3; -1 * 2 = -2 < -1.5.
  const SamplingParams params{.repetition_penalty = 2};
  EXPECT_EQ(greedy({4, 3, 1}, params, {0}), 1);
  EXPECT_EQ(greedy({4, 1.9f, 1}, params, {0}), 0);
  EXPECT_EQ(greedy({-1, -1.5f, -9}, params, {0}), 1);
  EXPECT_EQ(greedy({-1, -2.1f, -9}, params, {0}), 0);
  EXPECT_EQ(greedy({1, 3, 4}, params, {}, {2}), 1);
  EXPECT_EQ(greedy({4, 3, 1}, params, {0, 0, 0}), 1) << "once, however often the prompt has it";
}

TEST(Penalties, PresenceCountsOnceAndFrequencyEachTime) {
  EXPECT_EQ(greedy({2, 1.4f}, {.presence_penalty = 0.5f}, {}, {0, 0, 0}), 0);
  EXPECT_EQ(greedy({2, 1.6f}, {.presence_penalty = 0.5f}, {}, {0, 0, 0}), 1);
  EXPECT_EQ(greedy({2, 0.6f}, {.frequency_penalty = 0.5f}, {}, {0, 0, 0}), 1);
  EXPECT_EQ(greedy({2, 0.4f}, {.frequency_penalty = 0.5f}, {}, {0, 0, 0}), 0);
  EXPECT_EQ(greedy({2, 1}, {.presence_penalty = 2, .frequency_penalty = 2}, {0, 0}), 0)
      << "the prompt does not count";
  EXPECT_EQ(greedy({1, 2}, {.presence_penalty = -2}, {}, {0}), 0) << "negative ones reward";
}

TEST(Penalties, SeeTheTokensChosenSince) {
  Sampler sampler({.temperature = 0, .presence_penalty = 1}, {}, {});
  EXPECT_EQ(choose(sampler, {2, 1.5f, 0}), 0);
  EXPECT_EQ(choose(sampler, {2, 1.5f, 0}), 1);
  EXPECT_EQ(choose(sampler, {2, 1.5f, 0}), 0);
}

TEST(MinTokens, KeepsEndTokensFromBeingChosenTooEarly) {
  for (float temperature : {0.0f, 0.01f}) {
    Sampler sampler({.temperature = temperature, .min_tokens = 2}, {}, {}, {1, 500});
    EXPECT_EQ(choose(sampler, {0, 9, 3}), 2);
    EXPECT_EQ(choose(sampler, {0, 9, 3}), 2);
    EXPECT_EQ(choose(sampler, {0, 9, 3}), 1);
  }
  Sampler resumed({.temperature = 0, .min_tokens = 2}, {}, std::vector<int32_t>{2}, {1});
  EXPECT_EQ(choose(resumed, {0, 9, 3}), 2);
  EXPECT_EQ(choose(resumed, {0, 9, 3}), 1);
}

TEST(PlainChoice, IsThereWhereTheRowIsAllThatMatters) {
  const auto plain = [](const SamplingParams& params, int ahead = 0) {
    return Sampler(params, {}, {}, {1}).plain_choice(ahead).has_value();
  };
  EXPECT_TRUE(plain({.temperature = 0}));
  EXPECT_TRUE(plain({.top_k = -1, .top_p = 0.5f, .min_p = 0.1f}));
  EXPECT_FALSE(plain({.repetition_penalty = 1.1f}));
  EXPECT_FALSE(plain({.presence_penalty = 1}));
  EXPECT_FALSE(plain({.frequency_penalty = 1}));
  EXPECT_FALSE(plain({.logprobs = 0}));
  EXPECT_FALSE(plain({.min_tokens = 1}));
  EXPECT_TRUE(plain({.min_tokens = 1}, 1)) << "by then the end may come";
  EXPECT_FALSE(plain({.min_tokens = 2}, 1));
}

TEST(Unusable, LogitsAreAnErrorNotAToken) {
  const auto refusal = [](std::vector<float> logits, SamplingParams params = {}) {
    Sampler sampler(params, std::vector<int32_t>{0}, {}, {0});
    auto sample = sampler.choose(logits, static_cast<int32_t>(logits.size()));
    return sample.ok() ? "chose " + std::to_string(sample->token) : sample.status().message();
  };
  for (float temperature : {0.0f, 1.0f}) {
    const SamplingParams params{.temperature = temperature};
    EXPECT_THAT(refusal({0, NAN, 1}, params), HasSubstr("NaN"));
    EXPECT_THAT(refusal({NAN, NAN}, params), HasSubstr("NaN"));
    EXPECT_THAT(refusal({-INFINITY, -INFINITY}, params), HasSubstr("not finite"));
    EXPECT_THAT(refusal({0, INFINITY}, params), HasSubstr("not finite"));
    // A penalty may overflow, and an end that must not come yet may be the only choice.
    EXPECT_THAT(refusal({1e30f, 1}, {.temperature = temperature, .repetition_penalty = 1e-30f}),
                HasSubstr("not finite"));
    EXPECT_THAT(refusal({1, -INFINITY}, {.temperature = temperature, .min_tokens = 1}),
                HasSubstr("not finite"));
  }
}

TEST(Logprobs, AreTheLogSoftmaxOfTheModelsOwnDistribution) {
  const std::vector<double> p = softmax(kLogits);
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0}, SamplingParams{.temperature = 0.3f}, SamplingParams{.top_k = 2},
        SamplingParams{.temperature = 0, .repetition_penalty = 5},
        SamplingParams{.temperature = 0, .min_tokens = 9}}) {
    SamplingParams with = params;
    with.logprobs = 4;
    Sampler sampler(with, std::vector<int32_t>{2, 8}, {}, {2});
    std::vector<float> logits = kLogits;
    const auto sample = sampler.choose(logits, static_cast<int32_t>(logits.size()));
    ASSERT_TRUE(sample.ok() && sample->logprobs);
    const TokenLogprobs& l = *sample->logprobs;
    EXPECT_NEAR(static_cast<double>(l.logprob), std::log(p[static_cast<size_t>(sample->token)]), 1e-6);
    EXPECT_EQ(l.rank, std::count_if(p.begin(), p.end(),
                                    [&](double v) { return v > p[static_cast<size_t>(sample->token)]; }));
    ASSERT_EQ(l.top.size(), 4u);
    const int32_t best[] = {2, 8, 5, 3};
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(l.top[i].first, best[i]);
      EXPECT_NEAR(static_cast<double>(l.top[i].second), std::log(p[static_cast<size_t>(best[i])]), 1e-6);
    }
  }
}

TEST(Logprobs, AreOnlyThereWhenAskedFor) {
  std::vector<float> logits = {5, 5, 1};
  Sampler none({.temperature = 0}, {}, {});
  EXPECT_FALSE(none.choose(logits, 3)->logprobs);
  Sampler zero({.temperature = 0, .logprobs = 0}, {}, {});
  EXPECT_TRUE(zero.choose(logits, 3)->logprobs->top.empty());
  Sampler more({.temperature = 0, .logprobs = 20}, {}, {});
  const auto top = more.choose(logits, 3)->logprobs->top;
  ASSERT_EQ(top.size(), 3u) << "no more than there are tokens";
  EXPECT_EQ(top[0].first, 0);  // ties by id
  EXPECT_EQ(top[1].first, 1);
}

struct BadParams {
  SamplingParams params;
  const char* field;
};

TEST(Params, AreRefusedByNameWhenOutOfRange) {
  const BadParams bad[] = {
      {{.temperature = -0.1f}, "temperature"},
      {{.temperature = NAN}, "temperature"},
      {{.temperature = INFINITY}, "temperature"},
      {{.top_k = -2}, "top_k"},
      {{.top_p = 0}, "top_p"},
      {{.top_p = 1.0001f}, "top_p"},
      {{.top_p = NAN}, "top_p"},
      {{.min_p = -0.1f}, "min_p"},
      {{.min_p = 1.1f}, "min_p"},
      {{.repetition_penalty = 0}, "repetition_penalty"},
      {{.repetition_penalty = -1}, "repetition_penalty"},
      {{.presence_penalty = 2.1f}, "presence_penalty"},
      {{.frequency_penalty = -2.1f}, "frequency_penalty"},
      {{.max_tokens = -1}, "max_tokens"},
      {{.min_tokens = -1}, "min_tokens"},
      {{.max_tokens = 3, .min_tokens = 4}, "min_tokens"},
      {{.stop = {"ok", ""}}, "stop"},
      {{.stop = std::vector<std::string>(65, "x")}, "stop"},
      {{.logprobs = 21}, "logprobs"},
      {{.logprobs = -2}, "logprobs"},
  };
  for (const BadParams& b : bad) {
    const Status status = validate(b.params);
    EXPECT_EQ(status.code(), StatusCode::invalid_argument) << b.field;
    EXPECT_THAT(status.message(), HasSubstr(b.field));
  }
  EXPECT_TRUE(validate({}).ok());
  EXPECT_TRUE(validate({.temperature = 0, .top_k = -1, .max_tokens = 0, .logprobs = 0}).ok());
}

TEST(LogitBias, MovesTheChoiceAndNotTheReportedLogprobs) {
  const std::vector<float> row = {1, 3, 2};
  Sampler sampler({.temperature = 0, .logit_bias = {{2, 1.5f}, {1, -100}, {90, 5}}, .logprobs = 1}, {}, {});
  std::vector<float> logits = row;
  const auto sample = sampler.choose(logits, 3);
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->token, 2);
  EXPECT_FALSE(sampler.plain_choice());
  EXPECT_EQ(sample->logprobs->logprob, logprobs_of(row, 2, 0).logprob) << "of the model's own distribution";
  EXPECT_FALSE(Sampler({.temperature = 0, .logit_bias = {{0, 1}}}, {}, {}).plain_choice());
  EXPECT_FALSE(validate({.logit_bias = {{0, 101}}}).ok());
  EXPECT_FALSE(validate({.logit_bias = {{-1, 1}}}).ok());
}

}  // namespace
}  // namespace sluice::sampling
