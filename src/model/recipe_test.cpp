#include "model/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Model tiny(const testing::TinyModel& shape) {
  testing::TempDirectory dir;
  EXPECT_TRUE(testing::write_tiny_checkpoint(dir.path(), shape).ok());
  auto model = load_model(dir.path());
  EXPECT_TRUE(model.ok()) << model.status().message();
  return *std::move(model);
}

RoleTypes types(const Model& model, std::vector<PrecisionRule> rules,
                std::vector<std::string>* notes = nullptr) {
  Recipe recipe;
  recipe.precision = std::move(rules);
  std::vector<std::string> ignored;
  auto resolved = resolve_types(model, recipe, notes == nullptr ? ignored : *notes);
  EXPECT_TRUE(resolved.ok());
  return *resolved;
}

std::vector<PrecisionRule> rules(const char* document) {
  auto parsed = precision_from_json(*parse_json(document, "test"), "p.json");
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.ok() ? *parsed : std::vector<PrecisionRule>();
}

TEST(Precision, AutoKeepsWhatTheCheckpointHas) {
  const Model model = tiny({.dtype = DType::bf16});
  for (const auto& [role, dtype] : types(model, *precision_from_name("auto")))
    EXPECT_EQ(dtype, DType::bf16) << role;
}

TEST(Precision, OfOneNameIsThatOfEveryMatrix) {
  const Model model = tiny({});
  for (const auto& [role, dtype] : types(model, *precision_from_name("bf16")))
    EXPECT_EQ(dtype, DType::bf16) << role;
  // Narrow types spare the embedding and the head.
  const RoleTypes narrow = types(model, *precision_from_name("q4_0"));
  EXPECT_EQ(narrow.at("embed"), DType::q8_0);
  EXPECT_EQ(narrow.at("head"), DType::q8_0);
  EXPECT_EQ(narrow.at("layers.1.attention.q"), DType::q4_0);
  EXPECT_EQ(narrow.at("layers.0.mlp.down"), DType::q4_0);
}

TEST(Precision, OfRoutersIsAlwaysF32) {
  const Model model = tiny({.arch = "mixtral", .dtype = DType::bf16});
  const RoleTypes t = types(model, *precision_from_name("q8_0"));
  EXPECT_EQ(t.at("layers.0.moe.router"), DType::f32);
  EXPECT_EQ(t.at("layers.0.moe.down"), DType::q8_0);
}

TEST(Precision, DocumentsSpeakByRoleAndLayer) {
  const Model model = tiny({.layers = 4});
  const RoleTypes t = types(model, rules(R"({
      "attention": {"qkv": "fp16", "out": "q8_0"}, "feedforward": {"intermediate": "q8_0", "output": "fp16"},
      "normalization": "fp32", "embedding": "bf16",
      "layers": {"0": {"attention": {"qkv": "fp32"}}, "2-3": {"feedforward": {"output": "q4_0"}}}})"));
  EXPECT_EQ(t.at("embed"), DType::bf16);
  EXPECT_EQ(t.at("head"), DType::f32) << "not spoken of: as the checkpoint has it";
  EXPECT_EQ(t.at("layers.0.attention.v"), DType::f32);
  EXPECT_EQ(t.at("layers.1.attention.v"), DType::f16);
  EXPECT_EQ(t.at("layers.1.attention.o"), DType::q8_0);
  EXPECT_EQ(t.at("layers.1.mlp.gate"), DType::q8_0);
  EXPECT_EQ(t.at("layers.1.mlp.down"), DType::f16);
  EXPECT_EQ(t.at("layers.2.mlp.down"), DType::q4_0);
  EXPECT_EQ(t.at("layers.3.mlp.down"), DType::q4_0);
}

TEST(Precision, BlocksThatDoNotFitFallBackAndSaySo) {
  const Model model = tiny({.hidden = 48, .heads = 3, .kv_heads = 3, .width = 96});
  std::vector<std::string> notes;
  const RoleTypes t = types(model, *precision_from_name("q4_0"), &notes);
  EXPECT_EQ(t.at("layers.0.attention.q"), DType::bf16) << "48 is no multiple of 32";
  EXPECT_EQ(t.at("layers.0.mlp.down"), DType::q4_0) << "96 is";
  EXPECT_THAT(notes,
              ::testing::Contains(AllOf(HasSubstr("attention.qkv"), HasSubstr("48"), HasSubstr("bf16"))));
}

TEST(Precision, NonsenseIsRefusedByName) {
  const auto refusal = [](const char* document) {
    auto parsed = precision_from_json(*parse_json(document, "test"), "p.json");
    return parsed.ok() ? std::string("accepted") : parsed.status().message();
  };
  const std::pair<const char*, const char*> bad[] = {
      {"[]", "expected an object"},
      {R"({"attention": {"qkv": "fp17"}})", "attention.qkv"},
      {R"({"attention": {"qkv": 16}})", "attention.qkv"},
      {R"({"attention": {"heads": "fp16"}})", "\"heads\""},
      {R"({"attention": 3})", "attention"},
      {R"({"experts": "fp16"})", "experts"},
      {R"({"normalization": "fp16"})", "normalization"},
      {R"({"embedding": "fp8"})", "not there yet"},
      {R"({"layers": 3})", "layers"},
      {R"({"layers": {"x": {}}})", "\"x\""},
      {R"({"layers": {"3-1": {}}})", "\"3-1\""},
      {R"({"layers": {"-1": {}}})", "\"-1\""},
      {R"({"layers": {"1": 5}})", "layers.1"},
      {R"({"layers": {"1": {"head": "fp16"}}})", "head"},
  };
  for (const auto& [document, says] : bad) {
    EXPECT_THAT(refusal(document), AllOf(HasSubstr("p.json"), HasSubstr(says))) << document;
  }
  EXPECT_THAT(precision_from_name("fp8").status().message(), HasSubstr("not there yet"));
  EXPECT_THAT(precision_from_name("potato").status().message(), HasSubstr("\"potato\""));
}

TEST(Recipe, IsCompletedFromTheModel) {
  const Spec spec = tiny({}).spec;  // 256 positions
  Recipe r;
  ASSERT_TRUE(complete(r, spec, 64).ok());
  EXPECT_EQ(r.max_seq_len, 256);
  EXPECT_EQ(r.max_sequences, 16);
  EXPECT_EQ(r.max_batch_tokens, 512);
  EXPECT_EQ(r.page_tokens, 64) << "what the backend prefers";
  EXPECT_EQ(r.kv_tokens, 256 * 16);
  Recipe wide;
  wide.max_sequences = 700;
  wide.page_tokens = 16;
  ASSERT_TRUE(complete(wide, spec, 64).ok());
  EXPECT_EQ(wide.max_batch_tokens, 700) << "a step takes a token of each";
  EXPECT_EQ(wide.page_tokens, 16);
}

TEST(Recipe, IsRefusedWhereItCannotBe) {
  const Spec spec = tiny({}).spec;
  const auto refusal = [&](Recipe r) { return complete(r, spec, 64).message(); };
  EXPECT_THAT(refusal({.max_seq_len = 257}), AllOf(HasSubstr("257"), HasSubstr("256")));
  EXPECT_THAT(refusal({.max_seq_len = -1}), HasSubstr("positive"));
  EXPECT_THAT(refusal({.kv_tokens = 100}), AllOf(HasSubstr("--kv_tokens 100"), HasSubstr("256")));
  EXPECT_THAT(refusal({.max_sequences = 1'000'000}), HasSubstr("out of range"));
  EXPECT_THAT(refusal({.tensor_parallel = 2}), HasSubstr("--tensor_parallel"));
  Recipe layer;
  layer.precision = {{5, 5, "head", DType::f32}};
  EXPECT_THAT(refusal(layer), AllOf(HasSubstr("layer 5"), HasSubstr("2 layers")));
}

TEST(Recipe, StoresAndReadsBack) {
  Recipe r;
  r.precision = rules(R"({"attention": "fp16", "layers": {"0-1": {"feedforward": {"output": "q8_0"}}}})");
  r.batch_invariant = true;
  Recipe back;
  ASSERT_TRUE(from_json(to_json(r), "recipe", back).ok());
  EXPECT_EQ(back, r);
}

}  // namespace
}  // namespace sluice::model
