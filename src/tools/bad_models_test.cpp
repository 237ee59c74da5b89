// Model directories, and engines, that are wrong in one place each: one sentence says where, and nothing is
// left behind. What each reader refuses on its own stands in the tests beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>

#include "artifact/manifest.h"
#include "base/file.h"
#include "base/json.h"
#include "model/testing/loose_checkpoint.h"
#include "serve/testing/tiny_server.h"
#include "tools/testing/binary.h"

namespace sluice::tools {
namespace {

using ::testing::HasSubstr;
using testing::Outcome;
using testing::run_binary;
using testing::ScratchDir;
namespace fs = std::filesystem;

/// A llama with a tokenizer and a chat template, as a directory that a test may spoil.
class Directory {
 public:
  Directory() {
    fs::copy(serve::testing::tiny_model(256), path());
    EXPECT_EQ(write_file_atomically(file("tokenizer_config.json"), "{}").message(), "");
  }

  std::string path() const { return scratch_ / "model"; }
  std::string file(const std::string& name) const { return path() + "/" + name; }
  /// Everything beside the model.
  bool is_alone() const {
    return std::distance(fs::directory_iterator(scratch_.path()), fs::directory_iterator()) == 1;
  }
  std::string output() const { return scratch_ / "engine"; }

  std::string text(const std::string& name) const { return *read_text_file(file(name)); }
  void put(const std::string& name, std::string_view text) const {
    EXPECT_EQ(write_file_atomically(file(name), text).message(), "");
  }
  /// Members of a JSON file replaced; null removes.
  void patch(const std::string& name, const std::string& by) const {
    Json json = *parse_json(text(name), name);
    json.merge_patch(*parse_json(by, "patch"));
    put(name, dump_json(json));
  }
  void remove(const std::string& name) const { fs::remove_all(file(name)); }

 private:
  ScratchDir scratch_;
};

void expect_one_sentence(const Outcome& o, const std::string& says) {
  EXPECT_EQ(o.code, 2) << o.signal << o.err;
  EXPECT_EQ(o.out, "");
  EXPECT_THAT(o.err, HasSubstr(says));
  EXPECT_TRUE(o.err.starts_with("error: ")) << o.err;
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
  EXPECT_LT(o.err.size(), 1000u) << o.err;
}

void expect_refused(const Directory& d, const std::string& says) {
  expect_one_sentence(run_binary({"run", d.path(), "--prompt", "he", "--max_tokens", "1"}), says);
  expect_one_sentence(run_binary({"optimize", "--model_dir", d.path(), "--output_dir", d.output()}), says);
  EXPECT_TRUE(d.is_alone());
}

struct BadModel {
  const char* what;
  std::function<void(const Directory&)> spoil;
  const char* says;
};

std::string repeated(std::string_view text, size_t count) {
  std::string out;
  while (count-- > 0) out += text;
  return out;
}

BadModel config(const char* what, const char* patch, const char* says) {
  return {what, [patch](const Directory& d) { d.patch("config.json", patch); }, says};
}
BadModel file(const char* what, const char* name, const std::string& content, const char* says) {
  return {what, [name, content](const Directory& d) { d.put(name, content); }, says};
}
BadModel tokenizer(const char* what, const char* patch, const char* says) {
  return {what, [patch](const Directory& d) { d.patch("tokenizer.json", patch); }, says};
}

std::string header(uint64_t length) { return std::string(reinterpret_cast<const char*>(&length), 8) + "{}"; }

const BadModel kBadModels[] = {
    {"no config", [](const Directory& d) { d.remove("config.json"); }, "config.json: no such file"},
    file("empty config", "config.json", "", "config.json: not valid JSON: byte"),
    {"half a config", [](const Directory& d) { d.put("config.json", d.text("config.json").substr(0, 100)); },
     "config.json: not valid JSON: byte 101"},
    {"text behind it", [](const Directory& d) { d.put("config.json", d.text("config.json") + "x"); },
     "config.json: not valid JSON: byte"},
    {"byte-order mark",
     [](const Directory& d) { d.put("config.json", "\xef\xbb\xbf" + d.text("config.json")); },
     "config.json: starts with a byte-order mark"},
    {"NUL", [](const Directory& d) { d.put("config.json", d.text("config.json") + '\0'); },
     "config.json: not valid JSON: a NUL byte at offset"},
    file("Latin-1", "config.json", "{\"a\": \"\xe9t\xe9\"}", "config.json: not valid JSON: byte"),
    file("deep", "config.json", repeated("[", 100'000) + repeated("]", 100'000), "nested too deep"),
    file("key twice", "config.json", R"({"model_type": "llama", "model_type": "llama"})", "duplicate key"),
    file("long key twice", "config.json",
         "{\"" + repeated("k", 100'000) + "\": 1, \"" + repeated("k", 100'000) + "\": 2}", "duplicate key"),
    file("long string without an end", "config.json", "{\"a\": \"" + repeated("x", 100'000), "config.json"),
    config("architecture unknown", R"({"architectures": ["FooForCausalLM"]})", "\"architectures\""),
    config("model_type unknown", R"({"model_type": "lama"})", "nearest known ones are llama"),
    config("number as a string", R"({"hidden_size": "64"})", "hidden_size"),
    config("half a unit", R"({"hidden_size": 32.5})", "hidden_size"),
    config("groups of heads", R"({"num_key_value_heads": 3})", "num_key_value_heads"),
    config("rope unknown", R"({"rope_scaling": {"rope_type": "spiral", "factor": 2}})", "\"spiral\""),
    config("more rows than the embedding has", R"({"vocab_size": 200})", "[200, 64]"),
    config("fewer layers than there are", R"({"num_hidden_layers": 1})", "model.layers.1."),
    config("quantised by what is not known", R"({"quantization_config": {"quant_method": "magic"}})",
           "quantization_config: checkpoints quantised by \"magic\""),
    config("eos beyond the vocabulary", R"({"eos_token_id": 128})", "eos_token_id"),
    file("temperature", "generation_config.json", R"({"temperature": -1})", "generation_config.json: temp"),
    file("top_k", "generation_config.json", R"({"top_k": 1.5})", "generation_config.json: top_k"),
    file("cut weights", "model.safetensors", "1234567", "model.safetensors: 7 bytes, too short"),
    file("header of 2^64 - 1", "model.safetensors", header(UINT64_MAX), "18446744073709551615"),
    {"one byte short",
     [](const Directory& d) {
       fs::resize_file(d.file("model.safetensors"), fs::file_size(d.file("model.safetensors")) - 1);
     },
     "model.safetensors"},
    {"NaN among the weights",
     [](const Directory& d) {
       auto loose = *model::testing::read_loose(d.path());
       loose.tensors["model.layers.1.mlp.up_proj.weight"].values[7] = std::numeric_limits<float>::quiet_NaN();
       EXPECT_EQ(model::testing::write_loose(d.path(), loose).message(), "");
     },
     "model.layers.1.mlp.up_proj.weight"},
    {"pickled weights",
     [](const Directory& d) { fs::rename(d.file("model.safetensors"), d.file("pytorch_model.bin")); },
     "never opened"},
    {"shard outside",
     [](const Directory& d) {
       d.remove("model.safetensors");
       d.put("model.safetensors.index.json", R"({"weight_map": {"x": "../../etc/passwd"}})");
     },
     "in the same directory"},
    file("tokenizer part unknown", "tokenizer.json", R"({"model": {"type": "Klingon"}})", "\"Klingon\""),
    {"tokenizer of a larger model",
     [](const Directory& d) {
       Json json = *parse_json(d.text("tokenizer.json"), "tokenizer.json");
       for (int id = 97; id <= 128; ++id) json["model"]["vocab"][fmt::format("word{}", id)] = id;
       d.put("tokenizer.json", dump_json(json));
     },
     "the tokenizer has 129 ids, the model only 128"},
    tokenizer("merge of unknown tokens", R"({"model": {"merges": ["a b"]}})", "\"ab\""),
    tokenizer("token without text", R"({"added_tokens": [{"id": 96, "content": "", "special": true}]})",
              "added_tokens[0].content is empty"),
    tokenizer("pattern", R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"},
                             "behavior": "Isolated", "invert": false}})",
              "pre_tokenizer.pattern"),
    tokenizer("charsmap", R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!!"}})",
              "base64"),
    file("template", "chat_template.jinja", "\n{% if %}", "chat template: line 2"),
    file("filter of a template", "chat_template.jinja", "{{ messages|nofilter }}", "'nofilter'"),
};

TEST(BadModels, AreRefusedInOneSentence) {
  for (const BadModel& bad : kBadModels) {
    SCOPED_TRACE(bad.what);
    const Directory d;
    bad.spoil(d);
    expect_refused(d, bad.says);
  }
}

// Nothing waits for a writer or reads without an end, and nothing is passed over because it is no file.
TEST(BadModels, WhatIsNoFileIsNamed) {
  using Make = std::function<void(const std::string&)>;
  const std::pair<const char*, Make> kinds[] = {
      {"FIFO", [](const std::string& at) { ASSERT_EQ(::mkfifo(at.c_str(), 0600), 0); }},
      {"device", [](const std::string& at) { fs::create_symlink("/dev/zero", at); }},
      {"directory", [](const std::string& at) { fs::create_directory(at); }},
      {"link to nowhere", [](const std::string& at) { fs::create_symlink("/nonexistent/file", at); }},
      {"loop", [](const std::string& at) { fs::create_symlink(at, at); }},
  };
  for (const char* name : {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json",
                           "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}) {
    for (const auto& [kind, make] : kinds) {
      SCOPED_TRACE(fmt::format("{}: {}", name, kind));
      const Directory d;
      d.remove(name);
      make(d.file(name));
      expect_refused(d, d.file(name));
    }
  }
}

TEST(BadModels, CodeThatComesWithAModelIsNamedAndLeftAlone) {
  const Directory d;
  d.patch("config.json", R"({"auto_map": {"AutoModel": "modeling_tiny.Model"}})");
  d.put("modeling_tiny.py", "raise SystemExit");
  const Outcome o = run_binary({"run", d.path(), "--prompt", "he", "--max_tokens", "1"});
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_THAT(o.err, HasSubstr("\"auto_map\" is ignored"));
  EXPECT_THAT(o.err, HasSubstr("modeling_tiny.py is ignored"));
}

TEST(BadModels, GenerationConfigCountsUnlessToldNotTo) {
  const Directory d;
  const auto run = [&](const std::string& source) {
    return run_binary({"run", d.path(), "--input_ids", "5", "--max_tokens", "4", "--temperature", "0",
                       "--json", "--generation_config", source});
  };
  const Outcome whole = run("auto");
  ASSERT_EQ(whole.code, 0) << whole.err;
  const Json first = (*parse_json(whole.out, "stdout"))["ids"][0];
  d.put("generation_config.json", dump_json({{"eos_token_id", first}}));
  EXPECT_THAT(run("auto").out, HasSubstr(R"("finish_reason":"stop")"));
  EXPECT_EQ((*parse_json(run("none").out, "stdout"))["ids"], (*parse_json(whole.out, "stdout"))["ids"]);
  d.put("generation_config.json", R"({"temperature": -1})");
  EXPECT_EQ(run("auto").code, 2);
  EXPECT_EQ(run("none").code, 0);
}

// Text models cut from ones with pictures keep the tokenizer, whose tokens of pictures they lack.
TEST(BadModels, AddedTokensMayLieBeyondTheModel) {
  const Directory d;
  Json json = *parse_json(d.text("tokenizer.json"), "tokenizer.json");
  json["added_tokens"].push_back({{"id", 128}, {"content", "<image>"}, {"special", true}});
  d.put("tokenizer.json", dump_json(json));
  EXPECT_EQ(run_binary({"run", d.path(), "--prompt", "he", "--max_tokens", "1"}).code, 0);
  expect_one_sentence(run_binary({"run", d.path(), "--raw", "--prompt", "he<image>"}),
                      "prompt token 128 at position 2 is not in the vocabulary of 128");
}

// --- engines

Outcome run_engine(const std::string& engine) {
  return run_binary({"run", engine, "--prompt", "he", "--max_tokens", "1"});
}

TEST(BadEngines, ADamagedFileIsNamed) {
  const Directory d;
  ASSERT_EQ(run_binary({"optimize", "--model_dir", d.path(), "--output_dir", d.output()}).code, 0);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(d.output())) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path(), original = *read_text_file(path);
    for (const size_t at : {size_t{0}, size_t{5}, original.size() / 2}) {
      if (at >= original.size()) continue;
      SCOPED_TRACE(fmt::format("{}: byte {}", path, at));
      std::string flipped = original;
      flipped[at] ^= 1;
      std::ofstream(path, std::ios::binary) << flipped;
      expect_one_sentence(run_engine(d.output()), path);
    }
    std::ofstream(path, std::ios::binary) << original;
    ++files;
  }
  EXPECT_GE(files, 5);
  EXPECT_EQ(run_engine(d.output()).code, 0);
}

TEST(BadEngines, OneForOtherHardwareSaysForWhich) {
  const Directory d;
  ASSERT_EQ(run_binary({"optimize", "--model_dir", d.path(), "--output_dir", d.output()}).code, 0);
  const std::string path = d.output() + "/" + artifact::kManifestFile;
  artifact::Manifest m = *artifact::parse_manifest(*read_text_file(path), path);
  m.hardware = {"cuda", "NVIDIA H200", "sm_90"};
  for (artifact::TensorEntry& t : m.tensors) t.layout = "cuda-tiles.1";
  ASSERT_EQ(write_file_atomically(path, artifact::write_manifest(m)).message(), "");
  const Outcome o = run_engine(d.output());
  expect_one_sentence(o, d.output() + ", made for cuda NVIDIA H200");
  EXPECT_THAT(o.err, HasSubstr("run optimize again"));
}

}  // namespace
}  // namespace sluice::tools
