#include "model/arch_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::model {
namespace {

using testing::HasSubstr;

Json json(const char* text) {
  auto parsed = parse_json(text, "test");
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return *parsed;
}

const Json& config() {
  static const Json* value = new Json(json(R"({
    "n": 3, "zero": 0, "off": false, "on": true, "none": null, "text": "relu", "rope": {"theta": 5.5, "deep": {"x": 1}},
    "list": [10, 20, 30], "only": [1, 2], "words": ["a", "b", "a"], "minus": -1, "half": 2.5})"));
  return *value;
}

// The value of a form in layer 0, 1, 2, ... as JSON; "error: ..." where it is refused.
std::string value(const char* form, int64_t layer = 0) {
  auto v = evaluate(json(form), config(), layer, "config.json");
  return v.ok() ? dump_json(*v) : "error: " + v.status().message();
}

std::vector<std::string> values(const char* form, int64_t layers) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < layers; ++i) out.push_back(value(form, i));
  return out;
}

using Strings = std::vector<std::string>;

TEST(Forms, Literals) {
  EXPECT_EQ(value("3"), "3");
  EXPECT_EQ(value("true"), "true");
  EXPECT_EQ(value(R"("rms")"), R"("rms")");
  EXPECT_EQ(value("[]"), "[]");
  EXPECT_EQ(value("null"), "null");
}

TEST(Forms, ConfigKeys) {
  EXPECT_EQ(value(R"("$n")"), "3");
  EXPECT_EQ(value(R"("$rope.theta")"), "5.5");
  EXPECT_EQ(value(R"("$rope.deep.x")"), "1");
  EXPECT_EQ(value(R"("$none")"), "null");
  EXPECT_EQ(value(R"("$missing")"), "null");
  EXPECT_EQ(value(R"("$n.below.a.number")"), "null");
  EXPECT_EQ(value(R"("$off")"), "false");
}

TEST(Forms, FirstThatIsThere) {
  EXPECT_EQ(value(R"(["$missing", "$none", "$zero", 7])"), "0") << "0 is a value";
  EXPECT_EQ(value(R"(["$missing", 7])"), "7");
  EXPECT_EQ(value(R"(["$missing", "$none"])"), "null");
}

TEST(Forms, PerLayer) {
  EXPECT_EQ(values(R"({"per_layer": "$list"})", 3), (Strings{"10", "20", "30"}));
  EXPECT_THAT(value(R"({"per_layer": "$list"})", 3),
              HasSubstr("config.json: list: expected an array with an entry for each layer; layer 3"));
  EXPECT_THAT(value(R"({"per_layer": "$n"})"), HasSubstr("config.json: n: expected an array"));
  EXPECT_EQ(value(R"([{"per_layer": "$missing"}, 5])"), "5");
}

TEST(Forms, Period) {
  EXPECT_EQ(values(R"({"period": 3, "last": "L", "otherwise": "o"})", 7),
            (Strings{"\"o\"", "\"o\"", "\"L\"", "\"o\"", "\"o\"", "\"L\"", "\"o\""}));
  EXPECT_EQ(values(R"({"period": 1, "last": 1, "otherwise": 0})", 2), (Strings{"1", "1"}));
  EXPECT_EQ(values(R"({"period": ["$missing", "$n"], "last": 1, "otherwise": 0})", 3),
            (Strings{"0", "0", "1"}));
  for (const char* key : {"zero", "minus", "half", "text", "missing"}) {
    EXPECT_THAT(value(fmt::format(R"({{"period": "${}", "last": 1, "otherwise": 0}})", key).c_str()),
                HasSubstr(fmt::format("config.json: {}: expected a positive integer", key)));
  }
}

TEST(Forms, FromLayer) {
  EXPECT_EQ(values(R"({"from_layer": 2, "then": 1, "otherwise": 0})", 4), (Strings{"0", "0", "1", "1"}));
  EXPECT_EQ(values(R"({"from_layer": "$zero", "then": 1, "otherwise": 0})", 2), (Strings{"1", "1"}));
  EXPECT_THAT(value(R"({"from_layer": "$text", "then": 1, "otherwise": 0})"),
              HasSubstr("config.json: text: expected an integer"));
}

TEST(Forms, LayerIn) {
  EXPECT_EQ(values(R"({"layer_in": "$only", "then": 1, "otherwise": 0})", 4), (Strings{"0", "1", "1", "0"}));
  EXPECT_EQ(values(R"({"layer_in": ["$missing", []], "then": 1, "otherwise": 0})", 2), (Strings{"0", "0"}));
  EXPECT_THAT(value(R"({"layer_in": "$n", "then": 1, "otherwise": 0})"),
              HasSubstr("config.json: n: expected an array"));
}

TEST(Forms, If) {
  EXPECT_EQ(value(R"({"if": "$on", "then": "y", "otherwise": "n"})"), "\"y\"");
  EXPECT_EQ(value(R"({"if": "$n", "then": "y", "otherwise": "n"})"), "\"y\"");
  EXPECT_EQ(value(R"({"if": "$text", "then": "y", "otherwise": "n"})"), "\"y\"");
  for (const char* falsy : {"off", "zero", "none", "missing"}) {
    EXPECT_EQ(value(fmt::format(R"({{"if": "${}", "then": "y", "otherwise": "n"}})", falsy).c_str()), "\"n\"")
        << falsy;
  }
  EXPECT_EQ(
      values(
          R"({"if": {"per_layer": "$list"}, "then": {"period": 2, "last": 1, "otherwise": 0}, "otherwise": 9})",
          3),
      (Strings{"0", "1", "0"}))
      << "forms nest";
}

TEST(Forms, Switch) {
  EXPECT_EQ(value(R"({"switch": "$n", "cases": {"3": 144.0}, "otherwise": 1})"), "144.0");
  EXPECT_EQ(value(R"({"switch": "$zero", "cases": {"3": 144.0}, "otherwise": ["$missing", 256]})"), "256");
  EXPECT_EQ(value(R"({"switch": "$text", "cases": {"relu": 1}, "otherwise": 0})"), "1");
  EXPECT_EQ(value(R"({"switch": {"per_layer": "$words"}, "cases": {"b": 1}, "otherwise": 0})", 1), "1");
}

TEST(Forms, MembersWithoutAValueAreLeftOut) {
  EXPECT_EQ(value(R"({"a": "$n", "b": "$missing", "c": {"d": "$none", "e": 1}})"), R"({"a":3,"c":{"e":1}})");
}

TEST(Forms, NameTheKeysTheyRead) {
  EXPECT_EQ(config_keys(json(R"(["$num_local_experts", "$num_experts", 8])")),
            "num_local_experts or num_experts");
  EXPECT_EQ(config_keys(json("3")), "");
}

TEST(Documents, AllAreFoundByEachOfTheirNames) {
  EXPECT_THAT(known_architectures(),
              testing::IsSupersetOf({"cohere2", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "granite",
                                     "llama", "mistral", "mixtral", "olmo2", "phi3", "qwen2", "qwen3",
                                     "qwen3_moe", "smollm3", "stablelm", "starcoder2"}));
  for (const std::string& name : known_architectures()) {
    const auto document = arch_for_model_type(name);
    ASSERT_TRUE(document.ok()) << name;
    EXPECT_EQ((*document)["name"], name);
    for (const char* section : {"model", "layer", "types", "tensors"})
      EXPECT_TRUE(document->contains(section)) << name;
    EXPECT_FALSE(document->contains("gguf")) << "a safetensors document has no GGUF part";
  }
}

TEST(Documents, ExtendWhatTheyName) {
  const Json qwen3 = *arch_for_model_type("qwen3");
  EXPECT_EQ(qwen3["layer"]["attention"]["qk_norm"], "head");                      // its own
  EXPECT_EQ(qwen3["layer_type"], (*arch_for_model_type("qwen2"))["layer_type"]);  // its parent's
  EXPECT_EQ(qwen3["model"]["norm"], "rms");                                       // its grandparent's
  EXPECT_EQ(qwen3["model_types"], Json::array({"qwen3"}));
  EXPECT_FALSE((*arch_for_model_type("gpt2"))["layer"].contains("rope")) << "null removes";
}

TEST(Documents, WhatAnAncestorRefusesStaysRefused) {
  EXPECT_TRUE((*arch_for_model_type("gemma3_text"))["refuse"].contains("use_bidirectional_attention"));
}

TEST(Documents, GgufNamesReplaceThoseOfTheCheckpoint) {
  const Json gemma = *arch_for_gguf("gemma3");
  EXPECT_EQ(gemma["tensors"]["final_norm"], "output_norm") << "without plus_one: the converter adds the 1";
  EXPECT_EQ(gemma["tensors"]["layer"]["attention.q_norm"], "blk.{i}.attn_q_norm");
  const Json gpt2 = *arch_for_gguf("gpt2");
  EXPECT_EQ(gpt2["tensors"]["layer"]["attention.q"],
            json(R"({"name": "blk.{i}.attn_qkv", "rows": "q_of_qkv", "transpose": false})"));
}

TEST(Documents, UnknownOnesAreRefusedWithTheNearest) {
  const auto unknown = arch_for_model_type("qwen4");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.status().code(), StatusCode::unsupported);
  EXPECT_THAT(unknown.status().message(), HasSubstr("\"qwen4\" is not known"));
  EXPECT_THAT(unknown.status().message(), testing::ContainsRegex("nearest known ones are qwen[23]"));
  EXPECT_THAT(unknown.status().message(), HasSubstr("starcoder2"));  // the whole list

  EXPECT_THAT(arch_for_gguf("gemma4").status().message(),
              testing::ContainsRegex("nearest known ones are gemma[23]"));
  const std::string flood = arch_for_model_type(std::string(100'000, 'x')).status().message();
  EXPECT_LT(flood.size(), 2000u);
  EXPECT_FALSE(arch_for_model_type("").ok());
  EXPECT_FALSE(arch_for_model_type("decoder").ok()) << "what others extend is no architecture";
}

}  // namespace
}  // namespace sluice::model
