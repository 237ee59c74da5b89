#include "text/grammar/regex_grammar.h"

#include <gmock/gmock.h>

#include "text/grammar/grammar_testing.h"

namespace sluice::text::grammar {
namespace {

using ::testing::HasSubstr;

TEST(RegexGrammar, MatchesWhatTheExpressionMatches) {
  check_cases(
      {
          {"abc", {"abc"}, {"", "ab", "abcd", "ABC"}},
          {"a|bc|", {"a", "bc", ""}, {"b", "abc"}},
          {"a*b+c?", {"b", "aabbc", "bc"}, {"", "a", "acc"}},
          {"(ab){2,3}", {"abab", "ababab"}, {"ab", "abababab"}},
          {"a{3}", {"aaa"}, {"aa", "aaaa"}},
          {"a{2,}", {"aa", "aaaaaa"}, {"a"}},
          {"a{,2}", {"a{,2}"}, {"aa"}},
          {"x{", {"x{"}, {"x"}},
          {"a+?b*?c??", {"a", "aab", "ac"}, {""}},
          {"[a-cx]", {"a", "b", "x"}, {"d", "ab"}},
          {"[^a-c]", {"d", "é", "\n", "🦙"}, {"a", ""}},
          {"a|[]", {"a"}, {"", "]"}},
          {"[\\]\\-a]", {"]", "-", "a"}, {"b"}},
          {"[a-]", {"a", "-"}, {"b"}},
          {"[\\d_]+", {"12_3"}, {"a"}},
          {"\\d{4}-\\d\\d", {"2024-05"}, {"2024-5", "٢٠٢٤-05"}},
          {"\\w+\\s\\W", {"ab_9 !", "a\t."}, {"é  ", "a b"}},
          {".", {"x", "é", "🦙"}, {"\n", "\r", "ab", ""}},
          {"\\u00e9\\x41\\u{1F999}\\ud83e\\udd99", {"éA🦙🦙"}, {"éA🦙"}},
          {"\\p{Lu}\\p{Ll}+", {"Ärger", "Straße"}, {"ärger", "A"}},
          {"(?:a|b)(?<name>c)(?P<other>d)", {"acd", "bcd"}, {"cd"}},
          {"^abc$", {"abc"}, {"^abc$"}},
          {"^a|b$", {"a", "b"}, {"^a"}},
          {"(^a$|^b$)", {"a", "b"}, {"ab"}},
          {"\\$\\^\\.\\*\\\\\\/", {"$^.*\\/"}, {"$"}},
          {"(a*)*b", {"b", "aaab"}, {"a"}},
          {"((a|b)*c)*", {"", "c", "abcbc"}, {"ab"}},
          {"(a|a)*", {"", "aaaa"}, {"b"}},
      },
      [](const char* source) { return regex_grammar(source); });
}

TEST(RegexGrammar, RefusesWhatIsNotRegularByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"(?=a)b", "look-ahead"},   {"(?!a)b", "look-ahead"},     {"(?<=a)b", "look-behind"},
      {"(?<!a)b", "look-behind"}, {"(a)\\1", "back-reference"}, {"\\k<x>", "back-reference"},
      {"\\bword", "boundary"},    {"(?i)a", "inline flags"},    {"a++", "possessive"},
      {"(?>a)", "atomic"},        {"a^b", "^ after"},           {"a$b", "$ before"},
      {"(^a|b)", "some"},         {"\\p{Greek}", "Greek"},      {"[[:alpha:]]", "POSIX"},
      {"(^a)*", "repeated ^"},
  };
  for (const auto& [pattern, what] : cases) {
    const Status status = regex_grammar(pattern).status();
    EXPECT_EQ(status.code(), StatusCode::unsupported) << pattern;
    EXPECT_THAT(status.message(), HasSubstr(what)) << pattern;
  }
}

TEST(RegexGrammar, RefusesWhatIsWrong) {
  for (const char* pattern : {"(", ")", "a)", "(a", "[a", "*a", "a**", "a{3,2}", "\\", "\\q", "\\x4", "[b-a]",
                              "\\u{110000}", "\\ud800", "?", "(?<name", "\\p{", "\xFF"}) {
    EXPECT_EQ(regex_grammar(pattern).status().code(), StatusCode::invalid_argument) << pattern;
  }
}

// Patterns that hang or blow up other engines: an answer or a clear refusal, at once.
TEST(RegexGrammar, HasBudgets) {
  const auto refused = [](const std::string& pattern) {
    const Tested tested(regex_grammar(pattern));
    return tested.status().code() == StatusCode::resource_exhausted;
  };
  EXPECT_TRUE(refused("(.{0,9999}){9999}"));
  EXPECT_TRUE(refused("((a{1000}){1000}){1000}"));
  EXPECT_TRUE(refused("a{1000000}"));
  EXPECT_TRUE(refused("(a|b)*a(a|b){30}"));  // 2^30 states
  EXPECT_TRUE(refused(std::string(30'000, '(') + std::string(30'000, ')')));
  EXPECT_TRUE(refused(std::string((1 << 20) + 1, 'a')));
  const Tested redos(regex_grammar("(a+)+$"));
  ASSERT_TRUE(redos.status().ok());
  EXPECT_TRUE(Matcher(redos.automaton()).accept(std::string(100'000, 'a')));
  std::string branches = "x0";
  for (int i = 1; i < 100'000; ++i) branches += "|x" + std::to_string(i);
  const Tested wide(regex_grammar(branches));
  EXPECT_TRUE(wide.status().ok() || wide.status().code() == StatusCode::resource_exhausted)
      << wide.status().message();
}

TEST(ChoiceGrammar, MatchesItsTexts) {
  const Tested tested(choice_grammar({"yes", "yes, but", "né"}));
  for (const char* text : {"yes", "yes, but", "né"}) EXPECT_TRUE(tested.matches(text));
  for (const char* text : {"", "ye", "yes,", "no"}) EXPECT_FALSE(tested.matches(text));
  EXPECT_FALSE(choice_grammar({}).ok());
  EXPECT_FALSE(choice_grammar({""}).ok());
  EXPECT_FALSE(choice_grammar({"\xC3"}).ok());
}

}  // namespace
}  // namespace sluice::text::grammar
