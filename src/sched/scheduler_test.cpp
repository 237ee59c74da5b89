#include "sched/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/check.h"
#include "sched/simulation.h"

namespace sluice::sched {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int32_t kEos = 9;

kv::Layout pages(int n, int page_tokens = 4) {
  return {.page_tokens = page_tokens, .groups = {{"full", 0, n}}};
}

Scheduler make(SchedulerConfig config, kv::Layout layout = pages(100)) {
  config.eos_tokens = {kEos};
  Result<Scheduler> scheduler = Scheduler::create(std::move(config), std::move(layout));
  EXPECT_TRUE(scheduler.ok()) << scheduler.status().message();
  return std::move(*scheduler);
}

Request prompt(int tokens, int32_t first = 1) {
  Request request{.prompt = std::vector<int32_t>(static_cast<size_t>(tokens), 5)};
  request.prompt[0] = first;  // unequal first tokens: nothing to share
  return request;
}

SequenceId must_add(Scheduler& scheduler, Request request) {
  const Result<SequenceId> id = scheduler.add(std::move(request));
  EXPECT_TRUE(id.ok()) << id.status().message();
  return id.ok() ? *id : 0;
}

StepResult answer(const StepPlan& plan, int32_t token) {
  StepResult result{.step = plan.step};
  for (const StepEntry& entry : plan.entries)
    result.entries.push_back({.token = entry.sample ? token : kNoToken});
  return result;
}

// Plans and commits one step in which every sample is `token`.
std::vector<Update> step(Scheduler& scheduler, int32_t token) {
  const StepPlan plan = scheduler.plan();
  return plan.empty() ? std::vector<Update>() : scheduler.commit(answer(plan, token));
}

// The reason and the outputs of a lone request whose samples are `samples`.
std::pair<std::optional<FinishReason>, int> run_alone(Request request, const std::vector<int32_t>& samples) {
  Scheduler scheduler = make({});
  must_add(scheduler, std::move(request));
  int outputs = 0;
  for (int32_t sample : samples) {
    for (const Update& update : step(scheduler, sample)) {
      outputs += update.token != kNoToken;
      if (update.finish) return {update.finish, outputs};
    }
  }
  return {std::nullopt, outputs};
}

TEST(SchedulerConfig, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(SchedulerConfig{.max_num_seqs = 0}.check().message(), HasSubstr("max_num_seqs is 0"));
  EXPECT_THAT((SchedulerConfig{.max_num_seqs = 64, .max_batched_tokens = 63}.check().message()),
              HasSubstr("max_batched_tokens is 63"));
  EXPECT_THAT(SchedulerConfig{.max_in_flight_steps = 0}.check().message(),
              HasSubstr("max_in_flight_steps is 0"));
  EXPECT_EQ(Scheduler::create({}, pages(0)).status().code(), StatusCode::invalid_argument);
}

TEST(Scheduler, RefusesWhatCanNeverFitWithTheNumbers) {
  Scheduler scheduler = make({.max_model_len = 50, .max_waiting = 1}, pages(10));
  EXPECT_EQ(scheduler.max_total_tokens(), 41);  // the last output needs no page
  Request request = prompt(30);
  request.max_tokens = 12;
  const Status status = scheduler.add(request).status();
  EXPECT_EQ(status.code(), StatusCode::invalid_argument);
  EXPECT_THAT(status.message(), HasSubstr("together 42; at most 41 fit"));
  request.max_tokens = 11;
  EXPECT_TRUE(scheduler.add(request).ok());
  EXPECT_EQ(scheduler.add(request).status().code(), StatusCode::resource_exhausted);

  EXPECT_THAT(scheduler.add({}).status().message(), HasSubstr("empty"));
  EXPECT_THAT(scheduler.add({.prompt = {1, -1}}).status().message(), HasSubstr("token 1 is -1"));
  EXPECT_THAT(scheduler.add({.prompt = {1}, .max_tokens = -1}).status().message(),
              HasSubstr("max_tokens is -1"));
  EXPECT_THAT(scheduler.add({.prompt = {1}, .max_tokens = INT32_MAX}).status().message(),
              HasSubstr("2147483648"));
}

TEST(Scheduler, EndsForTheRightReason) {
  using enum FinishReason;
  const auto request = [](int max_tokens) {
    Request r = prompt(3);
    r.max_tokens = max_tokens;
    return r;
  };
  EXPECT_EQ(run_alone(request(3), {1, 2, 3, 4}), std::pair(std::optional(length), 3));
  EXPECT_EQ(run_alone(request(3), {1, kEos}), std::pair(std::optional(stop), 2));
  EXPECT_EQ(run_alone(request(2), {1, kEos}), std::pair(std::optional(stop), 2));
  EXPECT_EQ(run_alone(request(0), {1}), std::pair(std::optional(length), 0));

  Request r = request(4);
  r.ignore_eos = true;
  EXPECT_EQ(run_alone(r, {kEos, kEos, kEos, kEos}), std::pair(std::optional(length), 4));
  r.stop_tokens = {2};
  EXPECT_EQ(run_alone(r, {kEos, 2}), std::pair(std::optional(stop), 2));
  r = request(9);
  r.min_tokens = 2;
  EXPECT_EQ(run_alone(r, {kEos, kEos}), std::pair(std::optional(stop), 2));
}

TEST(Scheduler, DecodesFirstAndFillsTheStepWithPrefill) {
  Scheduler scheduler = make({.max_num_seqs = 4, .max_batched_tokens = 16, .mixed_prefill_tokens = 6});
  const SequenceId a = must_add(scheduler, prompt(20, 1));
  StepPlan plan = scheduler.plan();
  ASSERT_THAT(plan.entries, SizeIs(1));  // nobody decodes: the whole budget
  EXPECT_EQ(plan.entries[0].count, 16);
  EXPECT_FALSE(plan.entries[0].sample);
  scheduler.commit(answer(plan, 1));
  step(scheduler, 1);

  const SequenceId b = must_add(scheduler, prompt(20, 2));
  plan = scheduler.plan();
  ASSERT_THAT(plan.entries, SizeIs(2));
  EXPECT_EQ(plan.num_decodes, 1);
  EXPECT_EQ(plan.entries[0].id, a);
  EXPECT_EQ(plan.entries[0].first, 20);
  EXPECT_EQ(plan.entries[1].id, b);
  EXPECT_EQ(plan.entries[1].count, 6);
  EXPECT_TRUE(plan.entries[1].joins);
  EXPECT_THAT(to_string(plan), HasSubstr("1 decodes, 1 chunks, 7 tokens"));
  scheduler.commit(answer(plan, 1));

  plan = scheduler.plan(/*prefill_token_limit=*/2);
  ASSERT_THAT(plan.entries, SizeIs(2));
  EXPECT_EQ(plan.entries[1].count, 2);
  EXPECT_FALSE(plan.entries[1].joins);
  scheduler.commit(answer(plan, 1));
  EXPECT_THAT(scheduler.validate(), IsEmpty());
}

TEST(Scheduler, ALongPromptComesInBesideEveryRunningStream) {
  constexpr int kStreams = 64, kPrompt = 4000, kPrefill = 100;
  Scheduler scheduler = make(
      {.max_num_seqs = kStreams + 1, .max_batched_tokens = 2048, .mixed_prefill_tokens = 512}, pages(3000));
  for (int32_t i = 0; i < kStreams; ++i) {
    Request stream = prompt(8, i + 10);
    stream.max_tokens = 100;
    stream.ignore_eos = true;
    must_add(scheduler, std::move(stream));
  }
  step(scheduler, 5);
  const SequenceId late = must_add(scheduler, prompt(kPrompt, 1));
  int steps = 0;
  for (bool begun = false; !begun; ++steps) {
    const StepPlan plan = scheduler.plan(kPrefill);
    ASSERT_EQ(plan.num_decodes, kStreams) << "nobody waits for the prompt";
    EXPECT_LE(plan.num_tokens() - plan.num_decodes, kPrefill);
    for (const Update& update : scheduler.commit(answer(plan, 5))) begun |= update.id == late;
  }
  EXPECT_EQ(steps, kPrompt / kPrefill) << "and it comes in as fast as it may";
}

TEST(Scheduler, HigherPriorityIsAdmittedFirst) {
  Scheduler scheduler = make({.max_num_seqs = 1, .preemption = false});
  must_add(scheduler, prompt(3, 1));
  Request urgent = prompt(3, 2);
  urgent.priority = 1;
  const SequenceId id = must_add(scheduler, urgent);
  EXPECT_EQ(scheduler.plan().entries[0].id, id);
}

TEST(Scheduler, AWaitingSequenceDisplacesLowerPrioritiesButNotItsEquals) {
  Scheduler scheduler = make({.max_num_seqs = 1, .protect_after_waiting_steps = 1});
  const SequenceId running = must_add(scheduler, prompt(3, 1)), equal = must_add(scheduler, prompt(3, 2));
  for (int i = 0; i < 5; ++i) step(scheduler, 1);
  EXPECT_TRUE(scheduler.find(equal)->protected_);
  EXPECT_EQ(scheduler.find(equal)->slot, -1);
  scheduler.cancel(equal);

  Request urgent = prompt(3, 3);
  urgent.priority = 1;
  const SequenceId id = must_add(scheduler, urgent);
  const StepPlan plan = scheduler.plan();
  EXPECT_THAT(plan.preempted, ElementsAre(running));
  ASSERT_THAT(plan.entries, SizeIs(1));
  EXPECT_EQ(plan.entries[0].id, id);
  EXPECT_THAT(scheduler.validate(), IsEmpty());
}

TEST(Scheduler, WithTwoStepsInFlightTheTokenStaysOnTheDevice) {
  Scheduler scheduler = make({.max_in_flight_steps = 2});
  const SequenceId id = must_add(scheduler, prompt(3));
  const StepPlan first = scheduler.plan(), second = scheduler.plan();
  EXPECT_THAT(second.tokens, ElementsAre(kPreviousSample));
  EXPECT_EQ(second.entries[0].first, 3);
  EXPECT_THROW(scheduler.plan(), CheckFailure);

  EXPECT_THAT(scheduler.commit(answer(first, 7)), ElementsAre(testing::Field(&Update::token, 7)));
  EXPECT_THAT(scheduler.find(id)->tokens, ElementsAre(1, 5, 5, 7));
  const StepPlan third = scheduler.plan();
  const std::vector<Update> updates = scheduler.commit(answer(second, kEos));
  ASSERT_THAT(updates, SizeIs(1));
  EXPECT_EQ(updates[0].finish, FinishReason::stop);
  EXPECT_EQ(scheduler.find(id), nullptr);
  EXPECT_EQ(scheduler.books().pool(0).num_used(), 0);
  EXPECT_THAT(scheduler.commit(answer(third, 8)), IsEmpty());  // the step that was one too many
  EXPECT_THAT(scheduler.validate(), IsEmpty());
}

TEST(Scheduler, NeverPlansBeyondTheLastOutput) {
  Scheduler scheduler = make({.max_in_flight_steps = 2});
  Request request = prompt(3);
  request.max_tokens = 1;
  must_add(scheduler, request);
  const StepPlan plan = scheduler.plan();
  EXPECT_TRUE(scheduler.plan().empty());
  EXPECT_EQ(scheduler.commit(answer(plan, 1))[0].finish, FinishReason::length);
}

TEST(Scheduler, CancelEndsOnceAtAnyMoment) {
  Scheduler scheduler = make({.max_num_seqs = 1, .max_in_flight_steps = 2});
  const SequenceId running = must_add(scheduler, prompt(3, 1)), waiting = must_add(scheduler, prompt(3, 2));
  const StepPlan plan = scheduler.plan();
  EXPECT_TRUE(scheduler.cancel(running));
  EXPECT_TRUE(scheduler.finish(waiting, FinishReason::stop));
  EXPECT_FALSE(scheduler.cancel(running));
  EXPECT_FALSE(scheduler.has_sequences());
  EXPECT_EQ(scheduler.books().available(0), 100);
  EXPECT_THAT(scheduler.commit(answer(plan, 1)), IsEmpty());
  EXPECT_EQ(scheduler.counts().cancelled, 1u);
  EXPECT_THAT(scheduler.validate(), IsEmpty());
}

TEST(Scheduler, AFailedEntryEndsAloneAFailedStepEndsAll) {
  Scheduler scheduler = make({});
  const SequenceId a = must_add(scheduler, prompt(8, 1)), b = must_add(scheduler, prompt(8, 2));
  StepPlan plan = scheduler.plan();
  StepResult result = answer(plan, 1);
  result.entries[0] = {.status = internal_error("logits are NaN")};
  std::vector<Update> updates = scheduler.commit(result);
  ASSERT_THAT(updates, SizeIs(2));
  EXPECT_EQ(updates[0].id, a);
  EXPECT_EQ(updates[0].finish, FinishReason::error);
  EXPECT_EQ(updates[0].error.message(), "logits are NaN");
  EXPECT_EQ(updates[1].finish, std::nullopt);
  EXPECT_EQ(scheduler.books().match("", prompt(8, 1).prompt, 8), 0);  // nothing of it is shared
  EXPECT_EQ(scheduler.books().match("", prompt(8, 2).prompt, 8), 8);

  plan = scheduler.plan();
  updates = scheduler.commit({.step = plan.step, .status = internal_error("the device is lost")});
  ASSERT_THAT(updates, SizeIs(1));
  EXPECT_EQ(updates[0].id, b);
  EXPECT_EQ(updates[0].finish, FinishReason::error);
  EXPECT_FALSE(scheduler.has_sequences());
  EXPECT_THAT(scheduler.validate(), IsEmpty());
}

TEST(Scheduler, AResultOfAnotherStepChangesNothing) {
  Scheduler scheduler = make({});
  must_add(scheduler, prompt(3));
  const StepPlan plan = scheduler.plan();
  EXPECT_THROW(scheduler.commit({.step = plan.step + 1}), CheckFailure);
  EXPECT_THROW(scheduler.commit({.step = plan.step}), CheckFailure);  // an entry is missing
  EXPECT_THAT(scheduler.validate(), IsEmpty());
  EXPECT_THAT(scheduler.commit(answer(plan, 1)), SizeIs(1));
}

TEST(Scheduler, EqualPromptsShareTheirPagesWhileTheyRun) {
  Scheduler scheduler = make({});
  must_add(scheduler, prompt(18));
  step(scheduler, 1);
  must_add(scheduler, prompt(18));
  const StepPlan plan = scheduler.plan();
  ASSERT_THAT(plan.entries, SizeIs(2));
  EXPECT_EQ(plan.entries[1].first, 16);
  EXPECT_EQ(plan.entries[1].count, 2);
  EXPECT_EQ(scheduler.books().pool(0).num_used(), 6);
  EXPECT_EQ(scheduler.counts().prefix_hit_tokens, 16u);
}

TEST(Scheduler, PromptLogitsAreComputedEvenWhereThePrefixIsKnown) {
  Scheduler scheduler = make({.max_batched_tokens = 64});
  must_add(scheduler, prompt(18));
  step(scheduler, 1);
  Request request = prompt(18);
  request.prompt_logits = true;
  must_add(scheduler, request);
  const StepPlan plan = scheduler.plan();
  EXPECT_EQ(plan.entries[1].first, 0);
  EXPECT_EQ(plan.entries[1].num_logits, 18);
  EXPECT_TRUE(plan.entries[1].sample);
}

TEST(Scheduler, ThePreemptedIsTheNewestOfTheLowestPriorityAndLosesNothing) {
  Simulation world(make({.max_num_seqs = 4}, pages(9)), /*vocab=*/1000);
  for (int32_t i = 0; i < 3; ++i) {
    Request request = prompt(8, i + 1);
    request.max_tokens = 20;
    request.ignore_eos = true;
    request.priority = i == 0 ? -1 : 0;
    ASSERT_TRUE(world.add(request).ok());
  }
  std::vector<int> preemptions(4);
  while (world.scheduler().has_sequences() && world.ok()) {
    world.plan();
    world.commit();
    for (SequenceId id = 1; id <= 3; ++id) {
      if (const Sequence* s = world.scheduler().find(id)) preemptions[id] = s->preemptions;
    }
  }
  EXPECT_THAT(world.faults(), IsEmpty());  // every output is what it would have been alone
  EXPECT_GT(preemptions[1], 0);
  EXPECT_EQ(preemptions[2], 0);
  EXPECT_GE(preemptions[1], preemptions[3]);
}

TEST(Scheduler, NobodyStarvesUnderAStreamOfHigherPriority) {
  SchedulerConfig config{.max_num_seqs = 2, .protect_after_waiting_steps = 50};
  Simulation world(make(config, pages(8)), 1000);
  Request humble = prompt(8, 1);
  humble.priority = -1;
  ASSERT_TRUE(world.add(humble).ok());
  int32_t first = 2;
  for (int i = 0; i < 500 && world.scheduler().find(1) != nullptr; ++i) {
    Request urgent = prompt(8, ++first);
    urgent.priority = 1;
    if (world.scheduler().counts().waiting < 10) {
      ASSERT_TRUE(world.add(urgent).ok());
    }
    world.plan();
    world.commit();
  }
  EXPECT_EQ(world.scheduler().find(1), nullptr);
  EXPECT_GT(world.scheduler().counts().steps, 50u);
  EXPECT_THAT(world.faults(), IsEmpty());
}

TEST(Scheduler, WithoutPreemptionNobodyIsAdmittedWhoMightNotFinish) {
  Simulation world(make({.preemption = false}, pages(9)), 1000);
  for (int32_t i = 0; i < 3; ++i) {
    Request request = prompt(8, i + 1);
    request.max_tokens = 9;  // four pages each
    request.ignore_eos = true;
    ASSERT_TRUE(world.add(request).ok());
  }
  world.plan();
  EXPECT_EQ(world.scheduler().counts().running, 2);
  world.drain(100);
  EXPECT_EQ(world.scheduler().counts().preemptions, 0u);
  EXPECT_THAT(world.faults(), IsEmpty());
}

// The host's share of a step must vanish beside the device's: 64 sequences of 2,000 tokens, two groups of
// layers.
TEST(Scheduler, PlansAndCommitsASmallStepInMicroseconds) {
  constexpr int kSequences = 64, kSteps = 500;
  Scheduler scheduler =
      make({.max_num_seqs = kSequences, .max_batched_tokens = 1 << 18, .max_in_flight_steps = 2},
           {.page_tokens = 32, .groups = {{"full", 0, 8192}, {"window", 512, 4096}}});
  for (int32_t i = 0; i < kSequences; ++i) {
    Request request = prompt(2000, i);
    request.max_tokens = 1500;
    must_add(scheduler, request);
  }
  std::deque<StepPlan> in_flight;
  in_flight.push_back(scheduler.plan());
  ASSERT_THAT(in_flight.back().entries, SizeIs(kSequences));
  std::vector<double> took_us;
  for (int i = 0; i < kSteps; ++i) {
    const StepResult result = answer(in_flight.front(), 1);
    const auto begin = std::chrono::steady_clock::now();
    in_flight.push_back(scheduler.plan());
    scheduler.commit(result);
    took_us.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    in_flight.pop_front();
  }
  std::sort(took_us.begin(), took_us.end());
  const double median_us = took_us[kSteps / 2];
  printf("plan + commit, %d decoding sequences: min %.1f, median %.1f, 95 %% %.1f us per step\n", kSequences,
         took_us.front(), median_us, took_us[kSteps * 95 / 100]);
  RecordProperty("median_us", std::to_string(median_us));
  EXPECT_LT(median_us, 5000);  // far above what it takes, for slow machines and sanitizers
}

}  // namespace
}  // namespace sluice::sched
