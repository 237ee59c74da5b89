#include "sampling/constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "sampling/constraint_compiler.h"
#include "sampling/sampler.h"
#include "text/grammar/gbnf.h"
#include "text/grammar/json_schema.h"
#include "text/grammar/reference_acceptor.h"
#include "text/grammar/regex_grammar.h"
#include "text/tiny_tokenizers.h"

namespace sluice::sampling {
namespace {

using ::testing::HasSubstr;
using text::grammar::Grammar;
using text::grammar::ReferenceAcceptor;

constexpr int32_t kEos = 0, kSpecial = 1;

// Bytes, and tokens as vocabularies have them: words, parts of characters, several of JSON's tokens in one.
std::vector<std::string> token_texts() {
  std::vector<std::string> out = {"</s>", "<|x|>", ""};
  for (int b = 0; b < 256; ++b) out.push_back(std::string(1, static_cast<char>(b)));
  for (const char* t : {"\":",        "\": \"",       "\",",     "\", \"",     "\"}",  "\"},",    "{\"",
                        "{\"a\":",    "[{\"",         "}}",      "]]",         "],[",  "],",      "true",
                        "false,",     "null",         "null}",   " \"",        "\n",   "\n  ",    "  ",
                        "12",         "123,",         "1,2",     "0.5",        "-1",   "1e",      "abc",
                        "ab",         "name",         "name\":", "\"name\": ", "\xC3", "\xA9",    "\xF0\x9F",
                        "\xA6\x99\"", "é\"",          "\\n",     "\\u00",      "\\\"", "a\",\"b", "aa",
                        "aaa",        "bb",           "(a",      ")b",         "><",   "<<",      ",a",
                        "a=b\n",      "\xE2\x80\xA9", "{}",      "[]",         "[],",  "\"\"",    "\"\",\""})
    out.emplace_back(t);
  return out;
}

std::shared_ptr<const Vocabulary> vocabulary() {
  static const auto kMade = std::make_shared<const Vocabulary>(
      token_texts(), std::vector<int32_t>{kEos, kSpecial}, std::vector<int32_t>{kEos});
  return kMade;
}

std::shared_ptr<const Constraint> constrained(const Grammar& grammar) {
  static ProfileCache cache(size_t{1} << 20);
  static const auto kWorker = std::make_shared<MaskWorker>();
  auto automaton = text::grammar::compile(grammar);
  EXPECT_TRUE(automaton.ok()) << automaton.status().message();
  auto made = Constraint::create(*automaton, vocabulary(), cache, kWorker);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return *made;
}

std::vector<std::pair<std::string, Grammar>> grammars() {
  std::vector<std::pair<std::string, Grammar>> out;
  const auto add = [&](const std::string& name, Result<Grammar> made) {
    ASSERT_TRUE(made.ok()) << name << made.status().message();
    out.emplace_back(name, *std::move(made));
  };
  for (
      const char* schema : {
          "true",
          R"({"type":"array","items":{"type":"string","maxLength":3}})",
          R"({"type":"object","properties":{"name":{"type":"string"},"a":{"type":["integer","null"]}},"required":["name"]})",
          R"({"type":"object","properties":{"a":{"$ref":"#"},"b":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":{"enum":["ab",1]}})",
          R"({"type":"array","items":{"type":"number","minimum":0,"maximum":12.5},"minItems":2})",
          R"({"anyOf":[{"const":{"a":"b"}},{"type":"string","pattern":"^[aé🦙]+$"}]})",
      }) {
    add(schema, text::grammar::schema_grammar(*parse_json(schema, "schema")));
  }
  for (const char* regex : {"(ab|abc|é|🦙)+", "[^\"]{2,5}\"", "(a|aa|aaa){0,6}b?"})
    add(regex, text::grammar::regex_grammar(regex));
  for (const char* gbnf : {
           "root ::= s\ns ::= \"a\" s s | \"b\" | \"ab\"",
           "root ::= \"<\" (root | \"-\")* \">\" | [a-b]+",
           "root ::= (line \"\\n\")+\nline ::= expr \"=\" expr\nexpr ::= term ([,] term)*\nterm ::= [a-c]+ | "
           "\"(\" expr \")\"",
           "root ::= a a? | b\na ::= \"a\" \"a\"? b?\nb ::= \"b\"+",
       }) {
    add(gbnf, text::grammar::parse_gbnf(gbnf));
  }
  return out;
}

// The mask allows a token if and only if the reference acceptor can go on by its bytes.
TEST(Constraint, MasksAgreeWithTheReference) {
  std::mt19937 random(3);
  for (const auto& [name, grammar] : grammars()) {
    ReferenceAcceptor reference(grammar);
    const auto constraint = constrained(grammar);
    for (int round = 0; round < 4; ++round) {
      ConstraintState state(constraint);
      std::string text;
      for (int step = 0; step < 12 && !state.exhausted(); ++step) {
        const auto mask = state.mask();
        ASSERT_TRUE(mask.ok()) << mask.status().message();
        std::vector<int32_t> allowed;
        for (int32_t token = 0; token < vocabulary()->size(); ++token) {
          const std::string_view bytes = vocabulary()->bytes_of(token);
          const bool expected =
              !bytes.empty() && token > kSpecial && reference.viable(text + std::string(bytes));
          ASSERT_EQ((*mask)->test(token), expected) << name << ": after " << text << " token " << bytes;
          if (expected) allowed.push_back(token);
        }
        ASSERT_EQ(state.can_end(), reference.matches(text)) << name << ": after " << text;
        ASSERT_FALSE(allowed.empty()) << name << ": after " << text;
        // Longer tokens first, now and then: a byte at a time would meet few of them.
        std::sort(allowed.begin(), allowed.end(), std::greater<>());
        const int32_t token =
            allowed[random() % std::min<size_t>(allowed.size(), random() % 2 == 0 ? 12 : 400)];
        ASSERT_TRUE(state.accept(token));
        text += vocabulary()->bytes_of(token);
      }
    }
  }
}

TEST(Constraint, StatesAlikeWithinATokenShareTheirProfile) {
  // A sanitizer makes it last longer than a server would let it.
  const auto automaton = text::grammar::compile(
      *text::grammar::schema_grammar(*parse_json(R"({"type":"string","maxLength":2000})", "schema")),
      {.max_time = std::chrono::seconds(60)});
  ASSERT_TRUE(automaton.ok());
  for (size_t r = 0; r < (*automaton)->rules().size(); ++r) {
    const auto& rule = (*automaton)->rules()[r];
    if (!rule.leaf || rule.last - rule.first < 100) continue;
    const std::vector<uint32_t> classes =
        alike_states(**automaton, static_cast<text::grammar::RuleId>(r), 10);
    const std::set<uint32_t> different(classes.begin(), classes.end());
    EXPECT_GT(classes.size(), 20'000u);
    EXPECT_LT(different.size(), 600u);
    EXPECT_GT(different.size(), 10u) << "the last characters differ";
    RuleProfiles profiles(**automaton, static_cast<text::grammar::RuleId>(r), *vocabulary());
    const auto profile_of = [&](size_t state) {
      return &profiles.get(**automaton, rule.first + static_cast<uint32_t>(state), *vocabulary());
    };
    const size_t middle = classes.size() / 2;
    const auto other = std::find(classes.begin(), classes.end(), classes[middle]) - classes.begin();
    EXPECT_LT(other, 1000) << "many characters before";
    EXPECT_EQ(profile_of(middle), profile_of(static_cast<size_t>(other)));
    return;
  }
  FAIL() << "no rule for the string";
}

TEST(Constraint, FreeTextTakesEveryTokenAndTheTriggerConstrains) {
  Grammar g;
  const auto root = g.add_rule("root");
  const auto call = g.sequence({g.free_text({"<<"}), g.bytes("abc"), g.bytes(">>")});
  g.define(root, g.sequence({g.repeat(call, 0), g.free_end({"<<"})}));
  g.set_root(root);
  ConstraintState state(constrained(g), 8);
  auto mask = state.mask();
  ASSERT_TRUE(mask.ok());
  for (int32_t t = 0; t < vocabulary()->size(); ++t)
    EXPECT_EQ((*mask)->test(t), t != kEos && !vocabulary()->bytes_of(t).empty()) << vocabulary()->bytes_of(t);
  EXPECT_TRUE(state.can_end());
  const auto token = [&](std::string_view text) {
    for (int32_t t = 0; t < vocabulary()->size(); ++t) {
      if (vocabulary()->bytes_of(t) == text) return t;
    }
    return -1;
  };
  ASSERT_TRUE(state.accept(kSpecial)) << "special tokens are text where it is free";
  ASSERT_TRUE(state.accept(token("<<")));
  EXPECT_FALSE(state.can_end());
  EXPECT_FALSE(state.accept(kSpecial));
  mask = state.mask();
  EXPECT_EQ((*mask)->count(), 3) << "a, ab and abc";
  ASSERT_TRUE(state.accept(token("abc")));
  ASSERT_TRUE(state.accept(token(">")));
  ASSERT_TRUE(state.accept(token("><")));
  EXPECT_TRUE(state.can_end());
  ASSERT_TRUE(state.accept(token("<"))) << "the trigger may lie across tokens";
  EXPECT_FALSE(state.can_end());
}

TEST(Constraint, RefusesWhatOnlyMatchesNothing) {
  static ProfileCache cache(1 << 20);
  const auto automaton = text::grammar::compile(*text::grammar::regex_grammar(""));
  ASSERT_TRUE(automaton.ok());
  EXPECT_THAT(Constraint::create(*automaton, vocabulary(), cache, nullptr).status().message(),
              HasSubstr("empty text"));
}

// --- the sampler
// --------------------------------------------------------------------------------------------------

SamplingParams greedy() { return {.temperature = 0}; }

// Follows the largest logits that are left; `favourite` is larger than all others.
std::string write(Sampler& sampler, int32_t favourite, int steps) {
  std::string out;
  for (int i = 0; i < steps && !sampler.exhausted(); ++i) {
    std::vector<float> logits(static_cast<size_t>(vocabulary()->size()) + 8);
    for (size_t t = 0; t < logits.size(); ++t) logits[t] = -static_cast<float>(t);
    logits[static_cast<size_t>(favourite)] = 100;
    auto sample = sampler.choose(logits, static_cast<int32_t>(logits.size()));
    EXPECT_TRUE(sample.ok()) << sample.status().message();
    if (!sample.ok() || sample->token == kEos) break;
    out += vocabulary()->bytes_of(sample->token);
  }
  return out;
}

TEST(ConstrainedSampler, ChoosesOnlyWhatFits) {
  const auto constraint = constrained(*text::grammar::regex_grammar("ab{2}(c|d)"));
  Sampler sampler(greedy(), {}, {}, {kEos}, constraint);
  EXPECT_FALSE(sampler.choice_elsewhere());
  EXPECT_EQ(write(sampler, kEos, 10), "abbc") << "no end before the text may end";
  EXPECT_TRUE(sampler.exhausted()) << "and none is needed behind it";
}

TEST(ConstrainedSampler, EndsWhereTheTextMayEnd) {
  const auto constraint = constrained(*text::grammar::regex_grammar("(ab)+"));
  Sampler sampler(greedy(), {}, {}, {kEos}, constraint);
  EXPECT_EQ(write(sampler, kEos, 10), "ab");
  // Not before min_tokens: what fits otherwise is chosen.
  SamplingParams longer = greedy();
  longer.min_tokens = 5;
  Sampler patient(longer, {}, {}, {kEos}, constraint);
  EXPECT_EQ(write(patient, kEos, 10), "ababab");
  // Without an end (ignore_eos) it goes on.
  Sampler endless(greedy(), {}, {}, {}, constraint);
  EXPECT_EQ(write(endless, kEos, 6), "ababab");
}

TEST(ConstrainedSampler, GoesOnWhereItWasInterrupted) {
  const auto constraint = constrained(*text::grammar::regex_grammar("a(b|c)d{3}e"));
  const int32_t a = 3 + 'a', c = 3 + 'c';
  const std::vector<int32_t> outputs{a, c};
  Sampler sampler(greedy(), {}, outputs, {kEos}, constraint);
  EXPECT_EQ(write(sampler, kEos, 10), "ddde");
  const std::vector<int32_t> wrong{c};
  Sampler lost(greedy(), {}, wrong, {kEos}, constraint);
  std::vector<float> logits(static_cast<size_t>(vocabulary()->size()));
  EXPECT_FALSE(lost.choose(logits, vocabulary()->size()).ok());
}

TEST(ConstrainedSampler, ReportsTheModelsOwnLogprobs) {
  const auto constraint = constrained(*text::grammar::regex_grammar("b+"));
  SamplingParams params = greedy();
  params.logprobs = 1;
  Sampler sampler(params, {}, {}, {kEos}, constraint);
  std::vector<float> logits(static_cast<size_t>(vocabulary()->size()), 0.0f);
  logits[3 + 'a'] = 5;
  const auto sample = sampler.choose(logits, vocabulary()->size());
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->token, 3 + 'b');
  EXPECT_EQ(sample->logprobs->top[0].first, 3 + 'a') << "what the model would have said";
  EXPECT_LT(sample->logprobs->logprob, sample->logprobs->top[0].second - 4.9f);
}

TEST(ConstrainedSampler, FailsAloneWhereNoTokenFits) {
  // The vocabulary below has no "z".
  auto small = std::make_shared<const Vocabulary>(std::vector<std::string>{"a", "b"}, std::vector<int32_t>{},
                                                  std::vector<int32_t>{});
  ProfileCache cache(1 << 20);
  const auto automaton = text::grammar::compile(*text::grammar::regex_grammar("az"));
  const auto constraint = Constraint::create(*automaton, small, cache, std::make_shared<MaskWorker>());
  ASSERT_TRUE(constraint.ok());
  Sampler sampler(greedy(), {}, {}, {}, *constraint);
  std::vector<float> logits{1, 2};
  EXPECT_EQ(sampler.choose(logits, 2)->token, 0);
  logits = {1, 2};
  EXPECT_THAT(sampler.choose(logits, 2).status().message(), HasSubstr("no token"));
}

TEST(ConstrainedSampler, IsTheSameWithRandomChoices) {
  const auto constraint = constrained(text::grammar::json_object_grammar());
  SamplingParams params;
  params.seed = 11;
  params.top_p = 0.9f;
  std::mt19937 random(1);
  Sampler sampler(params, {}, {}, {kEos}, constraint);
  text::grammar::Matcher matcher(constraint->automaton());
  for (int i = 0; i < 60 && !sampler.exhausted(); ++i) {
    std::vector<float> logits(static_cast<size_t>(vocabulary()->size()));
    for (float& l : logits) l = static_cast<float>(random() % 1000) / 250;
    const auto sample = sampler.choose(logits, vocabulary()->size());
    ASSERT_TRUE(sample.ok()) << sample.status().message();
    if (sample->token == kEos) break;
    ASSERT_TRUE(matcher.accept(vocabulary()->bytes_of(sample->token)));
  }
}

// --- the compiler
// --------------------------------------------------------------------------------------------------

TEST(ConstraintCompiler, CompilesEachKindOnceAndForgetsWhatIsOld) {
  ConstraintCacheLimits cache;
  cache.max_entries = 4;
  ConstraintCompiler compiler(text::tiny::make(text::tiny::byte_level_json()), {}, {}, cache);
  using Kind = StructuredOutput::Kind;
  for (const StructuredOutput& asked :
       {StructuredOutput{Kind::json_object, "", {}},
        StructuredOutput{Kind::json_schema, R"({"type":"integer"})", {}},
        StructuredOutput{Kind::regex, "a+", {}}, StructuredOutput{Kind::choice, "", {"x", "y"}},
        StructuredOutput{Kind::grammar, "root ::= \"x\"", {}}}) {
    const auto first = compiler.compile(asked), again = compiler.compile(asked);
    ASSERT_TRUE(first.ok()) << first.status().message();
    EXPECT_EQ(*first, *again);
    EXPECT_EQ(ConstraintState(*first).can_end(), false);
  }
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(compiler.compile({Kind::regex, "a{" + std::to_string(i + 1) + "}", {}}).ok());
  EXPECT_LE(compiler.entries(), 4u);
}

TEST(ConstraintCompiler, RefusesWithTheReason) {
  ConstraintCompiler compiler(text::tiny::make(text::tiny::byte_level_json()), {});
  using Kind = StructuredOutput::Kind;
  const auto error = [&](Kind kind, const std::string& text) {
    return compiler.compile({kind, text, {}}).status();
  };
  EXPECT_THAT(error(Kind::json_schema, "{").message(), HasSubstr("schema"));
  EXPECT_THAT(error(Kind::json_schema, R"({"not":{}})").message(), HasSubstr("\"not\""));
  EXPECT_THAT(error(Kind::regex, "(").message(), HasSubstr("regex"));
  EXPECT_THAT(error(Kind::choice, "").message(), HasSubstr("empty"));
  EXPECT_THAT(error(Kind::grammar, "x").message(), HasSubstr("line 1"));
  EXPECT_EQ(error(Kind::regex, "(.{0,9999}){9999}").code(), StatusCode::resource_exhausted);
}

}  // namespace
}  // namespace sluice::sampling
