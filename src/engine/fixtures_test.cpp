// Whole models against Hugging Face's logits: every reference fixture of a known architecture.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "engine/testing/cores.h"
#include "engine/verify.h"
#include "model/arch_document.h"
#include "model/testing/temp_directory.h"

namespace sluice::engine {
namespace {

namespace fs = std::filesystem;
using model::testing::TempDirectory;

const std::string kFixtures = std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures";

struct Fixture {
  std::string name;
  double tolerance;
  bool legacy;  // has config_legacy.json
};

// Rows of the index whose model_type has an arch document.
std::vector<Fixture> fixtures() {
  std::vector<Fixture> out;
  auto index = read_json_file(kFixtures + "/index.json");
  if (!index.ok()) return out;
  for (const auto& [name, row] : index->items()) {
    auto config =
        read_json_file(kFixtures + "/" + name + "/config.json", 1 << 20, {.allow_nan_literals = true});
    if (!config.ok() || !model::arch_for_model_type(config->value("model_type", "")).ok()) continue;
    out.push_back(
        {name, std::max(1e-3, 10 * row.value("f64_max_diff", 0.0)), row.value("legacy_config", false)});
  }
  return out;
}

model::Recipe exact() {
  model::Recipe recipe;
  recipe.activations = ops::Activations::f32;
  recipe.kv = DType::f32;
  recipe.max_seq_len = 128;
  recipe.max_sequences = 2;
  return recipe;
}

void expect_verified(const std::string& model, const std::string& reference, const std::string& prefix,
                     const model::Recipe& recipe, const VerifyOptions& options, const std::string& isa = "") {
  auto core = testing::open_core(model, recipe, isa);
  ASSERT_TRUE(core.ok()) << core.status().message();
  const auto report = verify(**core, reference, prefix, options);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->prompts.size(), 3u);
  for (const PromptReport& p : report->prompts) {
    EXPECT_TRUE(p.passed) << p.name << ": max |difference| " << p.max_logit_difference << " of "
                          << options.tolerance << ", KL " << p.kl << ", top-1 " << p.top1 << ", greedy "
                          << p.greedy_equal << " of " << p.greedy_compared << "; first departing layer "
                          << report->first_departing_layer;
  }
}

class Fixtures : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kFixtures)) GTEST_SKIP() << "the reference fixtures are not there: " << kFixtures;
    ASSERT_GE(fixtures().size(), 17u) << "one for each architecture at least";
  }

  static void run_all(const std::string& isa, bool legacy) {
    for (const Fixture& f : fixtures()) {
      if (legacy && !f.legacy) continue;
      SCOPED_TRACE(f.name);
      const std::string directory = kFixtures + "/" + f.name;
      TempDirectory as_legacy;  // the same tensors under the older config
      if (legacy) {
        for (const auto& entry : fs::directory_iterator(directory)) {
          const std::string name = entry.path().filename();
          if (name == "config.json") continue;
          fs::create_symlink(entry.path(), as_legacy / (name == "config_legacy.json" ? "config.json" : name));
        }
      }
      expect_verified(legacy ? as_legacy.path() : directory, directory + "/reference.safetensors", "",
                      exact(), {.tolerance = f.tolerance}, isa);
    }
  }
};

TEST_F(Fixtures, AgreeWithTheFastKernels) { run_all("", false); }
TEST_F(Fixtures, AgreeWithThePlainKernels) { run_all("scalar", false); }
TEST_F(Fixtures, AgreeUnderTheirOlderConfigs) { run_all("", true); }

// int8 activations where weights are quantised, keys and values in f16 or i8: judged by distribution.
TEST_F(Fixtures, AreCloseWithNarrowKeysAndValues) {
  for (const Fixture& f : fixtures()) {
    SCOPED_TRACE(f.name);
    model::Recipe recipe;
    recipe.activations = ops::Activations::f32;
    recipe.max_seq_len = 128;
    recipe.max_sequences = 2;
    const auto expect_close = [&](DType kv, double max_kl, double min_top1) {
      recipe.kv = kv;
      expect_verified(kFixtures + "/" + f.name, kFixtures + "/" + f.name + "/reference.safetensors", "",
                      recipe, {.by_distribution = true, .max_kl = max_kl, .min_top1 = min_top1});
    };
    expect_close(DType::f16, 1e-4, 0.97);
    expect_close(DType::i8, 0.01, 0.9);
  }
}

// Where bf16 weights take bf16 inputs these models, whose weights are random, show what that rounding does.
TEST_F(Fixtures, AreCloseInTheDefaultMode) {
  for (const Fixture& f : fixtures()) {
    SCOPED_TRACE(f.name);
    model::Recipe recipe;
    recipe.max_seq_len = 128;
    recipe.max_sequences = 2;
    expect_verified(kFixtures + "/" + f.name, kFixtures + "/" + f.name + "/reference.safetensors", "", recipe,
                    {.by_distribution = true, .max_kl = 1e-3, .min_top1 = 0.9});
  }
}

TEST_F(Fixtures, AreCloseWithQuantisedWeights) {
  for (const Fixture& f : fixtures()) {
    SCOPED_TRACE(f.name);
    model::Recipe recipe;
    recipe.max_seq_len = 128;
    recipe.max_sequences = 2;
    recipe.precision = *model::precision_from_name("q8_0");
    expect_verified(kFixtures + "/" + f.name, kFixtures + "/" + f.name + "/reference.safetensors", "", recipe,
                    {.by_distribution = true, .max_kl = 0.02, .min_top1 = 0.85});
  }
}

TEST_F(Fixtures, OfGgufAgree) {
  const auto index = read_json_file(kFixtures + "/gguf/index.json");
  ASSERT_TRUE(index.ok()) << index.status().message();
  for (const auto& [type, row] : (*index)["files"].items()) {
    const std::string path = kFixtures + "/gguf/" + row["file"].get<std::string>();
    const std::string reference = kFixtures + "/gguf/reference.safetensors";
    for (const char* isa : {"", "scalar"}) {
      SCOPED_TRACE(type + " " + isa);
      expect_verified(path, reference, type + ".", exact(),
                      {.tolerance = std::max(1e-3, 10 * row.value("f64_max_diff", 0.0))}, isa);
      model::Recipe recipe;
      recipe.max_seq_len = 128;
      expect_verified(path, reference, type + ".", recipe,
                      {.by_distribution = true, .max_kl = 0.02, .min_top1 = 0.9}, isa);
    }
  }
}

}  // namespace
}  // namespace sluice::engine
