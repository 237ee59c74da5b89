// The engine stepped by hand: what a request gives must not depend on its company, on how its prompt is cut
// or on what the cache already holds.
#include "engine/core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "engine/testing/cores.h"
#include "model/testing/loose_checkpoint.h"
#include "model/testing/poisoned_checkpoint.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::engine {
namespace {

using model::testing::kBadToken;
using model::testing::TempDirectory;
using model::testing::TinyModel;
using sched::FinishReason;
using ::testing::AllOf;
using testing::alone;
using testing::Driver;
using ::testing::HasSubstr;
using testing::make_core;
using testing::Outcome;

// Checkpoints are made once for the whole program.
const std::string& tiny(const TinyModel& model) {
  static std::map<std::string, std::unique_ptr<TempDirectory>> made;
  auto& dir = made[model.arch + std::to_string(static_cast<int>(model.dtype))];
  if (dir == nullptr) {
    dir = std::make_unique<TempDirectory>();
    const Status status = model::testing::write_tiny_checkpoint(dir->path(), model);
    SLUICE_CHECK(status.ok(), "{}", status.message());
  }
  return dir->path();
}

model::Recipe recipe(int64_t batch_tokens = 512, bool invariant = true) {
  model::Recipe r;
  r.max_seq_len = 128;
  r.max_sequences = 16;
  r.max_batch_tokens = batch_tokens;
  r.page_tokens = 16;
  r.kv_tokens = 320;  // room for a few of the sixteen that would run, and less once they have grown
  r.batch_invariant = invariant;
  return r;
}

std::vector<int32_t> ids(std::mt19937& random, int n) {
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) out.push_back(static_cast<int32_t>(random() % 120));
  return out;
}

// Mixed lengths; half of them begin like others; greedy and sampled, with and without log-probabilities.
std::vector<CoreRequest> requests(bool greedy_only) {
  std::mt19937 random(11);
  std::vector<std::vector<int32_t>> prefixes;
  for (int i = 0; i < 4; ++i) prefixes.push_back(ids(random, 36));
  std::vector<CoreRequest> out;
  for (int i = 0; i < 64; ++i) {
    CoreRequest r;
    if (i % 2 == 0) r.prompt = prefixes[static_cast<size_t>(i / 2) % prefixes.size()];
    for (int32_t id : ids(random, 1 + static_cast<int>(random() % (i % 2 == 0 ? 12 : i % 3 == 0 ? 90 : 30))))
      r.prompt.push_back(id);
    r.sampling.max_tokens = 1 + static_cast<int>(random() % 60);
    r.sampling.ignore_eos = i % 3 != 0;
    r.sampling.temperature = greedy_only || i % 4 == 0 ? 0.0f : 0.8f;
    r.sampling.seed = 1000 + static_cast<uint64_t>(i);
    if (i % 5 == 0) r.sampling.logprobs = 3;
    if (i % 7 == 0) r.sampling.repetition_penalty = 1.3f;
    r.priority = i % 6 == 0 ? 1 : 0;
    out.push_back(std::move(r));
  }
  return out;
}

std::vector<Outcome> each_alone(const std::string& path, model::Recipe r,
                                const std::vector<CoreRequest>& all) {
  const auto core = make_core(path, r);
  std::vector<Outcome> out;
  for (const CoreRequest& request : all) out.push_back(alone(*core, request));
  return out;
}

// Everything at once, arriving over the first steps, some of it cancelled on the way.
struct Together {
  std::vector<Outcome> outcomes;
  sched::Counts counts;
};
Together all_together(const std::string& path, const model::Recipe& r, const std::vector<CoreRequest>& all) {
  const auto core = make_core(path, r);
  Driver driver(*core);
  std::mt19937 random(5);
  std::vector<RequestId> added;
  while (added.size() < all.size() || core->busy()) {
    for (int i = 0; i < 8 && added.size() < all.size(); ++i) added.push_back(driver.add(all[added.size()]));
    if (random() % 16 == 0) driver.cancel(added[random() % added.size()]);
    driver.step();
    const auto problems = core->scheduler().validate();
    SLUICE_CHECK(problems.empty(), "{}", problems.front());
  }
  Together out;
  for (RequestId id : added) out.outcomes.push_back(driver[id]);
  out.counts = core->scheduler().counts();
  return out;
}

struct Company {
  const char* name;
  TinyModel model;
  const char* precision;
  // Kernels chosen by the number of rows sum in different orders, where that is allowed. If inputs of
  // products are rounded to int8 or bf16, a last bit may move one by a step, which a logit feels (up to 0.013
  // on AMX).
  float margin = 0.02f;
};

class InCompany : public ::testing::TestWithParam<Company> {
 protected:
  const std::string& path() const { return tiny(GetParam().model); }
  model::Recipe with_precision(model::Recipe r) const {
    r.precision = *model::precision_from_name(GetParam().precision);
    return r;
  }
};

TEST_P(InCompany, BatchInvariantResultsAreBitwiseThoseAlone) {
  const std::vector<CoreRequest> all = requests(false);
  const std::vector<Outcome> want = each_alone(path(), with_precision(recipe()), all);
  for (int64_t chunk : {16, 64, 512}) {
    const Together got = all_together(path(), with_precision(recipe(chunk)), all);
    EXPECT_GT(got.counts.preemptions, 0u) << "the pool is meant to be too small";
    EXPECT_GT(got.counts.prefix_hit_tokens, 0u);
    int finished = 0, cancelled = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(fmt::format("request {} in steps of {}", i, chunk));
      const Outcome& o = got.outcomes[i];
      ASSERT_TRUE(o.finish);
      if (*o.finish == FinishReason::cancelled) {
        ++cancelled;
        ASSERT_LE(o.tokens.size(), want[i].tokens.size());
        EXPECT_TRUE(std::equal(o.tokens.begin(), o.tokens.end(), want[i].tokens.begin()));
        continue;
      }
      ++finished;
      EXPECT_EQ(*o.finish, *want[i].finish);
      EXPECT_EQ(o.tokens, want[i].tokens);
      EXPECT_EQ(o.logprobs, want[i].logprobs);
      EXPECT_EQ(o.logits, want[i].logits);
    }
    EXPECT_GT(finished, 30);
    EXPECT_GT(cancelled, 3);
  }
}

// Where two greedy runs part, the one's choice must have been close.
void expect_equal_up_to_margin(const Outcome& got, const Outcome& want, int num_prompt, float margin) {
  for (size_t t = 0; t < std::min(got.tokens.size(), want.tokens.size()); ++t) {
    const int position = num_prompt - 1 + static_cast<int>(t);
    const auto a = got.logits.find(position), b = want.logits.find(position);
    if (a == got.logits.end()) continue;  // sampled before a preemption, from logits seen then
    ASSERT_NE(b, want.logits.end());
    for (size_t v = 0; v < a->second.size(); ++v)
      ASSERT_NEAR(a->second[v], b->second[v], margin / 2) << "token " << v;
    if (got.tokens[t] == want.tokens[t]) continue;
    const float chosen = b->second[static_cast<size_t>(got.tokens[t])],
                best = b->second[static_cast<size_t>(want.tokens[t])];
    EXPECT_LT(best - chosen, margin) << "output " << t;
    return;  // from here on they answer different prompts
  }
}

TEST_P(InCompany, OtherResultsAreThoseAloneUpToTheMargin) {
  const std::vector<CoreRequest> all = requests(true);
  const std::vector<Outcome> want = each_alone(path(), with_precision(recipe(512, false)), all);
  for (int64_t chunk : {16, 512}) {
    const Together got = all_together(path(), with_precision(recipe(chunk, false)), all);
    for (size_t i = 0; i < all.size(); ++i) {
      SCOPED_TRACE(fmt::format("request {} in steps of {}", i, chunk));
      expect_equal_up_to_margin(got.outcomes[i], want[i], static_cast<int>(all[i].prompt.size()),
                                GetParam().margin);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, InCompany,
    ::testing::Values(Company{"llama_f32", {}, "auto"}, Company{"llama_q8_0", {}, "q8_0", 0.1f},
                      Company{"gemma2_bf16", {.arch = "gemma2", .dtype = DType::bf16}, "auto", 0.1f},
                      Company{"mixtral_f32", {.arch = "mixtral"}, "auto"},
                      Company{"mixtral_q4_0", {.arch = "mixtral"}, "q4_0", 0.1f}),
    [](const auto& test) { return test.param.name; });

TEST(Prefixes, FoundInTheCacheChangeNothing) {
  const auto core = make_core(tiny({}), recipe());
  std::mt19937 random(3);
  CoreRequest request;
  request.prompt = ids(random, 100);
  request.sampling = {.temperature = 0, .max_tokens = 8, .ignore_eos = true};
  const Outcome want = alone(*core, request);
  for (int again : {1, 2}) {
    Driver driver(*core);
    const RequestId id = driver.add(request);
    driver.drain();
    EXPECT_EQ(driver[id].tokens, want.tokens) << again;
    EXPECT_EQ(driver[id].logits, want.logits) << again;
  }
  EXPECT_GE(core->scheduler().counts().prefix_hit_tokens, 96u) << "the second time six pages were there";
}

// --- long rope
// ------------------------------------------------------------------------------------------------

TEST(LongRope, CrossedInTheMiddleEqualsAFreshComputation) {
  TempDirectory dir;
  auto loose = *model::testing::read_loose(tiny({}));
  loose.config["rope_scaling"] = {{"rope_type", "longrope"},
                                  {"original_max_position_embeddings", 40},
                                  {"short_factor", {1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7}},
                                  {"long_factor", {1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 16.0}}};
  ASSERT_TRUE(model::testing::write_loose(dir.path(), loose).ok());
  const auto core = make_core(dir.path(), recipe());

  // One that crosses, beside one that stays short and one that is long from the start, all with one prefix.
  std::mt19937 random(9);
  CoreRequest crossing, shorter, longer;
  crossing.prompt = shorter.prompt = longer.prompt = ids(random, 33);
  for (int32_t id : ids(random, 30)) longer.prompt.push_back(id);
  for (CoreRequest* r : {&crossing, &shorter, &longer})
    r->sampling = {.temperature = 0, .max_tokens = 5, .ignore_eos = true};
  crossing.sampling.max_tokens = 30;
  Driver driver(*core);
  const RequestId a = driver.add(crossing), b = driver.add(shorter), c = driver.add(longer);
  driver.drain();
  EXPECT_EQ(driver[b].logits, alone(*core, shorter).logits);
  EXPECT_EQ(driver[c].logits, alone(*core, longer).logits);

  const Outcome& got = driver[a];
  ASSERT_EQ(got.tokens.size(), 30u);
  CoreRequest fresh = crossing;
  fresh.sampling.max_tokens = 1;
  for (size_t t = 0; t < got.tokens.size(); ++t) {
    const Outcome want = alone(*core, fresh);
    ASSERT_EQ(got.tokens[t], want.tokens[0]) << "with " << fresh.prompt.size() << " tokens before";
    EXPECT_EQ(got.logits.at(static_cast<int>(fresh.prompt.size()) - 1), want.logits.rbegin()->second) << t;
    fresh.prompt.push_back(got.tokens[t]);
  }
}

// --- failures
// -------------------------------------------------------------------------------------------------

TEST(NanLogits, EndTheirRequestAndNoOther) {
  TempDirectory dir;
  ASSERT_TRUE(model::testing::write_poisoned_checkpoint(dir.path()).ok());
  const auto core = make_core(dir.path(), recipe());
  std::mt19937 random(4);
  std::vector<CoreRequest> good;
  for (int i = 0; i < 12; ++i) {
    CoreRequest r;
    r.prompt = ids(random, 5 + 7 * i);
    std::replace(r.prompt.begin(), r.prompt.end(), kBadToken, 1);
    r.sampling = {.temperature = 0, .max_tokens = 6, .ignore_eos = true};
    good.push_back(r);
  }
  std::vector<Outcome> want;
  for (const CoreRequest& r : good) want.push_back(alone(*core, r));
  for (const Outcome& o : want) {
    ASSERT_EQ(o.tokens.size(), 6u);
    ASSERT_EQ(std::count(o.tokens.begin(), o.tokens.end(), kBadToken), 0);
  }
  // Twice: the second time the pages that held NaN belong to others.
  for (int round : {1, 2}) {
    Driver driver(*core);
    std::vector<RequestId> added, bad;
    for (size_t i = 0; i < good.size(); ++i) {
      CoreRequest r = good[i];
      r.salt = fmt::format("round {}", round);
      added.push_back(driver.add(r));
      r.prompt[r.prompt.size() / 2] = kBadToken;
      bad.push_back(driver.add(r));
    }
    driver.drain();
    for (size_t i = 0; i < good.size(); ++i) {
      EXPECT_EQ(driver[bad[i]].finish, FinishReason::error) << i;
      EXPECT_THAT(driver[bad[i]].error.message(), HasSubstr("NaN")) << i;
      EXPECT_TRUE(driver[bad[i]].tokens.empty()) << i;
      EXPECT_EQ(driver[added[i]].tokens, want[i].tokens) << i;
      EXPECT_EQ(driver[added[i]].logits, want[i].logits) << i;
    }
  }
  EXPECT_EQ(core->scheduler().counts().failed, 24u);
}

TEST(Failures, OfAStepEndItsSequencesAndTheCoreGoesOn) {
  const auto core = make_core(tiny({}), recipe());
  CoreRequest request;
  request.prompt = {1, 2, 3};
  request.sampling = {.temperature = 0, .max_tokens = 4, .ignore_eos = true};
  const Outcome want = alone(*core, request);
  Driver driver(*core);
  const RequestId hit = driver.add(request);
  core->executor().observe([](size_t step) {
    if (step == 3) throw std::runtime_error("a broken invariant");
  });
  driver.drain();
  EXPECT_EQ(driver[hit].finish, FinishReason::error);
  EXPECT_THAT(driver[hit].error.message(), HasSubstr("a broken invariant"));
  core->executor().observe({});
  EXPECT_EQ(alone(*core, request).logits, want.logits);
}

TEST(NanWeights, AreRefusedByName) {
  for (const auto& [name, element] :
       {std::pair{"model.layers.1.mlp.up_proj.weight", 5 * 64 + 9}, std::pair{"model.norm.weight", 3},
        std::pair{"model.embed_tokens.weight", 0}}) {
    for (float bad : {NAN, INFINITY}) {
      TempDirectory dir;
      auto loose = *model::testing::read_loose(tiny({}));
      loose.tensors.at(name).values[static_cast<size_t>(element)] = bad;
      ASSERT_TRUE(model::testing::write_loose(dir.path(), loose).ok());
      const auto core = testing::open_core(dir.path(), recipe());
      ASSERT_FALSE(core.ok()) << name;
      EXPECT_THAT(core.status().message(),
                  AllOf(HasSubstr(dir.path()), HasSubstr(name), HasSubstr("NaN or infinite")));
    }
  }
}

// --- what is asked for
// ----------------------------------------------------------------------------------------

TEST(Requests, ThatCannotRunAreRefusedWithTheNumbers) {
  const auto core = make_core(tiny({}), recipe());
  const auto refusal = [&](std::vector<int32_t> prompt, SamplingParams sampling = {}) {
    CoreRequest r;
    r.prompt = std::move(prompt);
    r.sampling = std::move(sampling);
    auto id = core->add(std::move(r));
    return id.ok() ? std::string("added") : id.status().message();
  };
  EXPECT_THAT(refusal({}), HasSubstr("empty"));
  EXPECT_THAT(refusal(std::vector<int32_t>(128, 1)), AllOf(HasSubstr("128 tokens"), HasSubstr("127")));
  EXPECT_THAT(refusal(std::vector<int32_t>(5000, 1)),
              AllOf(HasSubstr("5000 tokens"), HasSubstr("--max_seq_len 128")));
  EXPECT_THAT(refusal({1, 128}), AllOf(HasSubstr("token 128 at position 1"), HasSubstr("vocabulary of 128")));
  EXPECT_THAT(refusal({-1}), HasSubstr("token -1 at position 0"));
  EXPECT_THAT(refusal({1}, {.stop_token_ids = {128}}), HasSubstr("stop_token_ids: 128"));
  EXPECT_THAT(refusal({1}, {.temperature = -1}), HasSubstr("temperature"));
  EXPECT_FALSE(core->busy()) << "nothing of them is left";
}

TEST(Requests, EndAtTheirLength) {
  const auto core = make_core(tiny({}), recipe());
  const auto outcome = [&](int prompt, int max_tokens) {
    CoreRequest r;
    r.prompt.assign(static_cast<size_t>(prompt), 5);
    r.sampling = {.temperature = 0, .max_tokens = max_tokens, .ignore_eos = true};
    return alone(*core, r);
  };
  EXPECT_TRUE(outcome(10, 0).tokens.empty());
  EXPECT_EQ(outcome(10, 0).finish, FinishReason::length);
  EXPECT_EQ(outcome(128, 0).finish, FinishReason::length) << "a prompt alone may fill the context";
  EXPECT_EQ(outcome(10, 1).tokens.size(), 1u);
  EXPECT_EQ(outcome(127, 1).tokens.size(), 1u);
  EXPECT_EQ(outcome(120, 1000).tokens.size(), 8u) << "up to max_seq_len";
  EXPECT_EQ(outcome(120, 1000).finish, FinishReason::length);
}

TEST(Requests, EndAtTheirEndTokens) {
  const auto core = make_core(tiny({}), recipe());
  CoreRequest r;
  r.prompt = {3, 1, 4, 1, 5};
  r.sampling = {.temperature = 0, .max_tokens = 40, .ignore_eos = true};
  const std::vector<int32_t> free = alone(*core, r).tokens;
  ASSERT_EQ(free.size(), 40u);
  const auto first = static_cast<size_t>(std::find(free.begin(), free.end(), free[12]) - free.begin());
  r.sampling.stop_token_ids = {free[12]};
  const Outcome stopped = alone(*core, r);
  EXPECT_EQ(stopped.finish, FinishReason::stop);
  EXPECT_EQ(stopped.tokens.size(), first + 1) << "the stop token is the last output";
  // Not before min_tokens: another token is chosen in its place.
  r.sampling.min_tokens = 30;
  const Outcome later = alone(*core, r);
  EXPECT_GE(later.tokens.size(), 30u);
  for (size_t i = 0; i < 30; ++i) EXPECT_NE(later.tokens[i], free[12]) << i;
}

TEST(Requests, GetTheLogitsOfEveryPromptPosition) {
  const auto core = make_core(tiny({}), recipe(16));
  std::mt19937 random(2);
  CoreRequest r;
  r.prompt = ids(random, 60);
  r.sampling = {.temperature = 0, .max_tokens = 1, .ignore_eos = true};
  r.prompt_logits = true;
  const Outcome all = alone(*core, r);
  ASSERT_EQ(all.logits.size(), 60u);
  r.prompt_logits = false;
  for (size_t n : {size_t{1}, size_t{17}, size_t{60}}) {
    CoreRequest part = r;
    part.prompt.resize(n);
    EXPECT_EQ(alone(*core, part).logits.at(static_cast<int>(n) - 1), all.logits.at(static_cast<int>(n) - 1))
        << n;
  }
}

TEST(Vocabulary, IdsBeyondTheTokenizersAreNeverChosen) {
  auto backend = cpu::make_cpu_backend({.threads = 1});
  auto model = LoadedModel::load(tiny({}), recipe(), *std::move(backend), {});
  ASSERT_TRUE(model.ok());
  auto core = Core::create(*std::move(model), 10);
  ASSERT_TRUE(core.ok());
  CoreRequest r;
  r.prompt = {1, 100};
  r.sampling = {.temperature = 5, .seed = 3, .max_tokens = 60, .ignore_eos = true};
  for (int32_t token : alone(**core, r).tokens) EXPECT_LT(token, 10);
}

TEST(Memory, IsPlannedBeforeItIsTaken) {
  auto backend = cpu::make_cpu_backend({.threads = 1});
  model::Recipe r = recipe();
  const auto planned =
      LoadedModel::plan_only(tiny({.arch = "gemma2", .dtype = DType::bf16}), r, *std::move(backend), {});
  ASSERT_TRUE(planned.ok());
  const MemoryPlan& plan = (*planned)->plan();
  ASSERT_EQ(plan.kv.size(), 2u);
  EXPECT_EQ(plan.kv[0].window, 0);
  EXPECT_EQ(plan.kv[0].pages, 20) << "320 tokens in pages of 16";
  EXPECT_EQ(plan.kv[0].page_bytes, 2u * 2 * 16 * 16 * 2)
      << "one layer: keys and values of 2 heads of 16 in f16";
  EXPECT_EQ(plan.total(), plan.weights + plan.activations + plan.workspace + plan.kv_bytes() + plan.batch +
                              plan.sampling + plan.pinned + plan.tokenizer);
  EXPECT_EQ(plan.pinned + plan.sampling + plan.streamed, 0u)
      << "the CPU reads and writes where the host does";
  auto larger_pages = cpu::make_cpu_backend({.threads = 1});
  larger_pages->page_tokens = 64;
  r.page_tokens = 0;
  const auto by_backend = LoadedModel::plan_only(tiny({}), r, *std::move(larger_pages), {});
  ASSERT_TRUE(by_backend.ok());
  EXPECT_EQ((*by_backend)->plan().kv[0].pages, 5) << "320 tokens in pages of 64";
  r.kv_tokens = int64_t{1} << 39;
  auto another = cpu::make_cpu_backend({.threads = 1});
  const auto too_much = LoadedModel::plan_only(tiny({}), r, *std::move(another), {});
  EXPECT_THAT(too_much.status().message(), HasSubstr("--kv_tokens"));
}

}  // namespace
}  // namespace sluice::engine
