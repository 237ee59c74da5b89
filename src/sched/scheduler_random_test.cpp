// A million random steps: arrivals with shared prefixes, cancellations, failures, priorities, pools so small
// that sequences are preempted all the time, windows of several sizes, one to three steps in flight.
#include <gtest/gtest.h>

#include <random>

#include "sched/simulation.h"

namespace sluice::sched {
namespace {

constexpr int kVocab =
    4;  // so few that prefixes meet by chance, and that an end-of-sequence token comes soon
constexpr int kSeeds = 20;
constexpr int kStepsPerSeed = 52'000;

class Dice {
 public:
  explicit Dice(uint64_t seed) : bits_(seed) {}
  int between(int low, int high) {
    return low + static_cast<int>(bits_() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(1, 100) <= percent; }

 private:
  std::mt19937_64 bits_;
};

kv::Layout random_layout(Dice& dice) {
  kv::Layout layout{.page_tokens = dice.between(1, 5), .groups = {}};
  const int groups = dice.between(1, 3);
  const bool full = dice.chance(70);
  for (int g = 0; g < groups; ++g) {
    const int window = g == 0 && full ? 0 : dice.between(g == 0 ? 2 : 1, 20);
    layout.groups.push_back({fmt::format("group{}", g), window, dice.between(4, dice.chance(60) ? 16 : 50)});
  }
  return layout;
}

SchedulerConfig random_config(Dice& dice) {
  SchedulerConfig config;
  config.max_num_seqs = dice.between(1, 8);
  config.max_batched_tokens = config.max_num_seqs + dice.between(0, 30);
  config.mixed_prefill_tokens = dice.between(1, 20);
  config.max_model_len = dice.between(20, 60);
  config.max_waiting = dice.between(2, 12);
  config.max_in_flight_steps = dice.between(1, 3);
  config.preemption = dice.chance(80);
  config.protect_after_preemptions = dice.between(1, 4);
  config.protect_after_waiting_steps = dice.between(20, 200);
  if (dice.chance(70)) config.eos_tokens = {0};
  return config;
}

Request random_request(Dice& dice, const std::vector<std::vector<int32_t>>& openings, int max_total) {
  Request request;
  if (dice.chance(70))
    request.prompt = openings[static_cast<size_t>(dice.between(0, static_cast<int>(openings.size()) - 1))];
  const int more = dice.between(request.prompt.empty() ? 1 : 0, 12);
  for (int i = 0; i < more; ++i) request.prompt.push_back(dice.between(0, kVocab - 1));
  if (dice.chance(90))
    request.prompt.resize(
        std::min<size_t>(request.prompt.size(), static_cast<size_t>(std::max(1, max_total - 1))));
  const int room = max_total - static_cast<int>(request.prompt.size());
  request.max_tokens = dice.between(0, std::max(1, dice.chance(5) ? room + 2 : std::min(room, 40)));
  request.min_tokens = dice.chance(20) ? dice.between(0, 10) : 0;
  if (dice.chance(20)) request.stop_tokens = {dice.between(0, kVocab - 1)};
  request.ignore_eos = dice.chance(40);
  request.prompt_logits = dice.chance(10);
  request.priority = dice.chance(30) ? dice.between(-2, 2) : 0;
  if (dice.chance(20)) request.salt = "tenant";
  return request;
}

// One world from its beginning to the last page given back. Returns the steps it took.
int live(Dice& dice, Counts& totals) {
  const SchedulerConfig config = random_config(dice);
  const kv::Layout layout = random_layout(dice);
  Result<Scheduler> scheduler = Scheduler::create(config, layout);
  EXPECT_TRUE(scheduler.ok()) << scheduler.status().message();
  Simulation world(std::move(*scheduler), kVocab);
  std::vector<std::vector<int32_t>> openings(3);
  for (auto& opening : openings) {
    for (int i = dice.between(5, 25); i > 0; --i) opening.push_back(dice.between(0, kVocab - 1));
  }

  const int arrivals = dice.between(5, 60), cancels = dice.between(0, 6);  // percent per step
  int steps = 0;
  for (const int until = dice.between(50, 800); steps < until && world.ok();) {
    if (dice.chance(arrivals)) {
      const Request request = random_request(dice, openings, world.scheduler().max_total_tokens());
      const int total = static_cast<int>(request.prompt.size()) + request.max_tokens;
      const bool full = world.scheduler().counts().waiting >= config.max_waiting;
      const Status status = world.add(request);
      const bool fits = total <= world.scheduler().max_total_tokens() && request.max_tokens > 0;
      EXPECT_TRUE(status.ok() || full || !fits) << status.message();
    }
    if (dice.chance(cancels)) world.cancel(static_cast<size_t>(dice.between(0, 1000)));
    if (world.can_plan() && (!world.can_commit() || dice.chance(60))) {
      const int prefill_token_limit = dice.chance(10) ? dice.between(0, 5) : config.max_batched_tokens;
      const size_t fails = dice.chance(2) ? static_cast<size_t>(dice.between(0, 7)) : SIZE_MAX;
      const bool all_fail = dice.chance(1) && dice.chance(20);
      steps += world.plan(prefill_token_limit, {fails, all_fail}) ? 1 : 0;
    } else {
      world.commit();
    }
  }
  const Counts counts = world.scheduler().counts();
  totals.preemptions += counts.preemptions;
  totals.prefix_hit_tokens += counts.prefix_hit_tokens;
  totals.prefix_miss_tokens += counts.prefix_miss_tokens;
  totals.added += counts.added;
  totals.stopped += counts.stopped;
  steps += world.drain(100'000);
  for (const std::string& fault : world.faults()) ADD_FAILURE() << fault;
  return steps;
}

class SchedulerRandom : public testing::TestWithParam<int> {};

TEST_P(SchedulerRandom, KeepsEveryInvariant) {
  Counts totals;
  int steps = 0, worlds = 0;
  for (; steps < kStepsPerSeed && !HasFailure(); ++worlds) {
    const uint64_t seed = static_cast<uint64_t>(GetParam()) * 1'000'000 + static_cast<uint64_t>(worlds);
    SCOPED_TRACE(fmt::format("world {}", seed));
    Dice dice(seed);
    steps += live(dice, totals);
  }
  RecordProperty("steps", steps);
  // The test means something only if what it is about happens often.
  EXPECT_GT(totals.preemptions, 500u);
  EXPECT_GT(totals.prefix_hit_tokens, totals.prefix_miss_tokens / 20);
  EXPECT_GT(totals.stopped, totals.added / 20);
}
INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerRandom, testing::Range(0, kSeeds));

}  // namespace
}  // namespace sluice::sched
