#include "base/json.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Json, KeepsKeyOrder) {
  auto r = parse_json(R"({"b":1,"a":[true,null,"x"],"c":{"z":1.5}})", "t");
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(dump_json(*r), R"({"b":1,"a":[true,null,"x"],"c":{"z":1.5}})");
}

TEST(Json, RefusesWhatIsNotStrictJson) {
  for (const char* bad : {"", "{", "{\"a\":1,}", "[1] x", "{\"a\":1,\"a\":2}", "[NaN]", "\xEF\xBB\xBF[]",
                          "[\"\xff\"]", "[1e999]"}) {
    auto r = parse_json(bad, "file.json");
    EXPECT_FALSE(r.ok()) << bad;
    EXPECT_NE(r.status().message().find("file.json"), std::string::npos);
  }
}

TEST(Json, SaysWhereAndNoMoreThanFits) {
  EXPECT_EQ(parse_json("{\n\"a\": x}", "f.json").status().message().substr(0, 54),
            "f.json: not valid JSON: byte 8, line 2, column 6: synt");
  const std::string long_text(1'000'000, 'k');
  for (const std::string& bad : {"[\"" + long_text, "{\"" + long_text + "\":1,\"" + long_text + "\":2}",
                                 "[1" + std::string(1'000'000, '0') + "]", "[\"" + long_text + "\" \"x\"]"}) {
    const auto r = parse_json(bad, "f.json");
    ASSERT_FALSE(r.ok());
    EXPECT_LT(r.status().message().size(), 400u);
  }
}

TEST(Json, RefusesDuplicateKeysInLargeObjects) {
  std::string text = "{";
  for (int i = 0; i < 100; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_FALSE(parse_json(text + "\"k50\":1}", "t").ok());
  EXPECT_TRUE(parse_json(text + "\"x\":1}", "t").ok());
}

TEST(Json, BoundsDepth) {
  EXPECT_FALSE(parse_json(std::string(100000, '['), "t").ok());
  EXPECT_TRUE(parse_json(std::string(200, '[') + std::string(200, ']'), "t").ok());
}

TEST(Json, NanLiteralsOnRequest) {
  auto r = parse_json(R"({"a":NaN,"b":-Infinity,"s":"NaN"})", "t", {.allow_nan_literals = true});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(dump_json(*r), R"({"a":null,"b":null,"s":"NaN"})");
}

}  // namespace
}  // namespace sluice
