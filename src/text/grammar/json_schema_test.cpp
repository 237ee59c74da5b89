#include "text/grammar/json_schema.h"

#include <gmock/gmock.h>

#include "text/grammar/grammar_testing.h"

namespace sluice::text::grammar {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Result<Grammar> from_text(const std::string& schema, const Limits& limits = {}) {
  SLUICE_ASSIGN(const Json json, parse_json(schema, "schema", {.max_depth = 1'000}));
  return schema_grammar(json, limits);
}

TEST(JsonSchema, MatchesTypes) {
  check_cases(
      {
          {R"({"type":"string"})",
           {R"("")", R"("a b")", R"("\"\\\/\b\f\n\r\t\u00e9\ud83e\udd99")", R"("é🦙")"},
           {"", "a", "\"", "\"\n\"", R"("\x")", R"("\ud83e")", R"("\udd99")", "\"\xC3\"", "1"}},
          {R"({"type":"integer"})",
           {"0", "-1", "123456789012345678"},
           {"01", "1.5", "1e3", "-", "1234567890123456789"}},
          {R"({"type":"number"})", {"0", "-1.25", "1e10", "2.5E-3"}, {".5", "1.", "00", "+1", "1e", "NaN"}},
          {R"({"type":"boolean"})", {"true", "false"}, {"True", "null"}},
          {R"({"type":"null"})", {"null"}, {"\"null\""}},
          {R"({"type":["integer","null"]})", {"1", "null"}, {"\"1\""}},
          {R"({"type":"string","nullable":true})", {"\"\"", "null"}, {"1"}},
          {"true", {"1", "{}", "[1, {\"a\": [null]}]", "\"x\""}, {"", "nul", "[1,]", "{1:2}"}},
          {"{}", {"1", "[]"}, {""}},
          {R"({"enum":["a","b\n",1,null,{"k":[1,2]}]})",
           {"\"a\"", "\"b\\n\"", "1", "null", R"({"k":[1,2]})", "{ \"k\": [1, 2] }"},
           {"\"c\"", "2", "{}"}},
          {R"({"type":"integer","enum":[1,"a",2.5]})", {"1"}, {"\"a\"", "2.5"}},
          {R"({"const":"x"})", {"\"x\""}, {"\"y\""}},
      },
      [](const char* s) { return from_text(s); });
}

TEST(JsonSchema, MatchesStrings) {
  check_cases(
      {
          {R"({"type":"string","minLength":2,"maxLength":3})",
           {R"("ab")", R"("🦙é")", R"("\n\u00e9a")", R"("\ud83e\udd99x")"},
           {R"("a")", R"("abcd")", R"("\ud83e\udd99")"}},
          {R"({"type":"string","pattern":"^[a-c\"\\n]+$"})",
           {R"("ab")", R"("\"\n")"},
           {R"("")", "\"\n\"", R"("d")"}},
          {R"({"type":"string","pattern":"b"})", {R"("b")", R"("abc")", R"("\nb")"}, {R"("ac")"}},
          {R"({"type":"string","pattern":"^a"})", {R"("a")", R"("ab")"}, {R"("ba")"}},
          {R"({"type":"string","pattern":"^a*$","minLength":2,"maxLength":4})",
           {R"("aa")", R"("aaaa")"},
           {R"("a")", R"("aaaaa")", R"("ab")"}},
          {R"({"pattern":"^x$"})", {R"("x")"}, {"1", R"("y")"}},
          {R"({"type":"string","format":"date"})",
           {R"("2024-02-28")", R"("1999-12-31")"},
           {R"("2024-02-30")", R"("2024-13-01")", R"("24-01-01")"}},
          {R"({"type":"string","format":"date-time"})",
           {R"("2024-02-28T23:59:59Z")", R"("2024-01-01T00:00:00.123+02:00")"},
           {R"("2024-02-28 23:59:59Z")", R"("2024-02-28T24:00:00Z")"}},
          {R"({"type":"string","format":"time"})", {R"("12:30:00Z")"}, {R"("12:30")"}},
          {R"({"type":"string","format":"duration"})",
           {R"("P1Y2M3D")", R"("PT5M")", R"("P2W")", R"("P1DT1H")"},
           {R"("P")", R"("PT")", R"("1D")", R"("P1H")"}},
          {R"({"type":"string","format":"uuid"})",
           {R"("2eb8aa08-aa98-11ea-b4aa-73b441d16380")"},
           {R"("2eb8aa08aa9811eab4aa73b441d16380")"}},
          {R"({"type":"string","format":"email"})",
           {R"("joe.bloggs+x@example.co.uk")"},
           {R"("joe@")", R"("@x.y")", R"("a..b@x.y")"}},
          {R"({"type":"string","format":"ipv4"})",
           {R"("192.168.0.255")"},
           {R"("256.0.0.1")", R"("1.2.3")", R"("01.2.3.4")"}},
          {R"({"type":"string","format":"ipv6"})",
           {R"("::1")", R"("::")", R"("2001:db8::ff00:42:8329")", R"("1:2:3:4:5:6:7:8")", R"("1::")"},
           {R"("1:2")", R"("1::2::3")", R"("12345::")", R"("1:2:3:4:5:6:7:8:9")"}},
          {R"({"type":"string","format":"hostname"})",
           {R"("www.example.com")"},
           {R"("-bad.example")", R"("a_b")"}},
          {R"({"type":"string","format":"uri"})",
           {R"("https://example.com/a?b=c#d")", R"("urn:isbn:1")"},
           {R"("/relative")", R"("http://a b")"}},
      },
      [](const char* s) { return from_text(s); });
}

TEST(JsonSchema, MatchesRangesOfNumbers) {
  check_cases(
      {
          {R"({"type":"integer","minimum":0,"maximum":120})",
           {"0", "9", "99", "120"},
           {"-1", "121", "1200", "-0", "007"}},
          {R"({"type":"integer","minimum":-15,"exclusiveMaximum":3})",
           {"-15", "-9", "0", "2"},
           {"-16", "3", "-20", "-100"}},
          {R"({"type":"integer","exclusiveMinimum":99})", {"100", "99999"}, {"99", "9", "-100"}},
          {R"({"type":"integer","maximum":-7})", {"-7", "-8", "-1000"}, {"-6", "0", "7"}},
          {R"({"type":"integer","minimum":0.5,"maximum":2.5})", {"1", "2"}, {"0", "3"}},
          {R"({"type":"number","minimum":0,"maximum":1})",
           {"0", "0.5", "1", "1.0", "0.999"},
           {"1.01", "-0.1", "2", "1e0"}},
          {R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})",
           {"0.1", "0.001", "0.99"},
           {"0", "0.0", "1", "1.0"}},
          {R"({"type":"number","minimum":-1.25,"maximum":12.5})",
           {"-1.25", "-1.2", "12.5", "12.50", "12.49", "9"},
           {"-1.26", "12.51", "13", "-2"}},
          {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "700"}, {"8", "1", "07"}},
          {R"({"type":"number","multipleOf":0.01})", {"1", "1.5", "1.25"}, {"1.255", "1e2"}},
          {R"({"type":"integer","format":"int32"})", {"2147483647", "-2147483648"}, {"2147483648"}},
          {R"({"minimum":3})", {"3", "3.5"}, {"2", "\"a\""}},
      },
      [](const char* s) { return from_text(s); });
}

TEST(JsonSchema, MatchesObjects) {
  check_cases(
      {
          {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a","b"],"additionalProperties":false})",
           {R"({"a":1,"b":"x"})", "{ \"a\": 1, \"b\": \"x\" }", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}"},
           {"{}", R"({"a":1})", R"({"b":"x","a":1})", R"({"a":1,"b":"x","c":2})", R"({"a":1 "b":"x"})"}},
          {R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}}})",
           {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"c":3})", R"({"a":1,"b":2,"c":3})"},
           {R"({"c":3,"a":1})", R"({,"a":1})", R"({"a":1,})", R"({"d":1})"}},
          {R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"required":["b"]})",
           {R"({"b":2})", R"({"a":1,"b":2})"},
           {"{}", R"({"a":1})"}},
          {R"({"type":"object","properties":{"age":{"const":1}},"additionalProperties":{"type":"boolean"}})",
           {R"({"age":1,"ag":true,"agex":false})", R"({"x":true})", R"({"":true})", R"({"a\n":true})"},
           {R"({"age":true})", R"({"\u0061ge":true})", R"({"x":1})", R"({"a\u0067e":true})"}},
          {R"({"type":"object"})", {"{}", R"({"x":[1]})"}, {"[]"}},
          {R"({"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})",
           {R"({"a":1})", R"({"a":1,"b":2})"},
           {"{}", R"({"a":1,"b":2,"c":3})", R"({"a":""})"}},
          {R"({"type":"object","patternProperties":{"^x-":{"type":"null"}},"additionalProperties":false})",
           {"{}", R"({"x-a":null})"},
           {R"({"y":null})", R"({"x-a":1})"}},
          {R"({"type":"object","propertyNames":{"enum":["a","b"]}})", {R"({"a":1,"b":[]})"}, {R"({"c":1})"}},
          {R"({"type":"object","required":["x"]})", {R"({"x":1})", R"({"x":1,"y":2})"}, {"{}", R"({"y":2})"}},
          {R"({"properties":{"a":false,"b":{}}})", {"{}", R"({"b":1})"}, {R"({"a":1})", "1"}},
      },
      [](const char* s) { return from_text(s); });
}

TEST(JsonSchema, MatchesArrays) {
  check_cases(
      {
          {R"({"type":"array","items":{"type":"integer"}})",
           {"[]", "[1]", "[1, 2]", "[\n  1,\n  2\n]"},
           {"[1,]", "[\"a\"]", "[1 2]"}},
          {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
           {"[1,2]", "[1,2,3]"},
           {"[]", "[1]", "[1,2,3,4]"}},
          {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
          {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false})",
           {"[]", "[1]", "[1,\"a\"]"},
           {"[\"a\"]", "[1,\"a\",2]"}},
          {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":2})",
           {"[1,null]", "[1,null,null]"},
           {"[1]", "[null]"}},
          {R"({"type":"array","items":[{"const":1},{"const":2}],"minItems":2,"maxItems":2})",
           {"[1,2]"},
           {"[1]", "[2,1]"}},
          {R"({"type":"array","uniqueItems":true,"maxItems":1})", {"[]", "[1]"}, {"[1,1]"}},
      },
      [](const char* s) { return from_text(s); });
}

TEST(JsonSchema, MatchesCombinations) {
  check_cases(
      {
          {R"({"anyOf":[{"type":"integer"},{"type":"null"}]})", {"1", "null"}, {"\"\""}},
          {R"({"type":"object","properties":{"k":{"type":"string"}},"anyOf":[{"properties":{"k":{"const":"a"}},"required":["k"]},{"required":["k","n"],"properties":{"n":{"const":1}}}]})",
           {R"({"k":"a"})", R"({"k":"b","n":1})"},
           {"{}", R"({"k":"b"})"}},
          {R"({"oneOf":[{"type":"string"},{"type":"array"}]})", {"\"\"", "[]"}, {"1"}},
          {R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"x":{"type":"integer"}},"required":["t","x"]},{"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})",
           {R"({"t":"a","x":1})", R"({"t":"b"})"},
           {R"({"t":"a"})", R"({"t":"c"})"}},
          {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"a":{"minimum":5},"b":{"type":"null"}}}]})",
           {R"({"a":5})", R"({"a":9,"b":null})"},
           {R"({"a":4})", R"({"b":null})"}},
          {R"({"allOf":[{"type":["integer","string"]},{"type":["number","null"]}]})",
           {"1"},
           {"1.5", "null", "\"\""}},
          {R"({"$ref":"#/$defs/a~1b","$defs":{"a/b":{"const":1}}})", {"1"}, {"2"}},
          {R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["v","next"]})",
           {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
           {R"({"v":1,"next":{"v":2}})"}},
          {R"({"$ref":"#/definitions/tree","definitions":{"tree":{"type":"array","items":{"$ref":"#/definitions/tree"}}}})",
           {"[]", "[[],[[]]]"},
           {"[1]", "[[]"}},
          {R"({"$defs":{"p":{"type":"integer","minimum":1}},"type":"object","properties":{"x":{"$ref":"#/$defs/p","maximum":3,"description":"d"}},"required":["x"]})",
           {R"({"x":3})"},
           {R"({"x":4})", R"({"x":0})"}},
      },
      [](const char* s) { return from_text(s); });
}

TEST(JsonSchema, RefusesByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"not":{}})", "\"not\""},
      {R"({"if":{},"then":{}})", "\"if\""},
      {R"({"type":"array","contains":{}})", "\"contains\""},
      {R"({"type":"array","uniqueItems":true})", "\"uniqueItems\""},
      {R"({"type":"object","dependentRequired":{}})", "\"dependentRequired\""},
      {R"({"type":"object","unevaluatedProperties":false})", "\"unevaluatedProperties\""},
      {R"({"properties":{"a":{"maxlength":3}}})", "\"maxlength\""},
      {R"({"properties":{"a":{"maxlength":3}}})", "/properties/a"},
      {R"({"type":"string","format":"iri"})", "\"iri\""},
      {R"({"$ref":"https://example.com/schema"})", "example.com"},
      {R"({"$ref":"other.json#/a"})", "other.json"},
      {R"({"$ref":"#anchor"})", "#anchor"},
      {R"({"oneOf":[{"type":"integer"},{"minimum":3}]})", "oneOf: alternatives 0 and 1"},
      {R"({"type":"number","multipleOf":0.3})", "multipleOf"},
      {R"j({"type":"string","pattern":"(?=a)"})j", "look-ahead"},
      {R"({"type":"string","enum":["a"],"minLength":3})", "minLength"},
      {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "\"pattern\""},
      {R"({"type":"object","patternProperties":{"a":{},"b":{}}})", "patternProperties"},
      {R"({"type":"object","properties":{"a":{}},"minProperties":1})", "minProperties"},
  };
  for (const auto& [schema, what] : cases) {
    const Status status = Tested(from_text(schema)).status();
    EXPECT_EQ(status.code(), StatusCode::unsupported) << schema << ": " << status.message();
    EXPECT_THAT(status.message(), HasSubstr(what)) << schema;
  }
}

TEST(JsonSchema, RefusesWhatIsWrong) {
  for (const char* schema : {
           "1",
           "null",
           "[]",
           R"({"type":"strin"})",
           R"({"type":[]})",
           R"({"type":3})",
           R"({"properties":[]})",
           R"({"required":"a"})",
           R"({"type":"object","required":[1]})",
           R"({"anyOf":[]})",
           R"({"anyOf":{}})",
           R"({"enum":[]})",
           R"({"enum":{}})",
           R"({"type":"string","minLength":-1})",
           R"({"type":"string","maxLength":1.5})",
           R"({"type":"string","pattern":3})",
           R"({"type":"string","pattern":"("})",
           R"({"type":"integer","minimum":"1"})",
           R"({"$ref":3})",
           R"({"$ref":"#/nowhere"})",
           R"({"type":"string","minLength":3,"maxLength":2})",
           "false",
           R"({"type":"integer","minimum":3,"maximum":2})",
           R"({"$ref":"#"})",
           R"({"allOf":[{"$ref":"#"}]})",
           R"({"type":"array","items":{"$ref":"#"},"minItems":1})",
           R"({"type":"number","multipleOf":0})",
       }) {
    const Status status = Tested(from_text(schema)).status();
    EXPECT_FALSE(status.ok()) << schema;
    EXPECT_NE(status.code(), StatusCode::internal) << schema;
  }
}

TEST(JsonSchema, HasBudgets) {
  // A few times the compiler's own limit; from outside the parser lets in no more than JsonLimits::max_depth.
  std::string deep;
  for (int i = 0; i < 900; ++i) deep += R"({"type":"array","items":)";
  deep += "true" + std::string(900, '}');
  EXPECT_EQ(Tested(from_text(deep)).status().code(), StatusCode::resource_exhausted);
  EXPECT_EQ(Tested(from_text(R"({"type":"string","maxLength":1000000})")).status().code(),
            StatusCode::resource_exhausted);
  EXPECT_EQ(Tested(from_text(R"({"type":"array","minItems":1000000000000})")).status().code(),
            StatusCode::resource_exhausted);
  EXPECT_EQ(Tested(from_text(R"({"type":"string","pattern":"(.{0,9999}){9999}"})")).status().code(),
            StatusCode::resource_exhausted);
  // A long chain of references, and a doubling one, are no deeper than one.
  std::string chain = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 1000; ++i) {
    chain += fmt::format(
        R"("d{}":{{"type":"array","prefixItems":[{{"$ref":"#/$defs/d{}"}},{{"$ref":"#/$defs/d{}"}}]}},)", i,
        i + 1, i + 1);
  }
  const Tested doubling(from_text(chain + R"("d1000":{"type":"null"}}})"));
  EXPECT_TRUE(doubling.status().ok()) << doubling.status().message();
  std::string values = R"({"enum":["v0")";
  for (int i = 1; i < 100'000; ++i) values += ",\"v" + std::to_string(i) + "\"";
  const Status many = Tested(from_text(values + "]}")).status();
  EXPECT_TRUE(many.ok() || many.code() == StatusCode::resource_exhausted) << many.message();
  const Status text = Tested(from_text(R"({"enum":[")" + std::string(100'000, 'x') + "\"]}")).status();
  EXPECT_TRUE(text.ok()) << text.message();
}

TEST(JsonObject, MatchesAnyObject) {
  const Tested tested(json_object_grammar());
  for (const char* text : {"{}", R"({"a": [1, 2.5, {"b": null}], "c": "\u00e9"})"})
    EXPECT_TRUE(tested.matches(text));
  for (const char* text : {"[]", "1", "{", "{}}", "{\"a\"}", "{'a':1}"}) EXPECT_FALSE(tested.matches(text));
}

}  // namespace
}  // namespace sluice::text::grammar
