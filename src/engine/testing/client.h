// A core's client, and what it must stand, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>

#include "engine/testing/cores.h"

namespace sluice::engine::testing {

/// Random ids below 120, all outputs wanted.
inline CoreRequest request(std::mt19937& random, int prompt, int outputs) {
  CoreRequest r;
  for (int i = 0; i < prompt; ++i) r.prompt.push_back(static_cast<int32_t>(random() % 120));
  r.sampling = {.temperature = 0, .max_tokens = outputs, .ignore_eos = true};
  return r;
}

/// As a client does, without asking for logits.
class Client {
 public:
  explicit Client(Core& core) : core_(core) {}
  RequestId add(const CoreRequest& r) {
    auto id = core_.add(r);
    SLUICE_CHECK(id.ok(), "{}", id.status().message());
    outcomes_[*id] = {};
    return *id;
  }
  void step() {
    std::vector<CoreEvent> events;
    SLUICE_CHECK(core_.step(events), "the core stands still");
    for (CoreEvent& e : events) {
      Outcome& out = outcomes_.at(e.id);
      SLUICE_CHECK(!out.finish, "request {} goes on after its end", e.id);
      if (e.token >= 0) out.tokens.push_back(e.token);
      if (e.logprobs) {
        out.logprobs.push_back(e.logprobs->logprob);
        out.logprobs.push_back(static_cast<float>(e.logprobs->rank));
        for (const auto& [id, logprob] : e.logprobs->top) {
          out.logprobs.push_back(static_cast<float>(id));
          out.logprobs.push_back(logprob);
        }
      }
      if (e.finish) out.finish = e.finish, out.error = std::move(e.error);
    }
  }
  void drain() {
    while (core_.busy()) step();
  }
  void cancel(RequestId id) {
    if (core_.finish(id, sched::FinishReason::cancelled))
      outcomes_.at(id).finish = sched::FinishReason::cancelled;
  }
  const std::map<RequestId, Outcome>& outcomes() const { return outcomes_; }
  void forget_finished() {
    std::erase_if(outcomes_, [](const auto& entry) { return entry.second.finish.has_value(); });
  }

 private:
  Core& core_;
  std::map<RequestId, Outcome> outcomes_;
};

/// Puts a core through so many requests of at most 42 tokens, whose prompts often begin alike. Some are
/// cancelled while they run or wait; its pool is meant to be so small that others are preempted.
inline void soak(Core& core, uint64_t num_requests) {
  const sched::Counts before = core.scheduler().counts();
  std::mt19937 random(17);
  std::vector<CoreRequest> prefixes;
  for (int i = 0; i < 5; ++i) prefixes.push_back(request(random, 20, 1));
  Client client(core);
  uint64_t added = 0, ended = 0;
  while (added < num_requests || core.busy()) {
    for (int i = 0; i < 4 && added < num_requests && core.scheduler().counts().waiting < 32; ++i, ++added) {
      CoreRequest next =
          request(random, 1 + static_cast<int>(random() % 30), 1 + static_cast<int>(random() % 12));
      if (random() % 2 == 0) next.prompt = prefixes[random() % prefixes.size()].prompt;
      if (random() % 8 == 0) next.sampling.temperature = 0.7f;
      next.priority = static_cast<int>(random() % 3);
      client.add(next);
    }
    if (random() % 3 == 0 && !client.outcomes().empty()) {
      auto victim = client.outcomes().begin();
      std::advance(victim, random() % client.outcomes().size());
      client.cancel(victim->first);
    }
    if (core.busy()) client.step();
    ended += static_cast<uint64_t>(
        std::count_if(client.outcomes().begin(), client.outcomes().end(),
                      [](const auto& entry) { return entry.second.finish.has_value(); }));
    client.forget_finished();
    if (random() % 64 == 0) {
      const auto problems = core.scheduler().validate();
      ASSERT_TRUE(problems.empty()) << problems.front();
    }
  }
  EXPECT_EQ(ended, num_requests) << "each ended, and once";
  const sched::Counts after = core.scheduler().counts();
  const uint64_t cancelled = after.cancelled - before.cancelled;
  EXPECT_EQ(after.added - before.added, num_requests);
  EXPECT_EQ(after.reached_length - before.reached_length + cancelled, num_requests);
  EXPECT_GT(cancelled, num_requests / 50);
  EXPECT_GT(after.preemptions - before.preemptions, num_requests / 100);
  EXPECT_EQ(after.waiting + after.running, 0);
  EXPECT_TRUE(core.scheduler().validate().empty());
}

}  // namespace sluice::engine::testing
