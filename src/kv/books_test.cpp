#include "kv/books.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/check.h"

namespace sluice::kv {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Tokens = std::vector<int32_t>;

Tokens counting(int n, int32_t from = 0) {
  Tokens tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

Layout full(int pages, int page_tokens = 4) {
  return {.page_tokens = page_tokens, .groups = {{"full", 0, pages}}};
}
Layout mixed(int full_pages, int window, int window_pages) {
  return {.page_tokens = 4, .groups = {{"full", 0, full_pages}, {"window", window, window_pages}}};
}

// A table in which `tokens` were computed in one step.
PageTable computed(Books& books, const Tokens& tokens, const std::string& salt = "") {
  PageTable table = books.open(salt);
  books.adopt(table, tokens, static_cast<int>(tokens.size()) - 1);
  EXPECT_EQ(books.grow(table, static_cast<int>(tokens.size())), static_cast<int>(tokens.size()));
  books.publish(table, tokens);
  return table;
}

TEST(Books, GrowsByWholePagesInEveryGroup) {
  Books books(mixed(8, 4, 8));
  PageTable table = books.open("");
  EXPECT_EQ(books.grow(table, 5), 5);
  EXPECT_EQ(books.grow(table, 8), 8);
  EXPECT_THAT(table.pages[0], ElementsAre(0, 1));
  EXPECT_THAT(table.pages[1], ElementsAre(0, 1));
  EXPECT_THAT(books.validate(std::array{&table}), IsEmpty());
  books.close(table);
  EXPECT_EQ(books.available(0), 8);
  EXPECT_THAT(books.validate({}), IsEmpty());
}

TEST(Books, WhereOnePoolIsExhaustedNoGroupGrows) {
  Books books(mixed(8, 40, 2));
  PageTable table = books.open("");
  EXPECT_EQ(books.grow(table, 20), 8);
  EXPECT_EQ(table.num_pages(), 2);
  EXPECT_EQ(books.available(0), 6);
  EXPECT_EQ(books.grow(table, 20), 8);
  EXPECT_THAT(books.validate(std::array{&table}), IsEmpty());
}

TEST(Books, EqualPrefixesShareWhatIsPublished) {
  Books books(full(8));
  PageTable a = books.open("");
  books.grow(a, 10);
  EXPECT_EQ(books.match("", counting(10), 10), 0);  // not before it is computed
  books.publish(a, counting(10));
  EXPECT_EQ(books.match("", counting(10), 10), 8);
  EXPECT_EQ(books.match("other", counting(10), 10), 0);
  EXPECT_EQ(books.match("", counting(10, 1), 10), 0);
  EXPECT_EQ(books.match("", counting(8), 7), 4);  // the last token must be computed

  PageTable b = computed(books, counting(9));
  EXPECT_EQ(b.pages[0][0], a.pages[0][0]);
  EXPECT_EQ(b.pages[0][1], a.pages[0][1]);
  EXPECT_NE(b.pages[0][2], a.pages[0][2]);
  EXPECT_EQ(books.pool(0).num_used(), 4);
  PageTable c = computed(books, counting(8), "other");
  EXPECT_EQ(books.pool(0).num_used(), 6);  // another salt shares nothing
  EXPECT_THAT(books.validate(std::array{&a, &b, &c}), IsEmpty());
  books.close(a);
  books.close(c);
  EXPECT_THAT(books.validate(std::array{&b}), IsEmpty());
}

TEST(Books, TwoThatComputedTheSameKeepOneCopy) {
  Books books(full(8));
  PageTable a = books.open(""), b = books.open("");
  books.grow(a, 8);
  books.grow(b, 8);
  EXPECT_EQ(books.pool(0).num_used(), 4);
  books.publish(a, counting(8));
  books.publish(b, counting(8));
  EXPECT_EQ(a.pages, b.pages);
  EXPECT_EQ(books.pool(0).num_used(), 2);
  EXPECT_THAT(books.validate(std::array{&a, &b}), IsEmpty());
}

TEST(Books, ARunningTableCatchesUpWithAnotherOnesWork) {
  Books books(full(8));
  PageTable behind = books.open("");
  books.grow(behind, 6);  // in the middle of its second page
  books.publish(behind, counting(6));
  PageTable ahead = computed(books, counting(13));
  EXPECT_EQ(books.adopt(behind, counting(20), 19), 12);
  EXPECT_EQ(behind.num_pages(), 3);
  EXPECT_EQ(books.pool(0).num_used(), 4);
  EXPECT_EQ(books.adopt(behind, counting(20), 19), 12);
  EXPECT_THAT(books.validate(std::array{&behind, &ahead}), IsEmpty());
}

TEST(Books, EvictsTheLeastRecentlyUsedPrefixFromItsEnd) {
  Books books(full(4));
  PageTable a = computed(books, counting(8)), b = computed(books, counting(8, 100));
  books.close(a);
  books.close(b);
  EXPECT_EQ(books.pool(0).num_cached(), 4);
  PageTable c = books.open("");
  books.grow(c, 4);
  EXPECT_EQ(books.match("", counting(8), 8), 4);
  EXPECT_EQ(books.match("", counting(8, 100), 8), 8);
  EXPECT_THAT(books.validate(std::array{&c}), IsEmpty());
}

TEST(Books, WindowKeepsOnlyWhatALaterQuerySees) {
  Books books(mixed(8, 5, 8));
  PageTable table = books.open("");
  books.grow(table, 12);
  books.trim(table, 8);  // sees positions 4 to 8
  EXPECT_THAT(table.pages[1], ElementsAre(kNoPage, 1, 2));
  books.trim(table, 12);
  EXPECT_THAT(table.pages[1], ElementsAre(kNoPage, kNoPage, 2));
  EXPECT_THAT(table.pages[0], ElementsAre(0, 1, 2));
  EXPECT_EQ(books.available(1), 7);
  EXPECT_THAT(books.validate(std::array{&table}), IsEmpty());
}

TEST(Books, AHitNeedsTheWholeLastWindow) {
  Books books(mixed(8, 5, 2));
  PageTable a = books.open("");
  for (int end = 4; end <= 16; end += 4) {
    books.trim(a, end - 4);
    ASSERT_EQ(books.grow(a, end), end);
    books.publish(a, counting(end));
  }
  // The window's pool of two kept the pages of positions 8 to 15; the query at 12 sees 8 to 12, that at 8
  // sees 4 to 8.
  EXPECT_EQ(books.match("", counting(20), 20), 16);
  EXPECT_EQ(books.match("", counting(20), 15), 12);
  EXPECT_EQ(books.match("", counting(20), 11), 0);
  books.close(a);

  PageTable b = books.open("");
  EXPECT_EQ(books.adopt(b, counting(20), 15), 12);
  EXPECT_EQ(b.pages[1][0], kNoPage);
  EXPECT_EQ(b.pages[1][1], kNoPage);
  EXPECT_NE(b.pages[1][2], kNoPage);
  EXPECT_THAT(books.validate(std::array{&b}), IsEmpty());
}

TEST(Books, AnEvictedWindowPageComesBackWithTheNextThatComputesIt) {
  Books books(mixed(16, 4, 2));
  PageTable a = computed(books, counting(8));
  books.close(a);
  PageTable other = books.open("");
  books.grow(other, 8);  // takes both window pages, evicting a's
  books.close(other);
  EXPECT_EQ(books.match("", counting(9), 9), 0);
  PageTable b = computed(books, counting(8));
  EXPECT_EQ(books.match("", counting(9), 9), 8);
  EXPECT_THAT(books.validate(std::array{&b}), IsEmpty());
}

TEST(Books, WithoutFullAttentionTheTreeStaysBounded) {
  Books books({.page_tokens = 1, .groups = {{"window", 2, 8}}});
  for (int32_t prompt = 0; prompt < 200; ++prompt) {
    PageTable table = books.open("");
    Tokens tokens{-prompt};
    for (int32_t i = 0; i < 50; ++i) {
      books.trim(table, i);
      ASSERT_EQ(books.grow(table, i + 1), i + 1);
      books.publish(table, tokens);
      tokens.push_back(i);
    }
    EXPECT_THAT(books.validate(std::array{&table}), IsEmpty());
    books.close(table);
  }
  books.drop_cache();
  EXPECT_THAT(books.validate({}), IsEmpty());
  EXPECT_EQ(books.pool(0).num_free(), 8);
}

TEST(Books, CapacityIsWhatOneSequenceCanHold) {
  EXPECT_EQ(Books(full(8)).capacity(), 32);
  EXPECT_EQ(Books(mixed(8, 5, 2)).capacity(), 32);
  EXPECT_EQ(Books(mixed(8, 6, 2)).capacity(), 8);  // a window of 6 can touch three pages
}

TEST(Books, ValidateSeesATamperedTable) {
  Books books(full(8));
  PageTable table = computed(books, counting(10));
  PageTable broken = table;
  broken.pages[0][2] = broken.pages[0][0];
  EXPECT_FALSE(books.validate(std::array{&broken}).empty());
  broken = table;
  broken.pages[0].pop_back();
  EXPECT_FALSE(books.validate(std::array{&broken}).empty());
  EXPECT_FALSE(books.validate({}).empty());  // a leak
  EXPECT_FALSE(books.validate(std::array{&table, &table}).empty());
  EXPECT_THAT(books.validate(std::array{&table}), IsEmpty());
}

TEST(Books, AClosedTableIsRefused) {
  Books books(full(8));
  PageTable table;
  books.close(table);
  EXPECT_THROW(books.grow(table, 1), CheckFailure);
}

}  // namespace
}  // namespace sluice::kv
