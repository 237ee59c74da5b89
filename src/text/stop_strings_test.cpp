#include "text/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::text {
namespace {

struct Seen {
  std::string text;
  bool stopped = false;
};

Seen feed(const StopStrings& stops, std::string_view text, size_t step) {
  StopMatcher matcher(stops);
  Seen seen;
  for (size_t at = 0; at < text.size() && !seen.stopped; at += step) {
    seen.stopped = matcher.push(text.substr(at, step), seen.text);
  }
  seen.stopped = matcher.flush(seen.text);
  return seen;
}

// The text before the stop that begins first.
Seen by_hand(const std::vector<std::string>& stops, const std::string& text) {
  size_t first = std::string::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return {text.substr(0, first), first != std::string::npos};
}

TEST(StopStrings, RandomTextsHoweverTheyArrive) {
  std::mt19937 rng(1);
  const auto word = [&](size_t most) {
    std::string out(1 + rng() % most, 'a');
    for (char& c : out) c = static_cast<char>('a' + rng() % 3);
    return out;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> strings(1 + rng() % 4);
    for (std::string& s : strings) s = word(5);
    const std::string text = word(30);
    auto stops = StopStrings::create(strings);
    ASSERT_TRUE(stops.ok());
    const Seen expected = by_hand(strings, text);
    for (size_t step : {1, 2, 3, 100}) {
      const Seen seen = feed(*stops, text, step);
      ASSERT_EQ(seen.text, expected.text) << text << " " << strings[0];
      ASSERT_EQ(seen.stopped, expected.stopped);
    }
  }
}

TEST(StopStrings, HoldsOnlyWhatMayBeginAStop) {
  auto stops = StopStrings::create({"</s>", "STOP"});
  StopMatcher matcher(*stops);
  std::string out;
  EXPECT_FALSE(matcher.push("a < b </", out));
  EXPECT_EQ(out, "a < b ");
  EXPECT_FALSE(matcher.push("S", out));
  EXPECT_EQ(out, "a < b </");
  EXPECT_FALSE(matcher.push("X </", out));
  EXPECT_TRUE(matcher.push("s> gone", out));
  EXPECT_EQ(out, "a < b </SX ");
  EXPECT_EQ(matcher.matched(), 0u);
  EXPECT_TRUE(matcher.push("never shown", out));
  EXPECT_EQ(out, "a < b </SX ");
}

TEST(StopStrings, WaitsForTheStopThatBeganFirst) {
  auto stops = StopStrings::create({"abcd", "bc"});
  for (const auto& [text, index] : {std::pair("abcd", 0u), std::pair("abcx", 1u), std::pair("abc", 1u)}) {
    StopMatcher matcher(*stops);
    std::string out;
    matcher.push(text, out);
    matcher.flush(out);
    EXPECT_EQ(matcher.matched(), index) << text;
  }
}

TEST(StopStrings, Refusals) {
  EXPECT_FALSE(StopStrings::create({"x", ""}).ok());
  EXPECT_FALSE(StopStrings::create({std::string(StopStrings::kMaxTotalBytes + 1, 'x')}).ok());
  auto none = StopStrings::create({});
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(feed(*none, "text", 1).text, "text");
}

}  // namespace
}  // namespace sluice::text
