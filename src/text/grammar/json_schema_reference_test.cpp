// Random texts written along the grammars of schemas are valid under them, according to the Python package
// jsonschema. Skipped where Python or the package is missing; SLUICE_PYTHON names the interpreter (default
// python3).
#include <cstdlib>
#include <fstream>

#include "base/json.h"
#include "base/testing/python.h"
#include "text/grammar/grammar_testing.h"
#include "text/grammar/json_schema.h"

namespace sluice::text::grammar {
namespace {

constexpr const char* kSchemas[] = {
    "true",
    R"({"type":["string","integer","null"],"minLength":2,"maxLength":5,"minimum":-7,"exclusiveMaximum":12})",
    R"({"type":"string","pattern":"^[a-c\"\\\\\\n]{2,4}$","minLength":3})",
    R"({"type":"string","pattern":"b+"})",
    R"({"type":"number","minimum":-1.25,"exclusiveMaximum":12.5})",
    R"({"type":"number","exclusiveMinimum":0.001,"maximum":0.25})",
    R"({"type":"integer","multipleOf":7})",
    R"({"type":"integer","minimum":995,"maximum":12003})",
    R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"enum":["x",{"y":[1,null]}]},"c":false},"required":["b"],"additionalProperties":{"type":"boolean"}})",
    R"({"type":"object","properties":{"age":{"const":1},"name":{"type":"string"}},"additionalProperties":{"type":"null"}})",
    R"({"type":"object","additionalProperties":{"type":"integer"},"maxProperties":3})",
    R"({"type":"object","patternProperties":{"^x-[ab]":{"type":"null"}},"additionalProperties":false})",
    R"({"type":"object","propertyNames":{"pattern":"^[a-c]+$"},"additionalProperties":{"const":0}})",
    R"({"type":"array","prefixItems":[{"type":"boolean"},{"const":"k"}],"items":{"type":"integer"},"minItems":1,"maxItems":4})",
    R"({"anyOf":[{"type":"object","properties":{"t":{"const":"a"}},"required":["t"]},{"type":"array","items":{"$ref":"#"},"maxItems":2}]})",
    R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"x":{"type":"integer"}},"required":["t","x"]},{"type":"object","properties":{"t":{"const":"b"}},"required":["t"]},{"type":"null"}]})",
    R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","maximum":9}},"required":["a"]},{"properties":{"a":{"minimum":5},"b":{"type":"null"}},"additionalProperties":{"type":"string"}}]})",
    R"({"type":"object","properties":{"k":{"type":"string"}},"required":["k"],"anyOf":[{"properties":{"k":{"const":"a"}}},{"required":["n"],"properties":{"n":{"const":1}}}]})",
    R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"],"additionalProperties":false}}})",
};

TEST(JsonSchemaReference, WhatIsWrittenIsValid) {
  const std::string python = test_python();
  if (const std::string why = test_python_lacks("jsonschema"); !why.empty()) GTEST_SKIP() << why;
  std::mt19937 random(9);
  Json cases = Json::array();
  size_t texts = 0;
  for (const char* source : kSchemas) {
    const Json schema = *parse_json(source, "schema");
    const Tested tested(schema_grammar(schema));
    ASSERT_TRUE(tested.status().ok()) << source << ": " << tested.status().message();
    Json written = Json::array();
    for (int i = 0; i < 200; ++i) {
      const std::string text = tested.sample(random, 200);
      Matcher whole(tested.automaton());
      if (whole.accept(text) && whole.can_end()) written.push_back(text);
    }
    texts += written.size();
    EXPECT_GT(written.size(), 20u) << source;
    cases.push_back({{"schema", schema}, {"texts", std::move(written)}});
  }
  EXPECT_GT(texts, 1500u);
  const std::string file = testing::TempDir() + "sluice_json_schema_reference.json";
  std::ofstream(file) << dump_json(cases);
  EXPECT_EQ(
      std::system((python + " " + SLUICE_SOURCE_DIR + "/tests/json_schema_reference.py " + file).c_str()), 0);
  std::remove(file.c_str());
}

}  // namespace
}  // namespace sluice::text::grammar
