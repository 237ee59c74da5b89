#include "sampling/structured_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::sampling {
namespace {

using Kind = StructuredOutput::Kind;
using ::testing::HasSubstr;

TEST(StructuredJson, ReadsWhatVllmsClientsSend) {
  const auto read = [](const char* text) { return parse_structured_outputs(*parse_json(text, "t"), "f"); };
  EXPECT_EQ(read(R"({"json":{"type":"integer"}})")->text, R"({"type":"integer"})");
  EXPECT_EQ(read(R"({"json":"{\"type\":\"integer\"}"})")->text, R"({"type":"integer"})");
  EXPECT_EQ(read(R"({"json_object":true,"regex":null})")->kind, Kind::json_object);
  EXPECT_EQ(read(R"({"regex":"a+"})")->kind, Kind::regex);
  EXPECT_EQ(read(R"({"grammar":"root ::= \"a\""})")->kind, Kind::grammar);
  EXPECT_EQ(read(R"({"choice":["a","b"]})")->choices.size(), 2u);
  for (const char* wrong : {"1", "{}", R"({"regex":1})", R"({"choice":"a"})", R"({"choice":[1]})",
                            R"({"regex":"a","choice":["b"]})", R"({"json_object":1})"})
    EXPECT_THAT(read(wrong).status().message(), HasSubstr("f")) << wrong;
  EXPECT_EQ(read(R"({"structural_tag":{"format":{}}})")->text, R"({"format":{}})");
  EXPECT_EQ(read(R"({"structural_tag":"{}"})")->kind, Kind::structural_tag);
  EXPECT_THAT(read(R"({"lark":"x"})").status().message(), HasSubstr("f.lark is not supported"));
}

TEST(StructuredJson, ReadsOpenAisResponseFormat) {
  const auto read = [](const char* text) {
    return parse_response_format(*parse_json(text, "t"), "response_format");
  };
  EXPECT_FALSE(read(R"({"type":"text"})")->has_value());
  EXPECT_EQ((*read(R"({"type":"json_object"})"))->kind, Kind::json_object);
  EXPECT_EQ((*read(R"({"type":"json_object","schema":{"type":"null"}})"))->kind, Kind::json_schema);
  EXPECT_EQ(
      (*read(R"({"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"null"}}})"))
          ->text,
      R"({"type":"null"})");
  EXPECT_EQ((*read(R"({"type":"regex","regex":"a+"})"))->kind, Kind::regex);
  EXPECT_EQ((*read(R"({"type":"ebnf","ebnf":"root ::= \"a\""})"))->text, R"(root ::= "a")");
  EXPECT_EQ((*read(R"({"type":"structural_tag","format":{}})"))->kind, Kind::structural_tag);
  EXPECT_THAT(read(R"({"type":"regex","regex":1})").status().message(), HasSubstr("response_format.regex"));
  EXPECT_THAT(read(R"({"type":"json_schema"})").status().message(),
              HasSubstr("response_format.json_schema.schema"));
  EXPECT_THAT(read(R"({"type":"xml"})").status().message(), HasSubstr("response_format.type"));
  EXPECT_THAT(read("3").status().message(), HasSubstr("response_format.type"));
}

}  // namespace
}  // namespace sluice::sampling
