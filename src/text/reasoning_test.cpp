#include "text/reasoning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/grammar/grammar_testing.h"
#include "text/grammar/regex_grammar.h"

namespace sluice::text {
namespace {

ReasoningParser::Parts parse(std::string_view text, bool begun, size_t piece) {
  ReasoningParser parser(begun);
  ReasoningParser::Parts out;
  for (size_t i = 0; i < text.size(); i += piece) {
    const auto parts = parser.push(text.substr(i, piece));
    out.reasoning += parts.reasoning;
    out.answer += parts.answer;
  }
  parser.finish(out);
  return out;
}

TEST(Reasoning, IsToldFromTheAnswerHoweverItIsCut) {
  const struct {
    const char* text;
    bool begun;
    const char* reasoning;
    const char* answer;
  } kCases[] = {
      {"<think>\nI see. <b> So\n\n</think>\n\nYes.", false, "I see. <b> So", "Yes."},
      {"I see.\n</think>\n\nYes.\n", true, "I see.", "Yes.\n"},
      {"\n<think></think>Yes", false, "", "Yes"},
      {"</think>Yes", true, "", "Yes"},
      {"Yes, <think>no</think>", false, "", "Yes, <think>no</think>"},
      {"  Yes", false, "", "  Yes"},
      {"<thing>", false, "", "<thing>"},
      {"<thi", false, "", "<thi"},
      {"<think>cut </thi", false, "cut </thi", ""},
      {"a </think>b</think>c", true, "a", "b</think>c"},
      {"", true, "", ""},
  };
  for (const auto& c : kCases) {
    for (const size_t piece : {1, 2, 3, 7, 100}) {
      const auto parts = parse(c.text, c.begun, piece);
      EXPECT_EQ(parts.reasoning, c.reasoning) << c.text << " by " << piece;
      EXPECT_EQ(parts.answer, c.answer) << c.text << " by " << piece;
    }
  }
}

TEST(Reasoning, BeginsInThePromptWhereTheTemplateSaysSo) {
  EXPECT_TRUE(prompt_begins_reasoning("<|user|>hi<|assistant|><think>\n", false));
  EXPECT_FALSE(prompt_begins_reasoning("<|assistant|><think>\n\n</think>\n\n", false));
  EXPECT_FALSE(prompt_begins_reasoning("<|user|><think><|end|><|assistant|>", false)) << "the user's own";
  EXPECT_FALSE(prompt_begins_reasoning("<|assistant|>", false));
  EXPECT_TRUE(prompt_begins_reasoning("<|assistant|><think>\nLet me", true));
  EXPECT_FALSE(prompt_begins_reasoning("<|assistant|><think>a</think>So", true));
}

TEST(Reasoning, StandsBeforeAFormInAnyForm) {
  const auto form = grammar::regex_grammar("[0-9]+");
  ASSERT_TRUE(form.ok());
  const grammar::Tested perhaps(behind_reasoning(*form, false)), begun(behind_reasoning(*form, true));
  for (const char* text : {"12", "<think></think>12", "<think>{\"\n</think>\n\n12"})
    EXPECT_TRUE(perhaps.matches(text)) << text;
  for (const char* text : {"", "a12", "<think>12", "<think></think>a", "</think>12"})
    EXPECT_FALSE(perhaps.matches(text)) << text;
  for (const char* text : {"</think>12", "well <think> </think> 12"})
    EXPECT_TRUE(begun.matches(text)) << text;
  for (const char* text : {"12", "</think>a"}) EXPECT_FALSE(begun.matches(text)) << text;
}

}  // namespace
}  // namespace sluice::text
