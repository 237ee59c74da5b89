#include "text/regex.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/gguf_pre_tokenizers.h"
#include "text/oniguruma.h"

namespace sluice::text {
namespace {

using ::testing::HasSubstr;

// The matches of a pattern, each in brackets.
std::string show(std::string_view pattern, std::string_view subject) {
  auto regex = Regex::compile(pattern);
  if (!regex.ok()) return regex.status().message();
  std::vector<TextRange> matches;
  const Status status = regex->find_all(subject, matches);
  if (!status.ok()) return status.message();
  std::string out;
  for (const TextRange m : matches) out += fmt::format("[{}]", subject.substr(m.begin, m.end - m.begin));
  return out;
}

// What Oniguruma (onig 6.9 with Ruby's syntax, as `tokenizers` builds it) gives.
struct Row {
  std::string_view pattern;
  std::string_view subject;
  std::string_view matches;
};

constexpr Row kRows[] = {
    {R"(\d{1,3}+)", "12345", "[12345]"},  // a repeat of intervals, not a possessive one
    {R"(a{2}?b)", "baab", "[b][aab]"},
    {R"(a{,2}b)", "aab", "[aab]"},
    {R"(x{y)", "x{y", "[x{y]"},
    {R"([a-z&&[^aeiou]]+)", "banana", "[b][n][n]"},
    {R"([[a-c][x-z]]+)", "abxyq", "[abxy]"},
    {R"([^[a-c]x]+)", "abxyq", "[yq]"},
    {R"(\h+)", "ab12zz", "[ab12]"},
    {R"(\s)", "a\u180eb c", "[ ]"},
    {R"(\w+)", "e\u0301½-x", "[e\u0301½][x]"},
    {R"([\w]+)", "½x", "[x]"},
    {R"(\bfoo\b)", "foo foob foo", "[foo][foo]"},
    {R"(^b$)", "a\nb\nc", "[b]"},
    {R"((?m:a.b))", "a\nb", "[a\nb]"},
    {R"(a.b)", "a\nb", ""},
    {R"(\u0041\x{42})", "AB", "[AB]"},
    {R"(\p{^Lu}+)", "abC", "[ab]"},
    {R"(\p{Uppercase_Letter}\p{Letter})", "aBc", "[Bc]"},
    {R"([[:punct:]]+)", "a+€b", "[+€]"},
    {R"((?i)STRASSE)", "strasse", "[strasse]"},
    {R"(\p{Word}+)", "z²-", "[z²]"},
    {R"([\p{Word}]+)", "z²-", "[z]"},
    {R"(\A\p{Nd}{1,2}(?=\p{Nd}{3}+\z))", "1234567", "[1]"},
    {R"((?<!\n)^ )", " a\n b", "[ ]"},
    {R"(a\Z)", "a\n", "[a]"},
    {R"([\-y]+)", "y-y", "[y-y]"},
    {"", "aé", "[][][]"},
    {R"((?=(\d{3})+(?!\d)))", "1234567", "[][]"},
};

TEST(Regex, MatchesAsOnigurumaDoes) {
  for (const Row& row : kRows) EXPECT_EQ(show(row.pattern, row.subject), row.matches) << row.pattern;
}

TEST(Regex, RefusesByName) {
  EXPECT_THAT(show("(*NO_JIT)a", "a"), HasSubstr("a verb"));
  EXPECT_THAT(show(R"(\Qa)", "a"), HasSubstr("\\Q"));
  EXPECT_THAT(show("(?~a)", "a"), HasSubstr("absence"));
  EXPECT_THAT(show("[a", "a"), HasSubstr("without ]"));
  EXPECT_THAT(show("(a", "a"), HasSubstr("refused"));
  EXPECT_THAT(show(R"(\p{Klingon})", "a"), HasSubstr("Klingon"));
  EXPECT_THAT(show("(?<=a+)b", "ab"), HasSubstr("lookbehind"));
  EXPECT_THAT(show("\xFF", "a"), HasSubstr("UTF-8"));
  EXPECT_FALSE(Regex::compile(std::string(Regex::kMaxPatternBytes + 1, 'a')).ok());
  EXPECT_FALSE(translate_oniguruma(std::string(1000, '[') + std::string(1000, ']')).ok());
}

TEST(Regex, CatastrophicPatternsGiveUp) {
  EXPECT_THAT(show("(a|a)*[bc]", std::string(100, 'a')), HasSubstr("backtracks too much"));
  EXPECT_THAT(show("(a*)*[bc]", std::string(10'000, 'a')), HasSubstr("backtracks too much"));
}

TEST(Regex, FindsMatchesFarApart) {
  const std::string gap(100'000, 'x');
  EXPECT_EQ(show("é+", gap + "éé" + gap + "é"), "[éé][é]");
}

TEST(Regex, EveryGgufPatternIsLinearInRuns) {
  for (const GgufPreTokenizer& row : gguf_pre_tokenizers()) {
    for (const std::string_view pattern : row.patterns) {
      auto regex = Regex::compile(pattern);
      ASSERT_TRUE(regex.ok()) << regex.status().message();
      for (const char c : {'a', ' ', '\n', '.'}) {
        std::vector<TextRange> matches;
        const Status status = regex->find_all(std::string(1 << 18, c), matches);
        EXPECT_TRUE(status.ok()) << row.names[0] << ": " << status.message();
      }
    }
  }
}

}  // namespace
}  // namespace sluice::text
