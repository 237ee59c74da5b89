// Tokenizers, templates and defaults of directories, of GGUF metadata and of engines made from them.
#include "artifact/text_assets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "artifact/source.h"
#include "model/checkpoint/gguf.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::artifact {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class TextAssetsTest : public ::testing::Test {
 protected:
  TextAssetsTest() {
    std::string pattern = fs::temp_directory_path() / "text_assets_test.XXXXXX";
    root_ = ::mkdtemp(pattern.data());
  }
  ~TextAssetsTest() override { fs::remove_all(root_); }

  void put(const std::string& file, const std::string& content) const {
    fs::create_directories(fs::path(root_ + "/" + file).parent_path());
    std::ofstream(root_ + "/" + file) << content;
  }

  // A byte-level vocabulary of 256 bytes and two special tokens.
  static model::GgufMetadata metadata() {
    model::GgufMetadata m;
    model::StringArray tokens, merges;
    model::NumberArray types{model::GgufType::i32, {}};
    const auto add = [&](const std::string& token, int32_t type) {
      tokens.push_back(token);
      const auto bytes = std::as_bytes(std::span(&type, 1));
      types.bytes.insert(types.bytes.end(), bytes.begin(), bytes.end());
    };
    add("<s>", 3);
    add("</s>", 3);
    for (char c = '!'; c <= '~'; ++c) add(std::string(1, c), 1);
    add("he", 1);
    merges.push_back("h e");
    m.set("general.architecture", model::GgufValue::string("llama"));
    m.set("general.file_type", model::GgufValue::u32(1));  // no text: is not copied
    m.set("tokenizer.ggml.model", model::GgufValue::string("gpt2"));
    m.set("tokenizer.ggml.pre", model::GgufValue::string("gpt-2"));
    m.set("tokenizer.ggml.tokens", model::GgufValue::strings(std::move(tokens)));
    m.set("tokenizer.ggml.merges", model::GgufValue::strings(std::move(merges)));
    m.set("tokenizer.ggml.token_type", model::GgufValue::numbers(std::move(types)));
    m.set("tokenizer.ggml.bos_token_id", model::GgufValue::u32(0));
    m.set("tokenizer.ggml.eos_token_id", model::GgufValue::u32(1));
    m.set("tokenizer.chat_template", model::GgufValue::string("plain"));
    m.set("tokenizer.chat_template.tool_use", model::GgufValue::string("tools"));
    m.set("general.sampling.temp", model::GgufValue::f32(0.5f));
    m.set("general.sampling.top_k", model::GgufValue::u32(7));
    return m;
  }
  std::string gguf(const model::GgufMetadata& m) const {
    const std::string path = root_ + "/vocab.gguf";
    EXPECT_EQ(model::write_gguf(path, m).message(), "");
    return path;
  }

  // An engine around the assets, with nothing else in it that matters here.
  std::string engine_with(const TextAssets& assets) const {
    const std::string checkpoint = root_ + "/checkpoint", engine = root_ + "/engine";
    fs::create_directory(checkpoint);
    EXPECT_TRUE(model::testing::write_tiny_checkpoint(checkpoint, {}).ok());
    Manifest manifest;
    manifest.spec = model::load_model(checkpoint)->spec;
    auto writer = EngineWriter::create(engine, 0);
    EXPECT_EQ(assets.copy_into(*writer).message(), "");
    EXPECT_EQ(writer->publish(manifest).message(), "");
    return engine;
  }

  std::string root_;
};

TEST_F(TextAssetsTest, OfAGgufFileAndOfTheEngineMadeFromIt) {
  const auto of_file = TextAssets::open(gguf(metadata()));
  ASSERT_EQ(of_file.status().message(), "");
  const auto of_engine = TextAssets::open(engine_with(*of_file));
  ASSERT_EQ(of_engine.status().message(), "");
  EXPECT_FALSE(
      model::GgufFile::open(root_ + "/engine/tokenizer/tokenizer.gguf")->metadata.has("general.file_type"));
  for (const TextAssets* assets : {&*of_file, &*of_engine}) {
    ASSERT_TRUE(assets->has_tokenizer());
    const auto tokenizer = assets->tokenizer();
    ASSERT_EQ(tokenizer.status().message(), "");
    EXPECT_EQ(*tokenizer->decode(*tokenizer->encode("hehe", {.add_special = false})), "hehe");
    EXPECT_EQ(tokenizer->encode("he", {.add_special = false})->size(), 1u);
    EXPECT_EQ(**assets->chat_template(false), "plain");
    EXPECT_EQ(**assets->chat_template(true), "tools");
    EXPECT_EQ(dump_json(*assets->special_tokens()), R"({"bos_token":"<s>","eos_token":"</s>"})");
    const auto defaults = assets->generation_defaults();
    EXPECT_EQ(defaults->temperature, 0.5);
    EXPECT_EQ(defaults->top_k, 7);
    EXPECT_FALSE(defaults->top_p.has_value());
  }
}

TEST_F(TextAssetsTest, OfADirectoryAndOfTheEngineMadeFromIt) {
  put("hf/tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
  put("hf/chat_template.jinja", "plain");
  put("hf/additional_chat_templates/tool_use.jinja", "tools");
  put("hf/generation_config.json",
      R"({"temperature": 0.7, "do_sample": true, "top_p": 0.9, "unknown": [1]})");
  put("hf/model.py", "never read");
  EXPECT_THAT(text_files(root_ + "/hf"),
              ElementsAre("tokenizer_config.json", "chat_template.jinja", "generation_config.json",
                          "additional_chat_templates/tool_use.jinja"));
  const auto of_directory = TextAssets::open(root_ + "/hf");
  const auto of_engine = TextAssets::open(engine_with(*of_directory));
  ASSERT_EQ(of_engine.status().message(), "");
  for (const TextAssets* assets : {&*of_directory, &*of_engine}) {
    EXPECT_FALSE(assets->has_tokenizer());
    EXPECT_THAT(assets->tokenizer().status().message(), HasSubstr("without a tokenizer"));
    EXPECT_EQ(**assets->chat_template(false), "plain");
    EXPECT_EQ(**assets->chat_template(true), "tools");
    EXPECT_EQ((*assets->special_tokens())["bos_token"], "<s>");
    EXPECT_EQ(assets->generation_defaults()->temperature, 0.7);
    EXPECT_EQ(assets->generation_defaults()->do_sample, true);
  }
}

TEST_F(TextAssetsTest, TemplatesThatCannotBeParsedAreFoundBeforeTheyAreNeeded) {
  put("hf/chat_template.jinja", "plain");
  put("hf/additional_chat_templates/tool_use.jinja", "\n{% if %}");
  const std::string message = TextAssets::open(root_ + "/hf")->check_chat_templates().message();
  EXPECT_THAT(message, HasSubstr(root_ + "/hf: chat template: line 2"));
  fs::remove(root_ + "/hf/additional_chat_templates/tool_use.jinja");
  EXPECT_EQ(TextAssets::open(root_ + "/hf")->check_chat_templates().message(), "");
  EXPECT_EQ(TextAssets::open(gguf(metadata()))->check_chat_templates().message(), "");
  auto m = metadata();
  m.set("tokenizer.chat_template", model::GgufValue::string("{{ x|nofilter }}"));
  EXPECT_THAT(TextAssets::open(gguf(m))->check_chat_templates().message(), HasSubstr("vocab.gguf"));
}

TEST_F(TextAssetsTest, DefaultsOutOfRangeAreRefusedByName) {
  for (const auto& [json, message] : {std::pair{R"({"temperature": -1})", "temperature"},
                                      {R"({"top_p": 2})", "top_p"},
                                      {R"({"top_k": 1.5})", "top_k"},
                                      {R"({"min_p": "x"})", "min_p"},
                                      {R"({"repetition_penalty": 0})", "repetition_penalty"},
                                      {R"({"eos_token_id": [1, "x"]})", "eos_token_id"},
                                      {R"([])", "expected an object"}}) {
    put("hf/generation_config.json", json);
    EXPECT_THAT(TextAssets::open(root_ + "/hf")->generation_defaults().status().message(),
                HasSubstr(message));
  }
}

TEST_F(TextAssetsTest, MetadataOfTheWrongTypeIsRefusedByKey) {
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id",
                          "tokenizer.ggml.add_bos_token", "tokenizer.ggml.precompiled_charsmap"}) {
    auto m = metadata();
    m.set(key, model::GgufValue::f32(1));
    EXPECT_THAT(TextAssets::open(gguf(m))->tokenizer().status().message(), HasSubstr(key));
  }
  auto m = metadata();
  m.set("tokenizer.ggml.bos_token_id", model::GgufValue::u32(1 << 20));
  EXPECT_THAT(TextAssets::open(gguf(m))->special_tokens().status().message(), HasSubstr("bos_token"));
}

TEST_F(TextAssetsTest, SourcesThatChangeAreNoticed) {
  const std::string checkpoint = root_ + "/checkpoint";
  fs::create_directory(checkpoint);
  for (const char* file : {"model.safetensors", "config.json", "generation_config.json"}) {
    ASSERT_TRUE(model::testing::write_tiny_checkpoint(checkpoint, {}).ok());
    const auto opened = model::Checkpoint::open(checkpoint);
    const auto snapshot = SourceSnapshot::take(*opened);
    ASSERT_EQ(snapshot.status().message(), "");
    EXPECT_EQ(snapshot->source().kind, "safetensors");
    EXPECT_EQ(snapshot->source().name, "checkpoint");
    EXPECT_EQ(snapshot->check_unchanged().message(), "");
    fs::last_write_time(checkpoint + "/" + file, fs::file_time_type::clock::now() + std::chrono::seconds(2));
    EXPECT_THAT(snapshot->check_unchanged().message(),
                HasSubstr(std::string(file) + ": the file was changed"));
  }
}

}  // namespace
}  // namespace sluice::artifact
