#include "text/grammar/structural_tag.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/grammar/grammar_testing.h"

namespace sluice::text::grammar {
namespace {

using ::testing::HasSubstr;

Result<Grammar> tags(const char* json) { return structural_tag_grammar(*parse_json(json, "t")); }
Result<Grammar> format(const std::string& json) { return tags((R"({"format":)" + json + "}").c_str()); }

constexpr const char* kFunctions =
    R"({"triggers":["<f="],"structures":[{"begin":"<f=a>","schema":{"type":"integer"},"end":"</f>"},)"
    R"({"begin":"<f=b>","schema":{"enum":["x"]},"end":"</f>"}],"type":"structural_tag"})";

TEST(StructuralTag, TextIsFreeButForTags) {
  const std::vector<std::string> yes = {"", "anything < <f \xff", "<f=a>7</f>",
                                        "first <f=a>-12</f> then <f=b>\"x\"</f><f=a>0</f>!"};
  const std::vector<std::string> no = {"<f=",           "<f=c>1</f>",     "<f=a>x</f>",   "<f=a>7</f",
                                       "a <f=a>7 </f>", "<f=b>\"y\"</f>", "<f=a>7</f><f="};
  check_cases({{kFunctions, yes, no}}, tags);
  const std::string modern =
      R"({"format":{"type":"triggered_tags","triggers":["<f="],"tags":[)"
      R"({"type":"tag","begin":"<f=a>","content":{"type":"json_schema","json_schema":{"type":"integer"}},"end":"</f>"},)"
      R"({"begin":"<f=b>","content":{"type":"json_schema","json_schema":"{\"enum\":[\"x\"]}"},"end":["</f>"]}]}})";
  check_cases({{modern.c_str(), yes, no}}, tags);
}

TEST(StructuralTag, EachTriggerBeginsItsOwnTags) {
  const char* two =
      R"({"triggers":["<a>","<ab","[b"],"structures":[{"begin":"<a>","schema":{"type":"null"},"end":";"},)"
      R"({"begin":"[b]","schema":{"type":"boolean"},"end":";"}]})";
  check_cases({{two,
                {"<a>null;", "x[b]true;y<a>null;", "<a", "[a]"},
                {"<a>true;", "[b]null;", "[bx", "<ab", "x<ab>"}}},  // <ab begins no tag: it never comes
              tags);
}

TEST(StructuralTag, TagsCanBeHadAtLeastAndAtMostOnce) {
  const auto with = [](const std::string& more) {
    return R"({"type":"triggered_tags","triggers":["<"],"tags":[{"begin":"<t>","content":{"type":"regex",)"
           R"("pattern":"[0-9]"},"end":"."}])" +
           more + "}";
  };
  const struct {
    std::string format;
    std::vector<std::string> yes, no;
  } kCases[] = {
      {with(""), {"", "a", "<t>1.", "a<t>1.b<t>2.c"}, {"<", "a<t>."}},
      {with(R"(,"at_least_one":true)"), {"<t>1.", "<t>1.b<t>2.c"}, {"", "a", "a<t>1."}},
      {with(R"(,"stop_after_first":true)"), {"", "a", "a<t>1."}, {"<t>1.b", "<t>1.<t>2."}},
      {with(R"(,"at_least_one":true,"stop_after_first":true)"), {"<t>1."}, {"", "a<t>1.", "<t>1.b"}},
      {with(R"(,"excludes":["no"])"), {"", "n", "<t>1.n"}, {"no", "a no <t>1.", "<t>1.no"}},
  };
  for (const auto& c : kCases) check_cases({{c.format.c_str(), c.yes, c.no}}, format);
}

TEST(StructuralTag, FormatsAreMadeOfFormats) {
  const std::string digit = R"({"type":"regex","pattern":"[0-9]"})";
  const std::string tag = R"({"type":"tag","begin":"<","content":{"type":"any_text"},"end":[">","/"]})";
  const struct {
    std::string format;
    std::vector<std::string> yes, no;
  } kCases[] = {
      {R"({"type":"const_string","value":"ab"})", {"ab"}, {"", "a", "abc"}},
      {R"({"type":"grammar","grammar":"root ::= \"a\" root | \"b\""})", {"b", "aab"}, {"a", "ba"}},
      {R"({"type":"any_text"})", {"", "a\xff"}, {}},
      {R"({"type":"any_text","excludes":["ab"]})", {"", "a", "ba"}, {"ab", "xabx"}},
      {R"({"type":"sequence","elements":[)" + digit + "," + tag + "," + digit + "]}",
       {"1<>2", "1<abc>2", "1<a/2"},
       {"1<2", "<>2", "1<a>b>2"}},
      {R"({"type":"sequence","elements":[{"type":"any_text"},{"type":"const_string","value":"!"}]})",
       {"!", "a!", "a!!"},
       {"", "a"}},
      {R"({"type":"or","elements":[)" + digit + "," + tag + "]}", {"1", "<x>"}, {"", "1<x>"}},
      {R"({"type":"optional","content":)" + digit + "}", {"", "1"}, {"12"}},
      {R"({"type":"star","content":)" + digit + "}", {"", "1", "123"}, {"a"}},
      {R"({"type":"plus","content":)" + digit + "}", {"1", "123"}, {""}},
      {R"({"type":"repeat","min":2,"max":3,"content":)" + digit + "}", {"12", "123"}, {"1", "1234"}},
      {R"({"type":"repeat","min":2,"max":-1,"content":)" + digit + "}", {"12", "12345"}, {"1"}},
      {R"({"type":"tags_with_separator","separator":", ","tags":[)" + tag + "]}",
       {"", "<a>", "<a>, <b/"},
       {"<a><b>", "<a>, "}},
      {R"({"type":"tags_with_separator","separator":",","at_least_one":true,"stop_after_first":true,"tags":[)" +
           tag + "]}",
       {"<a>"},
       {"", "<a>,<b>"}},
      // Free text ends where the tag that it stands in does.
      {R"({"type":"tag","begin":"[","end":"]","content":{"type":"triggered_tags","triggers":["<"],"tags":[)" +
           tag + "]}}",
       {"[]", "[a<b>c]", "[<]/]"},
       {"[", "[a<b]", "a", "[a]b]"}},
      {R"({"type":"tag","begin":"[","end":"]","content":{"type":"optional","content":)" + digit + "}}",
       {"[]", "[1]"},
       {"[12]"}},
  };
  for (const auto& c : kCases) check_cases({{c.format.c_str(), c.yes, c.no}}, format);
}

TEST(StructuralTag, WhatIsWrongIsNamedWithItsPlace) {
  const struct {
    std::string tag, place;
  } kCases[] = {
      {"3", "structural_tag: expected an object"},
      {"{}", "structural_tag.format.type"},
      {R"({"format":{"type":"token"}})", "structural_tag.format.type: \"token\" is not supported"},
      {R"({"format":{"type":"const_string"}})", "structural_tag.format.value"},
      {R"({"format":{"type":"json_schema","json_schema":{"not":{}}}})", "not"},
      {R"({"format":{"type":"json_schema","style":"qwen_xml","json_schema":{}}})", "format.style"},
      {R"({"format":{"type":"regex","pattern":"("}})", "structural_tag.format.pattern"},
      {R"({"format":{"type":"or","elements":[]}})", "structural_tag.format.elements"},
      {R"({"format":{"type":"sequence","elements":[{"type":"any_text"},5]}})",
       "structural_tag.format.elements[1].type"},
      {R"({"format":{"type":"repeat","min":3,"max":2,"content":{"type":"any_text"}}})", "min and max"},
      {R"({"format":{"type":"tag","begin":"a","content":{"type":"any_text"}}})", "structural_tag.format.end"},
      {R"({"triggers":["x"],"structures":[{"begin":"y","schema":{},"end":""}]})",
       "structural_tag.tags[0].begin: none of the triggers"},
      {R"({"triggers":["x","xy"],"structures":[{"begin":"xyz","schema":{},"end":""}]})", "two triggers"},
      {R"({"triggers":[],"structures":[{"begin":"y","schema":{},"end":""}]})", "structural_tag.triggers"},
      {R"({"triggers":["y"],"structures":[{"begin":"y","end":""}]})", "json_schema"},
      {R"({"triggers":["y"],"structures":[]})", "structural_tag.structures"},
  };
  for (const auto& c : kCases)
    EXPECT_THAT(tags(c.tag.c_str()).status().message(), HasSubstr(c.place)) << c.tag;
  std::string deep = R"({"type":"any_text"})";
  for (int i = 0; i < 100; ++i) deep = R"({"type":"star","content":)" + deep + "}";
  Limits limits;
  limits.max_depth = 50;
  EXPECT_EQ(structural_tag_grammar(*parse_json(R"({"format":)" + deep + "}", "t"), limits).status().code(),
            StatusCode::resource_exhausted);
}

}  // namespace
}  // namespace sluice::text::grammar
