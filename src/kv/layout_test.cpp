#include "kv/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::kv {
namespace {

TEST(Layout, CountsPages) {
  EXPECT_EQ(pages_for(0, 32), 0);
  EXPECT_EQ(pages_for(1, 32), 1);
  EXPECT_EQ(pages_for(32, 32), 1);
  EXPECT_EQ(pages_for(33, 32), 2);
}

TEST(Layout, FirstVisiblePageIsThatOfTheFirstPositionInTheWindow) {
  EXPECT_EQ(first_visible_page(0, 1000, 4), 0);
  for (int page_tokens : {1, 3, 4}) {
    for (int window = 1; window < 12; ++window) {
      for (int position = 0; position < 40; ++position) {
        int first = 0;
        while (first <= position - window) ++first;  // sees the positions > position - window
        EXPECT_EQ(first_visible_page(window, position, page_tokens), first / page_tokens);
      }
    }
  }
}

TEST(Layout, MostPagesHeldIsTheMaximumOverAllPositions) {
  for (int page_tokens : {1, 3, 4}) {
    for (int window = 0; window < 12; ++window) {
      int most = 0;
      for (int tokens = 1; tokens < 40; ++tokens) {
        const int position = tokens - 1;
        most = std::max(most, position / page_tokens + 1 - first_visible_page(window, position, page_tokens));
        // Short sequences are counted whole even if their window would let the first page go.
        EXPECT_GE(most_pages_held(window, tokens, page_tokens), most) << window << " " << tokens;
        EXPECT_LE(most_pages_held(window, tokens, page_tokens), pages_for(tokens, page_tokens));
      }
      EXPECT_EQ(most_pages_held(window, 39, page_tokens), most) << window << " " << page_tokens;
    }
  }
}

TEST(Layout, RefusesWhatCannotBe) {
  const auto message = [](Layout layout) { return layout.check().message(); };
  EXPECT_EQ(message({.page_tokens = 32, .groups = {{"full", 0, 1}}}), "");
  EXPECT_NE(message({.page_tokens = 0, .groups = {{"full", 0, 1}}}).find("page_tokens is 0"),
            std::string::npos);
  EXPECT_NE(message({.page_tokens = 32, .groups = {}}).find("no group"), std::string::npos);
  EXPECT_NE(message({.page_tokens = 32, .groups = {{"full", -1, 1}}}).find("window"), std::string::npos);
  EXPECT_NE(message({.page_tokens = 32, .groups = {{"full", 0, 0}}}).find("num_pages"), std::string::npos);
}

}  // namespace
}  // namespace sluice::kv
