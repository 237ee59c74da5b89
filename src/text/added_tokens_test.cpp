#include "text/added_tokens.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace sluice::text {
namespace {

// The segments of a text, added tokens in brackets.
std::string show(const AddedTokenMatcher& matcher, std::string_view text,
                 const SpecialFilter& filter = {true, {}}) {
  std::string out;
  for (const Segment& segment : matcher.split(text, filter)) {
    const std::string part(text.substr(segment.range.begin, segment.range.end - segment.range.begin));
    out += segment.id == Segment::kText ? part : fmt::format("[{}]", part);
  }
  return out;
}

AddedToken token(std::string content, bool special = false) {
  return {.content = std::move(content), .special = special};
}

TEST(AddedTokens, TheOneThatBeginsFirstThenTheLongest) {
  const AddedTokenMatcher matcher({token("ab"), token("abc"), token("bcdef"), token("cd")});
  EXPECT_EQ(show(matcher, "xabcdef"), "x[abc]def");
  EXPECT_EQ(show(matcher, "xbcdef"), "x[bcdef]");
  EXPECT_EQ(show(matcher, "bcdeab"), "b[cd]e[ab]");
}

TEST(AddedTokens, FlagsTakeWhiteSpaceOrWords) {
  const AddedTokenMatcher matcher({{.content = "<l>", .lstrip = true},
                                   {.content = "<r>", .rstrip = true},
                                   {.content = "user", .single_word = true}});
  EXPECT_EQ(show(matcher, "a \n<l> b"), "a[ \n<l>] b");
  EXPECT_EQ(show(matcher, "a <r>\u00a0 b"), "a [<r>\u00a0 ]b");
  EXPECT_EQ(show(matcher, "<r> <l>"), "[<r> ][<l>]");
  EXPECT_EQ(show(matcher, "user users éuser user"), "[user] users éuser [user]");
}

TEST(AddedTokens, SpecialOnesOnlyWhereTheyAreParsed) {
  const AddedTokenMatcher matcher({token("<s>", true), token("<s>x", true), token("s>"), token("<tool>")});
  EXPECT_EQ(show(matcher, "<s>x<tool>"), "[<s>x][<tool>]");
  EXPECT_EQ(show(matcher, "<s>x<tool>", {false, {}}), "<[s>]x[<tool>]");
  // The user wrote bytes 3 to 7: nothing special inside, nor across the edge, but beside them.
  const TextRange user[] = {{3, 7}};
  EXPECT_EQ(show(matcher, "<s>x<s><s>", {true, user}), "[<s>]x<[s>][<s>]");
}

TEST(AddedTokens, RandomTextsAgreeWithTheDefinition) {
  std::mt19937 rng(1);
  const auto word = [&](size_t most) {
    std::string out(1 + rng() % most, 'a');
    for (char& c : out) c = static_cast<char>('a' + rng() % 2);
    return out;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<AddedToken> tokens(1 + rng() % 5);
    for (AddedToken& t : tokens) t = token(word(4), rng() % 2 == 0);
    const std::string text = word(20);
    const bool parse = rng() % 2 == 0;
    std::string expected;
    for (size_t at = 0; at < text.size();) {
      size_t longest = 0;
      for (const AddedToken& t : tokens) {
        // A spelling that is there twice is what its first entry says.
        const auto* first = &*std::find_if(tokens.begin(), tokens.end(),
                                           [&](const AddedToken& o) { return o.content == t.content; });
        const bool allowed = parse || !first->special;
        if (allowed && text.compare(at, t.content.size(), t.content) == 0)
          longest = std::max(longest, t.content.size());
      }
      expected += longest ? fmt::format("[{}]", text.substr(at, longest)) : text.substr(at, 1);
      at += std::max<size_t>(longest, 1);
    }
    ASSERT_EQ(show(AddedTokenMatcher(tokens), text, {parse, {}}), expected) << text;
  }
}

TEST(AddedTokens, AHundredThousandLoadFast) {
  std::vector<AddedToken> tokens;
  for (int i = 0; i < 100'000; ++i) tokens.push_back(token(fmt::format("<extra_id_{}>", i), true));
  const auto start = std::chrono::steady_clock::now();
  const AddedTokenMatcher matcher(std::move(tokens));
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            std::chrono::seconds(10));  // 0.1 s; sanitizers are slow
  EXPECT_EQ(show(matcher, "x<extra_id_99999>y"), "x[<extra_id_99999>]y");
}

}  // namespace
}  // namespace sluice::text
