#include "kv/page_pool.h"

#include <gtest/gtest.h>

#include "base/check.h"

namespace sluice::kv {
namespace {

TEST(PagePool, TakesHoldsAndDrops) {
  PagePool pool(2);
  const PageId a = pool.take();
  EXPECT_EQ(a, 0);
  pool.hold(a);
  pool.drop(a);
  EXPECT_EQ(pool.num_used(), 1);
  pool.drop(a);
  EXPECT_EQ(pool.num_free(), 2);
}

TEST(PagePool, CachedPagesAgeInTheOrderOfTheirLastUse) {
  PagePool pool(3);
  for (NodeId node = 0; node < 3; ++node) pool.set_node(pool.take(), node);
  for (PageId page : {0, 1, 2}) pool.drop(page);
  EXPECT_EQ(pool.num_cached(), 3);
  pool.hold(0);  // used again: the newest when it is dropped
  pool.drop(0);
  EXPECT_EQ(pool.oldest_cached(), 1);
  pool.clear_node(1);
  EXPECT_EQ(pool.oldest_cached(), 2);
  pool.clear_node(2);
  EXPECT_EQ(pool.oldest_cached(), 0);
  EXPECT_EQ(pool.num_free(), 2);
}

TEST(PagePool, APageLeavesTheMiddleOfTheCache) {
  PagePool pool(3);
  for (NodeId node = 0; node < 3; ++node) pool.set_node(pool.take(), node);
  for (PageId page : {0, 1, 2}) pool.drop(page);
  pool.hold(1);
  EXPECT_EQ(pool.oldest_cached(), 0);
  EXPECT_EQ(pool.next_cached(0), 2);
  EXPECT_EQ(pool.next_cached(2), kNoPage);
}

TEST(PagePool, AUsedPageThatLosesItsNodeIsFreedByItsLastHolder) {
  PagePool pool(1);
  pool.set_node(pool.take(), 7);
  pool.clear_node(0);
  EXPECT_EQ(pool.num_used(), 1);
  pool.drop(0);
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(PagePool, RefusesMisuse) {
  PagePool pool(1);
  EXPECT_THROW(pool.drop(0), CheckFailure);
  EXPECT_THROW(pool.hold(0), CheckFailure);
  EXPECT_THROW(pool.hold(1), CheckFailure);
  EXPECT_THROW(pool.set_node(0, 1), CheckFailure);
  EXPECT_THROW(pool.clear_node(0), CheckFailure);
  pool.take();
  EXPECT_THROW(pool.take(), CheckFailure);
}

}  // namespace
}  // namespace sluice::kv
