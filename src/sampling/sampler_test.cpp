#include "sampling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "text/tiny_tokenizers.h"

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
    EXPECT_EQ(by(*sampler.choice_elsewhere(0)), whole[i]);
    if (i + 1 < whole.size()) {
      EXPECT_EQ(by(*sampler.choice_elsewhere(1)), whole[i + 1]) << "ahead of what was told";
    }
    EXPECT_EQ(i % 2 == 0 ? choose(sampler, kLogits) : sampler.take(whole[i], {})->token, whole[i]);
  }
  EXPECT_EQ(sampler.take(-1, {}).status().code(), StatusCode::internal);
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

/// Chooses as a device does, which knows a sampler's past from when its sequence came to it.
class Elsewhere {
 public:
  explicit Elsewhere(const Sampler& sampler) { sampler.write_past(seen_, biases_); }
  int32_t choose(const ops::Choice& choice) {
    std::vector<float> logits = kLogits;
    for (size_t id = 0; id < logits.size(); ++id) logits[id] = ops::penalised(logits[id], seen_[id], choice);
    for (int32_t i = 0; i < choice.biases; ++i) {
      const ops::Bias& bias = biases_[static_cast<size_t>(i)];
      if (static_cast<size_t>(bias.id) < logits.size()) logits[static_cast<size_t>(bias.id)] += bias.value;
    }
    const ops::Largest largest = ops::largest_logit(logits);
    int32_t token = largest.place;
    if (choice.temperature > 0) {
      const double sum = ops::candidates(logits, largest.value, choice, kept_);
      token = ops::token_at(kept_, sum, choice.place);
    }
    ++seen_[static_cast<size_t>(token)];
    return token;
  }

 private:
  std::vector<ops::Seen> seen_ = std::vector<ops::Seen>(kLogits.size(), 9);  // of whoever was there before
  std::vector<ops::Bias> biases_ = std::vector<ops::Bias>(ops::kMostBiases);
  ops::Candidates kept_;
};

TEST(ChoiceElsewhere, IsTheSamplersOwn) {
  const std::vector<int32_t> prompt = {1, 1, 8, 3};
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0, .repetition_penalty = 2},
        SamplingParams{.temperature = 0, .presence_penalty = 1, .frequency_penalty = 0.3f},
        SamplingParams{.temperature = 0, .presence_penalty = -2, .frequency_penalty = 0.4f},
        SamplingParams{.temperature = 0, .min_tokens = 20},
        SamplingParams{.temperature = 0,
        .frequency_penalty = 0.5f,
        .logit_bias = {{1, 3}, {1, 4.5f}, {5, -100}, {1000, 100}}},
        SamplingParams{.temperature = 1.5f,
        .top_p = 0.9f,
        .repetition_penalty = 0.7f,
        .frequency_penalty = 0.5f,
        .seed = 4,
        .min_tokens = 9,
        .logit_bias = {{2, 1}, {8, 2}},
        .logprobs = 3}}) {
    Sampler host(params, prompt, {}, {2, 5}), told(params, prompt, {}, {2, 5});
    std::vector<int32_t> outputs;
    std::optional<Elsewhere> device;
    for (size_t i = 0; i < 40; ++i) {
      if (i % 16 == 0) device.emplace(told);  // at first, and when it has been sent back
      std::vector<float> logits = kLogits;
      const auto want = host.choose(logits, static_cast<int32_t>(logits.size()));
      ASSERT_TRUE(want.ok());
      const std::optional<ops::Choice> choice = told.choice_elsewhere();
      ASSERT_TRUE(choice);
      EXPECT_EQ(choice->logprobs, params.logprobs);
      const int32_t token = device->choose(*choice);
      EXPECT_EQ(token, want->token) << i;
      const auto taken = told.take(token, ops::logprobs_of(kLogits, token, std::max(choice->logprobs, 0)));
      ASSERT_TRUE(taken.ok());
      ASSERT_EQ(taken->logprobs.has_value(), want->logprobs.has_value());
      if (want->logprobs) {
        EXPECT_EQ(taken->logprobs->top, want->logprobs->top);
      }
      outputs.push_back(token);
    }
    EXPECT_TRUE(told.has_past());
    EXPECT_NE(outputs, std::vector<int32_t>(outputs.size(), outputs[0])) << "the past is meant to matter";
  }
}

TEST(ChoiceElsewhere, IsForAllOrNoneOfASamplersChoices) {
  const auto elsewhere = [](const SamplingParams& params, int ahead = 0) {
    return Sampler(params, {}, {}, {1}).choice_elsewhere(ahead);
  };
  EXPECT_FALSE(Sampler({.top_k = 5}, {}, {}, {1}).has_past());
  EXPECT_EQ(elsewhere({.min_tokens = 1})->biases, 1);
  EXPECT_EQ(elsewhere({.min_tokens = 1}, 1)->biases, 0) << "by then the end may come";
  SamplingParams many;
  for (int32_t id = 0; id < ops::kMostBiases; ++id) many.logit_bias.emplace_back(id, 1.0f);
  EXPECT_TRUE(elsewhere(many));
  many.logit_bias.emplace_back(100'000, 1.0f);
  EXPECT_FALSE(elsewhere(many)) << "more than a slot holds";
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
      {{.bad_words = {"a", ""}}, "bad_words"},
      {{.bad_words = std::vector<std::string>(1025, "x")}, "bad_words"},
      {{.allowed_token_ids = std::vector<int32_t>()}, "allowed_token_ids"},
      {{.logprob_token_ids = {1}}, "logprob_token_ids"},
      {{.logprobs = 0, .logprob_token_ids = std::vector<int32_t>(129)}, "logprob_token_ids"},
  };
  for (const BadParams& b : bad) {
    const Status status = validate(b.params);
    EXPECT_EQ(status.code(), StatusCode::invalid_argument) << b.field;
    EXPECT_THAT(status.message(), HasSubstr(b.field));
  }
  EXPECT_TRUE(validate({}).ok());
  EXPECT_TRUE(validate({.temperature = 0, .top_k = -1, .max_tokens = 0, .logprobs = 0}).ok());
}

TEST(Params, IdsBeyondTheVocabularyAreRefusedByName) {
  EXPECT_TRUE(validate_token_ids({.stop_token_ids = {9}, .allowed_token_ids = {{0, 9}}}, 10).ok());
  const BadParams bad[] = {
      {{.stop_token_ids = {3, 10}}, "stop_token_ids: 10"},
      {{.stop_token_ids = {-1}}, "stop_token_ids: -1"},
      {{.allowed_token_ids = {{3, 10}}}, "allowed_token_ids: 10"},
      {{.logprob_token_ids = {-7}}, "logprob_token_ids: -7"},
  };
  for (const BadParams& b : bad) EXPECT_THAT(validate_token_ids(b.params, 10).message(), HasSubstr(b.field));
}

TEST(Restrictions, NothingElseThanWhatIsAllowedIsChosen) {
  EXPECT_EQ(kept({.allowed_token_ids = {{0, 4, 6, 90}}}, logs(kProbabilities)), (std::set<int32_t>{0, 4, 6}));
  EXPECT_EQ(greedy({5, 1, 2, 9}, {.allowed_token_ids = {{1, 2}}}), 2);
  EXPECT_EQ(greedy({5, 1, 2, 9}, {.logit_bias = {{1, 50}}, .allowed_token_ids = {{1, 2}}}), 1);
  std::vector<float> logits = {5, 1, -INFINITY};
  Sampler impossible({.temperature = 0, .allowed_token_ids = {{2, 7}}}, {}, {});
  const auto none = impossible.choose(logits, 3);
  EXPECT_EQ(none.status().code(), StatusCode::invalid_argument);
  EXPECT_THAT(none.status().message(), HasSubstr("allowed_token_ids"));
}

// Only what completes a word is ruled out, and only behind the rest of it in the output.
TEST(Restrictions, BadWordsNeverComeToTheirEnd) {
  const auto words = std::make_shared<const BadWords>(BadWords::Tokens{{3}, {0, 1}, {2, 0, 2}});
  const auto next = [&](std::vector<int32_t> outputs, std::vector<float> logits) {
    Sampler sampler({.temperature = 0}, std::vector<int32_t>{2, 0}, outputs, {}, nullptr, words);
    return choose(sampler, std::move(logits));
  };
  EXPECT_EQ(next({}, {1, 2, 3, 9}), 2) << "the word of one token, and the prompt does not count";
  EXPECT_EQ(next({0}, {1, 8, 3, 9}), 2) << "0 1";
  EXPECT_EQ(next({0, 2}, {1, 8, 3, 9}), 1);
  EXPECT_EQ(next({2, 0}, {1, 2, 8, 9}), 0) << "2 0 2, and 0 1 as well";
  EXPECT_EQ(next({0, 0}, {1, 2, 8, 9}), 2);
  // What it chooses itself counts too.
  Sampler sampler({.temperature = 0}, {}, {}, {}, nullptr, words);
  std::vector<int32_t> outputs;
  for (int i = 0; i < 6; ++i) outputs.push_back(choose(sampler, {5, 4, 3, 9}));
  EXPECT_EQ(outputs, (std::vector<int32_t>{0, 0, 0, 0, 0, 0}));
  for (const std::vector<float>& logits : {std::vector<float>{1, 9, 0, 0}, {1, 0, 9, 0}, {9, 0, 0, 0}})
    outputs.push_back(choose(sampler, logits));
  EXPECT_EQ(outputs, (std::vector<int32_t>{0, 0, 0, 0, 0, 0, 0, 2, 0}));
  EXPECT_EQ(choose(sampler, {1, 8, 9, 0}), 0);
}

TEST(Restrictions, AreNotForChoicesMadeElsewhere) {
  const auto words = std::make_shared<const BadWords>(BadWords::Tokens{{3}});
  EXPECT_FALSE(Sampler({}, {}, {}, {}, nullptr, words).choice_elsewhere());
  EXPECT_FALSE(Sampler({.allowed_token_ids = {{1}}}, {}, {}).choice_elsewhere());
  EXPECT_FALSE(Sampler({.logprobs = 0, .logprob_token_ids = {1}}, {}, {}).choice_elsewhere());
  EXPECT_TRUE(Sampler({.allowed_token_ids = {{1}}}, {}, {}).needs_logits());
  EXPECT_TRUE(Sampler({.logprobs = 0}, {}, {}).choice_elsewhere());
}

TEST(BadWords, AreSpeltAsAtTheBeginAndBehindASpace) {
  const text::Tokenizer bytes = text::tiny::make(text::tiny::byte_level_json());
  const auto words = [&](std::vector<std::string> list) {
    auto made = BadWords::encode(bytes, list);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return (*made)->words();
  };
  const auto ids = [&](const char* text) { return *bytes.encode(text, {.add_special = false}); };
  EXPECT_EQ(words({"wo"}), (BadWords::Tokens{ids(" wo"), ids("wo")}));
  EXPECT_EQ(words({" wo"}), words({"wo"})) << "a space before it says no more";
  EXPECT_EQ(words({"hello"}), (BadWords::Tokens{ids("hello")})) << "behind a space it is spelt alike";
  EXPECT_EQ(words({" "}).back(), ids(" "));
  const auto special = words({"<|user|>"}).back();
  ASSERT_EQ(special.size(), 1u);
  EXPECT_TRUE(bytes.is_special(special[0]));
}

TEST(Logprobs, OfChosenIdsTakeThePlaceOfTheMostLikely) {
  const std::vector<double> p = softmax(kLogits);
  Sampler sampler(
      {.temperature = 0, .allowed_token_ids = {{5}}, .logprobs = 2, .logprob_token_ids = {7, 5, 2, 500}}, {},
      {});
  std::vector<float> logits = kLogits;
  const auto sample = sampler.choose(logits, static_cast<int32_t>(logits.size()));
  ASSERT_TRUE(sample.ok() && sample->logprobs);
  const auto& top = sample->logprobs->top;
  ASSERT_EQ(top.size(), 4u);
  for (size_t i = 0; i < 3; ++i) {
    const int32_t id = std::vector<int32_t>{7, 5, 2}[i];
    EXPECT_EQ(top[i].first, id);
    EXPECT_NEAR(static_cast<double>(top[i].second), std::log(p[static_cast<size_t>(id)]), 1e-6);
  }
  EXPECT_EQ(top[1].second, sample->logprobs->logprob) << "the very same number";
  EXPECT_EQ(top[3].second, -INFINITY) << "padding";
}

TEST(LogitBias, MovesTheChoiceAndNotTheReportedLogprobs) {
  const std::vector<float> row = {1, 3, 2};
  Sampler sampler({.temperature = 0, .logit_bias = {{2, 1.5f}, {1, -100}, {90, 5}}, .logprobs = 1}, {}, {});
  std::vector<float> logits = row;
  const auto sample = sampler.choose(logits, 3);
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->token, 2);
  EXPECT_EQ(sample->logprobs->logprob, ops::logprobs_of(row, 2, 0).chosen)
      << "of the model's own distribution";
  EXPECT_FALSE(validate({.logit_bias = {{0, 101}}}).ok());
  EXPECT_FALSE(validate({.logit_bias = {{-1, 1}}}).ok());
}

}  // namespace
}  // namespace sluice::sampling
