#include "text/grammar/gbnf.h"

#include <gmock/gmock.h>

#include "text/grammar/grammar_testing.h"

namespace sluice::text::grammar {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// In the style of llama.cpp's examples: arithmetic, lists, nested values.
constexpr const char* kArithmetic = R"gbnf(root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*   # left recursion written as a loop
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
)gbnf";

TEST(Gbnf, MatchesWhatTheRulesSay) {
  check_cases(
      {
          {"root ::= \"a\" | \"b\" \"c\"", {"a", "bc"}, {"", "b", "ac"}},
          {"root ::= [a-z]+ [^0-9\\n]", {"ab!", "aé"}, {"a1", "A!", "a\n"}},
          {"root ::= \"\\x41\\u00e9\\U0001F999\\\"\\\\\"", {"Aé🦙\"\\"}, {"A"}},
          {"root ::= \"a\"{2} \"b\"{1,} \"c\"{,2} \"d\"{1,2}", {"aabd", "aabbccdd"}, {"abd", "aabcccd"}},
          {"root ::= item (\",\" item)*\nitem ::= \"x\" | \"[\" root? \"]\"",
           {"x", "x,[x,[]],x", "[[[]]]"},
           {"", "x,", "[x", "]"}},
          {"root ::= (\n  \"a\" |\n  \"b\" # comment\n)\n", {"a", "b"}, {"ab"}},
          {"root ::= .", {"x", "é", "\n"}, {"", "xy"}},
          {"root ::= tail\ntail ::= \"a\" tail | \"b\"", {"b", "aaab"}, {"a", ""}},
          {"root ::= \"a\" root \"b\" | \"\"", {"", "ab", "aabb"}, {"a", "aab", "ba"}},
          {"root ::= s\ns ::= \"a\" s s | \"b\"", {"b", "abb", "aabbb", "ababb"}, {"ab", "bb"}},
          {"root ::= x? x? x?\nx ::= \"a\" | \"a\" \"a\"", {"", "a", "aaaaaa"}, {"aaaaaaa"}},
          {"root ::= ws \"x\" ws\nws ::= \" \"*", {"x", "  x "}, {"", "x y"}},
          {kArithmetic, {"a=1\n", "(a +2)*b=c\n1=1\n"}, {"a=", "a=1", "(a=1\n"}},
      },
      [](const char* source) { return parse_gbnf(source); });
}

TEST(Gbnf, RefusesWhatIsWrongWithItsLine) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"", "no rule \"root\""},
      {"start ::= \"a\"", "no rule \"root\""},
      {"root ::= other", "\"other\" in line 1"},
      {"root ::= \"a\"\nroot ::= \"b\"", "twice"},
      {"root = \"a\"", "::="},
      {"root ::= \"a", "without its end"},
      {"root ::= (\"a\"", "without its )"},
      {"root ::= [a", "without its end"},
      {"root ::= [z-a]", "out of order"},
      {"root ::= \"\\q\"", "means nothing"},
      {"root ::= \"a\"{3,2}", "at least 3"},
      {"root ::= \"a\"{}", "without a count"},
      {"root ::= \"a\"\n\nnext ::= )", "line 3"},
      {"root ::= <[12]>", "token references"},
  };
  for (const auto& [text, what] : cases)
    EXPECT_THAT(parse_gbnf(text).status().message(), HasSubstr(what)) << text;
}

TEST(Gbnf, RefusesRulesThatCannotBeFollowed) {
  const auto error = [](const char* text) { return Tested(parse_gbnf(text)).status().message(); };
  EXPECT_THAT(error("root ::= root \"a\" | \"b\""),
              AllOf(HasSubstr("\"root\""), HasSubstr("left-recursive")));
  EXPECT_THAT(error("root ::= a\na ::= ws b\nb ::= a \"x\" | \"y\"\nws ::= \" \"*"),
              HasSubstr("left-recursive"));
  EXPECT_THAT(error("root ::= \"a\" root"), HasSubstr("never ends"));
  EXPECT_THAT(error("root ::= a\na ::= a"), HasSubstr("never ends"));
  EXPECT_THAT(error("root ::= \"a\"{200000}"), HasSubstr("100000"));
  EXPECT_THAT(error(("root ::= " + std::string(30'000, '(')).c_str()), HasSubstr("nests deeper"));
}

TEST(Gbnf, FollowsDeepAndAmbiguousTexts) {
  // Deep recursion needs no stack of ours.
  const Tested nested(parse_gbnf("root ::= \"[\" root \"]\" | \"x\""));
  Matcher matcher(nested.automaton());
  EXPECT_TRUE(matcher.accept(std::string(200'000, '[')));
  EXPECT_TRUE(matcher.accept("x" + std::string(200'000, ']')));
  EXPECT_TRUE(matcher.exhausted());
  // Recursion to the right keeps no frames.
  const Tested list(parse_gbnf("root ::= item root | item\nitem ::= \"a\" | \"b\""));
  Matcher right(list.automaton());
  for (int i = 0; i < 50'000; ++i) ASSERT_TRUE(right.accept("ab"));
  EXPECT_LT(right.stacks().size(), 10'000u);
  // Exponentially many derivations, few threads.
  const Tested ambiguous(parse_gbnf("root ::= s\ns ::= \"a\" s s | \"a\""));
  Matcher many(ambiguous.automaton());
  const bool followed = many.accept(std::string(2'000, 'a'));
  EXPECT_TRUE(followed || many.overflowed());
}

TEST(Matcher, TakesTokensBack) {
  const Tested tested(parse_gbnf("root ::= \"a\" root \"b\" | \"c\""));
  Matcher matcher(tested.automaton(), 3);
  ASSERT_TRUE(matcher.accept("aa"));
  ASSERT_TRUE(matcher.accept("ac"));
  EXPECT_FALSE(matcher.accept("bx")) << "refused as a whole";
  ASSERT_TRUE(matcher.accept("bbb"));
  EXPECT_TRUE(matcher.can_end());
  matcher.rollback(2);
  EXPECT_FALSE(matcher.can_end());
  ASSERT_TRUE(matcher.accept("c"));
  ASSERT_TRUE(matcher.accept("bb"));
  EXPECT_TRUE(matcher.exhausted());
  matcher.rollback(1);
  EXPECT_FALSE(matcher.exhausted());
  EXPECT_TRUE(matcher.accept("b"));
}

// Random texts, and the same with a byte changed: automaton and reference must agree on every prefix.
TEST(Matcher, AgreesWithTheReferenceOnRandomTexts) {
  const std::vector<const char*> grammars = {
      kArithmetic,
      "root ::= \"a\" root \"b\" | \"\"",
      "root ::= s\ns ::= \"a\" s s | \"b\" | \"ab\"",
      "root ::= x? x? x?\nx ::= \"a\" | \"a\" \"a\" | [é-ü] | \"🦙\"",
      "root ::= (word \" \"?)* \"!\"\nword ::= [a-c]{2,4} | \"🦙\"{1,2} | root2\nroot2 ::= \"(\" root "
      "\")\"",
      "root ::= a b c | b a\na ::= \"x\"* \ny ::= \"q\"\nb ::= \"y\" a | \"\"\nc ::= [^x]{0,3}",
      "root ::= list | [^]\nlist ::= \"<\" (list | \"-\" list?)* \">\"",
  };
  std::mt19937 random(7);
  for (const char* source : grammars) {
    const Tested tested(parse_gbnf(source));
    ASSERT_TRUE(tested.status().ok()) << source << tested.status().message();
    ReferenceAcceptor reference(tested.grammar());
    for (int round = 0; round < 30; ++round) {
      std::string text = tested.sample(random, 24);
      if (round % 2 == 1 && !text.empty()) text[random() % text.size()] = static_cast<char>(random() % 256);
      if (round % 3 == 1) text += static_cast<char>('a' + random() % 4);
      Matcher matcher(tested.automaton());
      for (size_t n = 0; n <= text.size(); ++n) {
        const std::string_view prefix = std::string_view(text).substr(0, n);
        const bool follows = n == 0 || matcher.accept(prefix.substr(n - 1));
        ASSERT_EQ(follows, reference.viable(prefix)) << source << " on " << prefix;
        if (!follows) break;
        ASSERT_EQ(matcher.can_end(), reference.matches(prefix)) << source << " on " << prefix;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::text::grammar
