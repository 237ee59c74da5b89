#include "sched/prefill_pacer.h"

#include <gtest/gtest.h>

namespace sluice::sched {
namespace {

TEST(PrefillPacer, WithoutAPromiseThereIsNoLimit) {
  PrefillPacer pacer;
  pacer.observe(4, 100, 1);
  EXPECT_EQ(pacer.limit(), std::numeric_limits<int>::max());
}

// A machine whose steps cost 5 ms and 0.1 ms for each prompt token.
double cost(int prefill) { return 0.005 + 0.0001 * prefill; }

TEST(PrefillPacer, FillsThePromiseAndKeepsIt) {
  PrefillPacer pacer(0.025);
  for (int i = 0; i < 20; ++i) pacer.observe(8, 0, cost(0));
  for (int i = 0; i < 100; ++i) {
    const int tokens = std::min(pacer.limit(), 512);
    EXPECT_LE(cost(tokens), 0.0251) << "step " << i;
    pacer.observe(8, tokens, cost(tokens));
  }
  EXPECT_GT(cost(pacer.limit()), 0.02) << "the promise leaves room that is not used";
}

TEST(PrefillPacer, ShrinksAtOnceWhenTheMachineSlowsDownAndRecovers) {
  PrefillPacer pacer(0.025);
  for (int i = 0; i < 50; ++i) pacer.observe(8, i % 2 == 0 ? 0 : 100, cost(i % 2 == 0 ? 0 : 100));
  const int before = pacer.limit();
  pacer.observe(8, before, 4 * cost(before));
  EXPECT_LT(pacer.limit(), before / 3);
  for (int i = 0; i < 100; ++i) pacer.observe(8, 100, cost(100));
  EXPECT_NEAR(pacer.limit(), before, before / 10);
}

TEST(PrefillPacer, MovesPromptsThoughThePromiseCannotBeKept) {
  PrefillPacer pacer(0.001);
  for (int i = 0; i < 10; ++i) pacer.observe(8, 0, cost(0));
  pacer.observe(8, 10, cost(10));
  EXPECT_GE(pacer.limit(), 1);
}

}  // namespace
}  // namespace sluice::sched
