// A checkpoint's config and tensors against each other: what is honoured, and what is refused by name.
#include "model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "model/arch_document.h"
#include "model/testing/loose_checkpoint.h"
#include "model/testing/temp_directory.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::model {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::LooseCheckpoint;
using testing::TempDirectory;

LooseCheckpoint tiny(const std::string& arch) {
  TempDirectory dir;
  EXPECT_TRUE(testing::write_tiny_checkpoint(dir.path(), {.arch = arch}).ok());
  auto loose = testing::read_loose(dir.path());
  EXPECT_TRUE(loose.ok()) << loose.status().message();
  return *std::move(loose);
}

const LooseCheckpoint& llama() {
  static const auto* checkpoint = new LooseCheckpoint(tiny("llama"));
  return *checkpoint;
}

Result<Model> load(const LooseCheckpoint& checkpoint) {
  TempDirectory dir;
  if (Status s = testing::write_loose(dir.path(), checkpoint); !s.ok()) return s;
  return load_model(dir.path());  // reads headers only: what it returns outlives the directory
}

std::string refusal(const LooseCheckpoint& checkpoint) {
  const auto model = load(checkpoint);
  return model.ok() ? "loaded" : model.status().message();
}

// Keys of the config replaced, removed by null.
// A known model_type brings its class along.
LooseCheckpoint with(LooseCheckpoint checkpoint, const std::string& patch) {
  auto json = parse_json(patch, "patch");
  EXPECT_TRUE(json.ok()) << json.status().message();
  if (json->contains("model_type") && (*json)["model_type"].is_string()) {
    if (auto document = arch_for_model_type((*json)["model_type"]); document.ok())
      checkpoint.config["architectures"] = (*document)["classes"];
  }
  checkpoint.config.merge_patch(*json);
  return checkpoint;
}

Spec spec_of(const LooseCheckpoint& checkpoint) {
  auto model = load(checkpoint);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? model->spec : Spec{};
}

// --- the config
// -----------------------------------------------------------------------------------------------

struct BadConfig {
  std::string patch;
  const char* key;  // named in the message, beside the file
  const char* says;
};

class BadConfigs : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigs, AreRefusedNamingFileAndKey) {
  const std::string message = refusal(with(llama(), GetParam().patch));
  EXPECT_THAT(message, AllOf(HasSubstr("config.json"), HasSubstr(GetParam().key), HasSubstr(GetParam().says)))
      << GetParam().patch;
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_LT(message.size(), 1000u);
}

// Values from the file are shown, but not at any length.
const std::string kLongName(100'000, 'x');
const std::string kLongClass = R"({"architectures": [")" + kLongName + R"("]})";

const BadConfig kBadConfigs[] = {
    {R"({"model_type": null})", "model_type", "missing"},
    {R"({"model_type": 5})", "model_type", "missing"},
    {R"({"model_type": "lama"})", "model_type", "nearest known ones are llama"},
    {R"({"hidden_size": "64"})", "hidden_size", "expected an integer"},
    {R"({"hidden_size": null})", "hidden_size", "missing"},
    {R"({"hidden_size": 0})", "hidden_size", "positive"},
    {R"({"hidden_size": -64})", "hidden_size", "out of range"},
    {R"({"hidden_size": 32.5})", "hidden_size", "expected an integer"},
    {R"({"hidden_size": 2147483648})", "hidden_size", "out of range"},
    {R"({"hidden_size": 1e308})", "hidden_size", "expected an integer"},
    {R"({"hidden_size": [64]})", "hidden_size", "expected an integer"},
    {R"({"hidden_size": true})", "hidden_size", "expected an integer"},
    {R"({"vocab_size": 0})", "vocab_size", "positive"},
    {R"({"vocab_size": -1})", "vocab_size", "out of range"},
    {R"({"vocab_size": 99999999999999999999})", "vocab_size", "expected an integer"},
    {R"({"num_hidden_layers": 0})", "num_hidden_layers", "positive"},
    {R"({"num_hidden_layers": "2"})", "num_hidden_layers", "expected an integer"},
    {R"({"num_hidden_layers": 5000})", "num_hidden_layers", "more than 4096"},
    {R"({"num_attention_heads": 0})", "num_attention_heads", "positive"},
    {R"({"num_attention_heads": null})", "num_attention_heads", "missing"},
    {R"({"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": null})", "num_attention_heads",
     "head_dim"},
    {R"({"num_key_value_heads": 3})", "num_key_value_heads", "evenly"},
    {R"({"num_key_value_heads": 0})", "num_key_value_heads", "positive"},
    {R"({"num_key_value_heads": -2})", "num_key_value_heads", "out of range"},
    {R"({"head_dim": 15})", "head_dim", "even number"},
    {R"({"head_dim": -16})", "head_dim", "out of range"},
    {R"({"head_dim": 1000000})", "head_dim", "out of range"},
    {R"({"intermediate_size": null})", "intermediate_size", "missing"},
    {R"({"intermediate_size": 0})", "intermediate_size", "positive"},
    {R"({"intermediate_size": -96})", "intermediate_size", "out of range"},
    {R"({"max_position_embeddings": -1})", "max_position_embeddings", "no context length"},
    {R"({"max_position_embeddings": "256"})", "max_position_embeddings", "expected an integer"},
    {R"({"rms_norm_eps": "1e-6"})", "rms_norm_eps", "expected a number"},
    {R"({"rms_norm_eps": -1})", "norm", "positive"},
    {R"({"hidden_act": "tanhish"})", "hidden_act", "\"tanhish\" is not known"},
    {R"({"hidden_act": 3})", "hidden_act", "expected a string"},
    {R"({"tie_word_embeddings": "no"})", "tie_word_embeddings", "true or false"},
    {R"({"attention_bias": 1})", "attention_bias", "true or false"},
    {R"({"eos_token_id": 128})", "eos_token_id", "vocabulary of 128"},
    {R"({"eos_token_id": -1})", "eos_token_id", "vocabulary"},
    {R"({"eos_token_id": "2"})", "eos_token_id", "vocabulary"},
    {R"({"eos_token_id": [2, 4000]})", "eos_token_id", "4000"},
    {R"({"rope_theta": 0})", "rope_theta", "positive"},
    {R"({"rope_theta": -10000})", "rope_theta", "positive"},
    {R"({"rope_theta": "10000"})", "rope_theta", "expected a number"},
    {R"({"model_type": "stablelm", "partial_rotary_factor": 0})", "partial_rotary_factor", "even number"},
    {R"({"model_type": "stablelm", "partial_rotary_factor": 1.5})", "partial_rotary_factor", "even number"},
    {R"({"model_type": "phi3", "rope_parameters": {"partial_rotary_factor": 1.5}})", "partial_rotary_factor",
     "even number"},
    {R"({"rope_scaling": "linear"})", "rope_scaling", "expected an object"},
    {R"({"rope_scaling": {"rope_type": "spiral", "factor": 2}})", "rope scaling", "\"spiral\" is not known"},
    {R"({"rope_scaling": {"rope_type": 7, "factor": 2}})", "rope scaling", "\"7\" is not known"},
    {R"({"rope_scaling": {"type": "linear"}})", "factor", "needs"},
    {R"({"rope_scaling": {"type": "linear", "factor": 0}})", "factor", "positive"},
    {R"({"rope_scaling": {"type": "linear", "factor": "2"}})", "factor", "positive number"},
    {R"({"rope_scaling": {"type": "dynamic", "factor": -2}})", "factor", "positive"},
    {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}})",
     "original_max_position_embeddings", "needs"},
    {R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1,
         "original_max_position_embeddings": 64}})",
     "high_freq_factor", "larger"},
    {R"({"rope_scaling": {"rope_type": "yarn", "factor": 4, "beta_fast": 0}})", "beta_fast", "positive"},
    {R"({"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 64}})", "short_factor",
     "needs"},
    {R"({"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 64, "short_factor": [1, 1],
         "long_factor": [1, 1]}})",
     "short_factor", "2 entries"},
    {R"({"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 64,
         "short_factor": [1,1,1,1,1,1,1,1], "long_factor": [1,1,1,1,1,1,1,0]}})",
     "factors", "positive"},
    {R"({"rope_parameters": 3})", "rope_parameters", "expected an object"},
    {R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": []})", "rope_scaling",
     "expected an object"},
    {R"({"max_position_embeddings": 0})", "max_position_embeddings", "no context length"},
    {R"({"rms_norm_eps": 0})", "norm", "positive"},
    {R"({"architectures": null})", "architectures", "missing"},
    {R"({"architectures": []})", "architectures", "LlamaForCausalLM"},
    {R"({"architectures": "LlamaForCausalLM"})", "architectures", "[\"LlamaForCausalLM\"]"},
    {R"({"architectures": ["LlamaForCausalLM", "X"]})", "architectures", "can be run as"},
    {R"({"architectures": ["LlamaForSequenceClassification"]})", "architectures", "can be run as"},
    {R"({"rope_parameters": {"rope_theta": 500000}})", "rope_theta", "disagree"},
    {R"({"rope_parameters": {"rope_type": "linear", "factor": 2}, "rope_scaling": {"type": "linear", "factor": 4}})",
     "factor", "disagree"},
    {R"({"rope_parameters": {"rope_type": "yarn", "factor": 2}, "rope_scaling": {"type": "linear", "factor": 2}})",
     "rope_type", "disagree"},
    {R"({"quantization_config": {"quant_method": "gptq", "bits": 4}})", "quantization_config", "\"gptq\""},
    {R"({"quantization_config": {}})", "quantization_config", "unquantised"},
    {kLongClass, "architectures", "can be run as"},
};

INSTANTIATE_TEST_SUITE_P(Table, BadConfigs, ::testing::ValuesIn(kBadConfigs));

struct ArchConfig {
  const char* arch;
  const char* patch;
  const char* key;
};

TEST(Config, RefusesWhatAnArchitectureCannotDo) {
  const ArchConfig bad[] = {
      {"gemma2", R"({"use_bidirectional_attention": true})", "use_bidirectional_attention"},
      {"gemma2", R"({"query_pre_attn_scalar": -1})", "query_pre_attn_scalar"},
      {"gemma2", R"({"layer_types": ["full_attention"]})", "layer_types"},
      {"gemma2", R"({"layer_types": ["full_attention", "circular_attention"]})", "circular_attention"},
      {"gemma2", R"({"layer_types": "full_attention"})", "layer_types"},
      {"gemma2", R"({"sliding_window": -1})", "sliding_window"},
      {"gemma2", R"({"sliding_window": "16"})", "sliding_window"},
      {"gemma2", R"({"attn_logit_softcapping": -1})", "softcap"},
      {"mixtral", R"({"num_local_experts": 0})", "num_local_experts"},
      {"mixtral", R"({"num_experts_per_tok": 0})", "num_experts_per_tok"},
      {"mixtral", R"({"num_experts_per_tok": 5})", "num_experts_per_tok"},
      {"mixtral", R"({"num_experts_per_tok": "2"})", "num_experts_per_tok"},
      {"qwen2", R"({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": "x"})",
       "max_window_layers"},
  };
  for (const ArchConfig& b : bad) {
    EXPECT_THAT(refusal(with(tiny(b.arch), b.patch)), AllOf(HasSubstr("config.json"), HasSubstr(b.key)))
        << b.patch;
  }
}

TEST(Config, AcceptsWhatIsHarmless) {
  for (const char* fine :
       {R"({"hidden_size": 64.0})", R"({"eos_token_id": null})", R"({"eos_token_id": [2, 5, 2]})",
        R"({"eos_token_id": []})", R"({"rope_scaling": null})", R"({"bos_token_id": null})",
        R"({"max_position_embeddings": 1000000000000})", R"({"auto_map": {"AutoModel": "evil.py"}})",
        R"({"rope_scaling": {"rope_type": "default"}})",
        R"({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}})"}) {
    EXPECT_EQ(refusal(with(llama(), fine)), "loaded") << fine;
  }
  EXPECT_THAT(spec_of(with(llama(), R"({"eos_token_id": [2, 5, 2]})")).eos, ElementsAre(2, 5));
}

// JSON's null is a value: a key that the config lacks stands for the model class's own default.
TEST(Config, MissingIsNotNull) {
  LooseCheckpoint mistral = with(llama(), R"({"model_type": "mistral"})");
  mistral.config["sliding_window"] = nullptr;
  EXPECT_EQ(spec_of(mistral).layers[0].attention->window, 0);

  LooseCheckpoint gemma =
      with(tiny("gemma2"), R"({"attn_logit_softcapping": null, "final_logit_softcapping": null,
                               "sliding_window": null})");
  const Spec missing = spec_of(gemma);
  EXPECT_EQ(missing.layers[0].attention->softcap, 50.0f);
  EXPECT_EQ(missing.layers[0].attention->window, 4096);
  EXPECT_EQ(missing.logit_softcap, 30.0f);
  gemma.config["attn_logit_softcapping"] = nullptr;
  gemma.config["final_logit_softcapping"] = nullptr;
  const Spec none = spec_of(gemma);
  EXPECT_EQ(none.layers[0].attention->softcap, 0.0f);
  EXPECT_EQ(none.logit_softcap, 0.0f);
  gemma.config["sliding_window"] = nullptr;
  EXPECT_THAT(refusal(gemma), AllOf(HasSubstr("config.json: sliding_window"), HasSubstr("layer 0")));
}

// Python's classes accept keys that their models never look at; the logits are those without them.
TEST(Config, KeysThatTheModelNeverReadsChangeNothing) {
  EXPECT_EQ(spec_of(with(llama(), R"({"partial_rotary_factor": 0.5})")).ropes[0].dims, 16);
  const Spec gemma = spec_of(with(tiny("gemma2"), R"({"attn_logit_softcapping": 5})"));
  EXPECT_EQ(gemma.layers[0].attention->softcap, 5.0f) << "Gemma 2 does look at this one, Gemma 3 does not";
  EXPECT_TRUE((*arch_for_model_type("gemma3_text"))["inert"].contains("attn_logit_softcapping"));
  EXPECT_EQ((*arch_for_model_type("gemma3_text"))["layer"]["attention"]["softcap"], 0.0);
}

// StableLM's class writes its default factor beside rope_parameters, which is the one that counts.
TEST(Config, TheFactorOfRopeParametersCounts) {
  const Json rope = (*arch_for_model_type("stablelm"))["layer"]["rope"]["partial"];
  const Json config = *parse_json(
      R"({"partial_rotary_factor": 0.25, "rope_parameters": {"partial_rotary_factor": 0.5}})", "test");
  EXPECT_EQ(*evaluate(rope, config, 0, "test"), 0.5);
}

TEST(Config, FilesThatAreNoConfigAreRefused) {
  TempDirectory dir;
  ASSERT_TRUE(testing::write_loose(dir.path(), llama()).ok());
  const std::string good = *read_text_file(dir / "config.json");
  const auto refused = [&](const std::string& text) {
    dir.write("config.json", text);
    const auto model = load_model(dir.path());
    return model.ok() ? std::string("loaded") : model.status().message();
  };
  const std::pair<std::string, const char*> bad[] = {
      {"", "config.json"},
      {"[]", "expected a JSON object"},
      {good.substr(0, good.size() / 2), "line"},
      {good + "x", "line"},
      {good + std::string(1, '\0') + "x", "NUL"},
      {"\xef\xbb\xbf" + good, "config.json"},
      {"{\"model_type\": \"ll\xff\"}", "config.json"},
      {std::string(100'000, '[') + std::string(100'000, ']'), "deep"},
      {"{\"model_type\": \"llama\", \"model_type\": \"gpt2\"}", "model_type"},
      {"{\"a\": \"" + std::string(1, '\0') + "\"}", "config.json"},
  };
  for (const auto& [text, says] : bad) {
    EXPECT_THAT(refused(text), AllOf(HasSubstr("config.json"), HasSubstr(says))) << text.substr(0, 80);
  }
  std::string nan = good;  // Python writes such literals: they count as no value
  nan.replace(nan.find("\"hidden_size\": 64"), 17, "\"hidden_size\": NaN");
  EXPECT_THAT(refused(nan), AllOf(HasSubstr("config.json"), HasSubstr("hidden_size"), HasSubstr("missing")));
  std::filesystem::remove(dir / "config.json");
  EXPECT_THAT(load_model(dir.path()).status().message(), HasSubstr("config.json"));
}

// --- the tensors
// ----------------------------------------------------------------------------------------------

std::string refused_after(const std::function<void(LooseCheckpoint&)>& change,
                          const std::string& arch = "llama") {
  LooseCheckpoint checkpoint = tiny(arch);
  change(checkpoint);
  return refusal(checkpoint);
}

TEST(Tensors, MissingOnesAreListed) {
  EXPECT_THAT(refused_after([](auto& c) { c.tensors.erase("model.layers.1.mlp.up_proj.weight"); }),
              AllOf(HasSubstr("1 tensors"), HasSubstr("missing: model.layers.1.mlp.up_proj.weight"),
                    HasSubstr("config.json")));
  EXPECT_THAT(refused_after([](auto& c) { c.tensors.erase("lm_head.weight"); }), HasSubstr("lm_head.weight"));
  EXPECT_THAT(refused_after([](auto& c) { c.config["attention_bias"] = true; }),
              HasSubstr("model.layers.0.self_attn.q_proj.bias"));
  const std::string many = refused_after([](auto& c) { c.config["num_hidden_layers"] = 40; });
  EXPECT_THAT(many, AllOf(HasSubstr("342 tensors"), HasSubstr("...")));
  EXPECT_EQ(std::count(many.begin(), many.end(), ','), 10);
  EXPECT_THAT(refused_after([](auto& c) { c.config["num_local_experts"] = 5; }, "mixtral"),
              HasSubstr("experts.4.w1.weight"));
  EXPECT_THAT(
      refused_after([](auto& c) { c.tensors.erase("model.layers.0.block_sparse_moe.experts.3.w2.weight"); },
                    "mixtral"),
      HasSubstr("experts.3.w2.weight"));
}

TEST(Tensors, ThoseThatTheConfigDoesNotSpeakOfAreRefused) {
  EXPECT_THAT(refused_after([](auto& c) { c.config["num_hidden_layers"] = 1; }),
              AllOf(HasSubstr("9 tensors"), HasSubstr("model.layers.1."), HasSubstr("config.json")));
  EXPECT_THAT(refused_after([](auto& c) {
                c.tensors["model.layers.0.self_attn.q_proj.bias"] = {{64}, std::vector<float>(64)};
              }),
              HasSubstr("model.layers.0.self_attn.q_proj.bias"));
  EXPECT_THAT(refused_after([](auto& c) { c.config["num_local_experts"] = 3; }, "mixtral"),
              HasSubstr("shape"));
  // What the config implies, or what is not the text model's, does no harm.
  EXPECT_EQ(refused_after([](auto& c) {
              c.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{8}, std::vector<float>(8)};
              c.tensors["visual.patch_embed.weight"] = {{4, 4}, std::vector<float>(16)};
            }),
            "loaded");
}

TEST(Tensors, WrongShapesAreNamed) {
  const auto reshaped = [](const char* name, std::vector<uint64_t> shape) {
    return refused_after([&](auto& c) {
      uint64_t n = 1;
      for (uint64_t d : shape) n *= d;
      c.tensors[name] = {shape, std::vector<float>(n)};
    });
  };
  for (const auto& [name, shape, should] :
       {std::tuple{"model.layers.0.self_attn.q_proj.weight", std::vector<uint64_t>{32, 64}, "[64, 64]"},
        std::tuple{"model.layers.0.self_attn.k_proj.weight", std::vector<uint64_t>{64, 32}, "[32, 64]"},
        std::tuple{"model.layers.1.mlp.down_proj.weight", std::vector<uint64_t>{96, 64}, "[64, 96]"},
        std::tuple{"model.layers.1.input_layernorm.weight", std::vector<uint64_t>{63}, "[64]"},
        std::tuple{"model.embed_tokens.weight", std::vector<uint64_t>{64, 128}, "[128, 64]"},
        std::tuple{"lm_head.weight", std::vector<uint64_t>{8192}, "[128, 64]"}}) {
    EXPECT_THAT(reshaped(name, shape), AllOf(HasSubstr(name), HasSubstr(should), HasSubstr("config.json")));
  }
  EXPECT_THAT(refused_after([](auto& c) { c.config["vocab_size"] = 100; }),
              AllOf(HasSubstr("model.embed_tokens.weight"), HasSubstr("[100, 64]")));
}

// --- names
// ----------------------------------------------------------------------------------------------------

// The tensors behind two roles that every layout must find.
std::pair<std::string, std::string> found(const LooseCheckpoint& checkpoint) {
  const auto model = load(checkpoint);
  if (!model.ok()) return {model.status().message(), ""};
  const Weight* head = model->find("head");
  return {model->find("layers.1.mlp.up")->parts[0].tensor->name,
          head == nullptr ? "" : head->parts[0].tensor->name};
}

using Names = std::pair<std::string, std::string>;

TEST(Names, OfBaseModelsLackThePrefix) {
  LooseCheckpoint c = llama();
  c.rename("model.", "");
  EXPECT_EQ(found(c), Names("layers.1.mlp.up_proj.weight", "lm_head.weight"));
}

TEST(Names, OfMultimodalCheckpointsHaveAnotherInFront) {
  LooseCheckpoint today = llama();
  today.rename("model.", "model.language_model.");
  today.tensors["model.visual.blocks.0.weight"] = {{2, 2}, {1, 2, 3, 4}};
  const Json text = today.config;
  today.config =
      Json{{"model_type", "llava"}, {"text_config", text}, {"vision_config", {{"hidden_size", 8}}}};
  EXPECT_EQ(found(today), Names("model.language_model.layers.1.mlp.up_proj.weight", "lm_head.weight"));

  LooseCheckpoint older = llama();
  older.rename("", "language_model.");
  older.tensors["vision_tower.x.weight"] = {{2, 2}, {1, 2, 3, 4}};
  older.config = today.config;
  EXPECT_EQ(found(older),
            Names("language_model.model.layers.1.mlp.up_proj.weight", "language_model.lm_head.weight"));
}

TEST(Names, TellWhetherTheHeadIsTiedWhereTheConfigSaysBoth) {
  LooseCheckpoint c = llama();
  c.rename("model.", "model.text_model.");
  Json text = c.config;
  text["tie_word_embeddings"] = true;
  c.config = Json{{"model_type", "smolvlm"}, {"text_config", text}, {"tie_word_embeddings", false}};
  EXPECT_EQ(found(c), Names("model.text_model.layers.1.mlp.up_proj.weight", "lm_head.weight"));
  c.tensors.erase("lm_head.weight");
  EXPECT_TRUE(spec_of(c).tied_head);
}

TEST(Names, OfTextPartsTakeWhatOnlyTheTopLevelSays) {
  LooseCheckpoint c = tiny("llama");
  c.tensors.erase("lm_head.weight");
  Json text = c.config;
  text.erase("tie_word_embeddings");
  text.erase("eos_token_id");
  c.config = Json{
      {"model_type", "llava"}, {"text_config", text}, {"tie_word_embeddings", true}, {"eos_token_id", 7}};
  c.rename("model.", "model.language_model.");
  const Spec spec = spec_of(c);
  EXPECT_TRUE(spec.tied_head);
  EXPECT_THAT(spec.eos, ElementsAre(7));
  c.config["quantization_config"] = {{"quant_method", "awq"}};
  EXPECT_THAT(refusal(c), HasSubstr("\"awq\""));
}

// --- layers
// ---------------------------------------------------------------------------------------------------

std::vector<int64_t> windows(const Spec& spec) {
  std::vector<int64_t> out;
  for (const Layer& l : spec.layers) out.push_back(l.attention->window);
  return out;
}

std::vector<bool> rotated(const Spec& spec) {
  std::vector<bool> out;
  for (const Layer& l : spec.layers) out.push_back(l.attention->rope >= 0);
  return out;
}

// A config as spec: its tensors are whatever the architecture asks for, told by asking until none is missing.
Spec spec_from(const std::string& arch, int64_t layers, const std::string& patch) {
  TempDirectory dir;
  EXPECT_TRUE(testing::write_tiny_checkpoint(dir.path(), {.arch = arch, .layers = layers}).ok());
  return spec_of(with(*testing::read_loose(dir.path()), patch));
}

TEST(LayerKinds, OfConfigsOlderThanLayerTypes) {
  EXPECT_THAT(windows(spec_from("gemma2", 4, "{}")), ElementsAre(16, 0, 16, 0));
  EXPECT_THAT(windows(spec_from("qwen2", 4, R"({"sliding_window": 8, "max_window_layers": 1})")),
              ElementsAre(0, 0, 0, 0))
      << "use_sliding_window is off by default";
  EXPECT_THAT(
      windows(spec_from("qwen2", 4,
                        R"({"use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1})")),
      ElementsAre(0, 8, 8, 8));
  EXPECT_THAT(windows(spec_from("qwen2", 3, R"({"use_sliding_window": true, "sliding_window": 8})")),
              ElementsAre(0, 0, 0))
      << "max_window_layers is 28 by default";
  EXPECT_THAT(windows(spec_from("llama", 2, R"({"model_type": "mistral", "sliding_window": 8})")),
              ElementsAre(8, 8));
  EXPECT_THAT(windows(spec_from("llama", 2, R"({"model_type": "mistral"})")), ElementsAre(4096, 4096));
  EXPECT_THAT(windows(spec_from("llama", 2, R"({"sliding_window": 8})")), ElementsAre(0, 0))
      << "llama has none";
}

TEST(LayerKinds, OfConfigsWithLayerTypes) {
  EXPECT_THAT(
      windows(spec_from("gemma2", 3,
                        R"({"layer_types": ["full_attention", "full_attention", "sliding_attention"]})")),
      ElementsAre(0, 0, 16));
  EXPECT_THAT(
      windows(spec_from("qwen2", 2,
                        R"({"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8})")),
      ElementsAre(8, 0));
}

TEST(LayerKinds, WithoutPositions) {
  EXPECT_THAT(rotated(spec_from("llama", 5, R"({"model_type": "smollm3"})")),
              ElementsAre(true, true, true, false, true));
  EXPECT_THAT(rotated(spec_from("llama", 4, R"({"model_type": "smollm3", "no_rope_layer_interval": 2})")),
              ElementsAre(true, false, true, false));
  EXPECT_THAT(rotated(spec_from("llama", 3, R"({"model_type": "smollm3", "no_rope_layers": [0, 1, 1]})")),
              ElementsAre(false, true, true));
  const Spec sliding = spec_from(
      "llama", 3, R"({"model_type": "smollm3", "no_rope_layers": [0, 1, 1], "use_sliding_window": true,
                                               "sliding_window": 8})");
  EXPECT_THAT(windows(sliding), ElementsAre(8, 0, 0));
}

TEST(LayerKinds, WithRopeOfTheirOwn) {
  LooseCheckpoint c = tiny("gemma2");
  c = with(std::move(c), R"({"model_type": "gemma3_text"})");
  for (const char* part : {"q_norm", "k_norm"}) {
    for (int i : {0, 1})
      c.tensors[fmt::format("model.layers.{}.self_attn.{}.weight", i, part)] = {{16}, std::vector<float>(16)};
  }
  const auto theta_ratio = [](const Spec& s, size_t layer) {
    const Rope& rope = s.ropes[static_cast<size_t>(s.layers[layer].attention->rope)];
    return static_cast<double>(rope.frequencies[0] / rope.frequencies[1]);  // theta ^ (1 / 8)
  };
  // Older configs: rope_local_base_freq for sliding layers, which no scaling applies to.
  const Spec older =
      spec_of(with(c, R"({"sliding_window_pattern": 2, "rope_theta": 500000.0, "rope_local_base_freq": 7000.0,
                                       "rope_scaling": {"rope_type": "linear", "factor": 4.0}})"));
  EXPECT_THAT(windows(older), ElementsAre(16, 0));
  EXPECT_NEAR(theta_ratio(older, 0), std::pow(7000.0, 1 / 8.0), 1e-4);
  EXPECT_NEAR(theta_ratio(older, 1), std::pow(500000.0, 1 / 8.0), 1e-4);
  EXPECT_FLOAT_EQ(older.ropes[static_cast<size_t>(older.layers[0].attention->rope)].frequencies[0], 1);
  EXPECT_FLOAT_EQ(older.ropes[static_cast<size_t>(older.layers[1].attention->rope)].frequencies[0], 0.25f);
  // Newer ones: parameters by layer type.
  const Spec newer =
      spec_of(with(c, R"({"layer_types": ["full_attention", "sliding_attention"], "rope_theta": null,
      "rope_parameters": {"full_attention": {"rope_theta": 500000.0, "rope_type": "linear", "factor": 4.0},
                          "sliding_attention": {"rope_theta": 7000.0, "rope_type": "default"}}})"));
  EXPECT_THAT(windows(newer), ElementsAre(0, 16));
  EXPECT_EQ(newer.ropes[static_cast<size_t>(newer.layers[1].attention->rope)],
            older.ropes[static_cast<size_t>(older.layers[0].attention->rope)]);
  EXPECT_EQ(newer.ropes[static_cast<size_t>(newer.layers[0].attention->rope)],
            older.ropes[static_cast<size_t>(older.layers[1].attention->rope)]);
  // Neither: every sixth layer is global, thetas are the library's defaults.
  const Spec bare = spec_of(with(c, R"({"rope_theta": null})"));
  EXPECT_THAT(windows(bare), ElementsAre(16, 16));
  EXPECT_NEAR(theta_ratio(bare, 0), std::pow(10000.0, 1 / 8.0), 1e-4);
}

TEST(LayerKinds, OfExperts) {
  const Spec spec = spec_from("mixtral", 2, "{}");
  ASSERT_TRUE(spec.layers[1].moe);
  EXPECT_EQ(spec.layers[1].moe->experts, 4);
  EXPECT_EQ(spec.layers[1].moe->k, 2);
  EXPECT_TRUE(spec.layers[1].moe->renormalise);
  EXPECT_FALSE(spec.layers[1].mlp);
}

TEST(Spec, IsAValueThatStoresAndReadsBack) {
  for (const char* arch : {"llama", "gemma2", "mixtral", "qwen2"}) {
    const Spec spec = spec_of(tiny(arch));
    Spec back;
    const Status read = from_json(to_json(spec), "spec", back);
    ASSERT_TRUE(read.ok()) << read.message();
    EXPECT_EQ(back, spec) << arch;
  }
}

TEST(Spec, ContradictionsAreFound) {
  const Spec good = spec_of(llama());
  EXPECT_TRUE(validate(good).empty());
  const std::function<void(Spec&)> breaks[] = {
      [](Spec& s) { s.vocab = 0; },
      [](Spec& s) { s.layers.clear(); },
      [](Spec& s) { s.embed_scale = NAN; },
      [](Spec& s) { s.logit_softcap = -1; },
      [](Spec& s) { s.learned_positions = -1; },
      [](Spec& s) { s.eos = {-1}; },
      [](Spec& s) { s.eos.push_back(static_cast<int32_t>(s.vocab)); },
      [](Spec& s) { s.final_norm->eps = -1; },
      [](Spec& s) { s.ropes[0].frequencies.pop_back(); },
      [](Spec& s) { s.ropes[0].long_frequencies = {1}; },
      [](Spec& s) { s.ropes[0].dims = 32, s.ropes[0].frequencies.resize(16); },
      [](Spec& s) { s.layers[1].attention->rope = 1; },
      [](Spec& s) { s.layers[1].attention->kv_heads = 3; },
      [](Spec& s) { s.layers[1].attention->d_v = 0; },
      [](Spec& s) { s.layers[1].attention->scale = -1; },
      [](Spec& s) { s.layers[1].attention->window = -1; },
      [](Spec& s) { s.layers[1].mlp->width = 0; },
      [](Spec& s) {
        s.layers[1].moe = Moe{4, 5, 8};
      },
      [](Spec& s) { s.layers[1].residual_multiplier = INFINITY; },
      [](Spec& s) { s.layers[1].pre_ff->eps = NAN; },
  };
  for (size_t i = 0; i < std::size(breaks); ++i) {
    Spec bad = good;
    breaks[i](bad);
    EXPECT_FALSE(validate(bad).empty()) << "break " << i;
  }
}

// --- reading
// --------------------------------------------------------------------------------------------------

TEST(Reading, RowsOfFusedAndTransposedTensorsAreTheParts) {
  // phi3 keeps q, k and v in one matrix, gate and up in another: the rows that come out are those put in.
  LooseCheckpoint c = llama();
  const LooseCheckpoint plain = llama();
  c = with(std::move(c), R"({"model_type": "phi3"})");
  for (int i : {0, 1}) {
    const std::string at = fmt::format("model.layers.{}.", i);
    const auto fuse = [&](const std::string& into, const std::vector<std::string>& parts) {
      testing::LooseTensor fused{{0, 64}, {}};
      for (const std::string& part : parts) {
        const auto& values = plain.tensors.at(at + part + ".weight").values;
        fused.values.insert(fused.values.end(), values.begin(), values.end());
        c.tensors.erase(at + part + ".weight");
      }
      fused.shape[0] = fused.values.size() / 64;
      c.tensors[at + into + ".weight"] = std::move(fused);
    };
    fuse("self_attn.qkv_proj", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    fuse("mlp.gate_up_proj", {"mlp.gate_proj", "mlp.up_proj"});
  }
  TempDirectory dir;
  ASSERT_TRUE(testing::write_loose(dir.path(), c).ok());
  auto model = load_model(dir.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const auto& [role, name] :
       {std::pair{"attention.q", "self_attn.q_proj"}, std::pair{"attention.k", "self_attn.k_proj"},
        std::pair{"attention.v", "self_attn.v_proj"}, std::pair{"mlp.gate", "mlp.gate_proj"},
        std::pair{"mlp.up", "mlp.up_proj"}}) {
    const Weight* w = model->find(std::string("layers.1.") + role);
    ASSERT_NE(w, nullptr);
    const auto& want = plain.tensors.at(std::string("model.layers.1.") + name + ".weight").values;
    std::vector<float> rows(static_cast<size_t>((w->n - 3) * w->k));
    ASSERT_TRUE(read_rows_f32(*model, *w, 2, w->n - 3, rows).ok());
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), want.begin() + 2 * w->k)) << role;
  }
}

TEST(Reading, GemmaNormsHaveTheirOneAdded) {
  TempDirectory dir;
  const LooseCheckpoint c = tiny("gemma2");
  ASSERT_TRUE(testing::write_loose(dir.path(), c).ok());
  auto model = load_model(dir.path());
  ASSERT_TRUE(model.ok()) << model.status().message();
  std::vector<float> norm(64);
  ASSERT_TRUE(read_rows_f32(*model, *model->find("layers.0.post_ff_norm"), 0, 64, norm).ok());
  EXPECT_EQ(norm[5], 1 + c.tensors.at("model.layers.0.post_feedforward_layernorm.weight").values[5]);
}

}  // namespace
}  // namespace sluice::model
