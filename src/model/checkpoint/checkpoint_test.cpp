#include "model/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "model/checkpoint/gguf.h"
#include "model/checkpoint/safetensors.h"
#include "quant/format.h"

namespace sluice::model {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// A directory of its own for each test, gone afterwards.
class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : dir_(testing::TempDir() + "sluice_checkpoint_" + std::to_string(::getpid())) {
    fs::create_directories(dir_);
  }
  ~CheckpointTest() override { fs::remove_all(dir_); }

  std::string path(const std::string& name) const { return dir_ + "/" + name; }
  void write(const std::string& name, std::string_view text) const { std::ofstream(path(name)) << text; }

  // Tensors of two floats each: value, value + 1.
  struct Floats {
    const char* name;
    float value;
  };
  void write_shard(const std::string& file, const std::vector<Floats>& contents) const {
    std::vector<std::array<float, 2>> values;
    for (const Floats& f : contents) values.push_back({f.value, f.value + 1});
    std::vector<SafetensorsTensorData> tensors;
    for (size_t i = 0; i < contents.size(); ++i) {
      tensors.push_back({contents[i].name, DType::f32, {1, 2}, std::as_bytes(std::span(values[i]))});
    }
    const Status status = write_safetensors(path(file), tensors);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  void write_index(std::string_view weight_map) const {
    write("model.safetensors.index.json", fmt::format(R"({{"weight_map":{{{}}}}})", weight_map));
  }
  std::string refusal() const {
    const auto checkpoint = Checkpoint::open(dir_);
    return checkpoint.ok() ? "opened" : checkpoint.status().message();
  }

  const std::string dir_;
};

float first_float(const Checkpoint& checkpoint, std::string_view name) {
  const auto tensor = checkpoint.require(name);
  float value = -1;
  EXPECT_TRUE(tensor.ok());
  EXPECT_TRUE(checkpoint.read(**tensor, 0, std::as_writable_bytes(std::span(&value, 1))).ok());
  return value;
}

TEST_F(CheckpointTest, SingleFileInADirectory) {
  write_shard("model.safetensors", {{"b", 1}, {"a", 2}});
  const auto checkpoint = Checkpoint::open(dir_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->kind(), Checkpoint::Kind::safetensors);
  EXPECT_EQ(checkpoint->directory(), dir_);
  EXPECT_EQ(checkpoint->gguf(), nullptr);
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->tensors()[0].name, "b");  // the order of the file
  EXPECT_EQ(first_float(*checkpoint, "a"), 2);
  EXPECT_EQ(first_float(*checkpoint, "b"), 1);
  EXPECT_EQ(checkpoint->find("c"), nullptr);
  EXPECT_THAT(checkpoint->require("c").status().message(), HasSubstr("tensor \"c\" is missing"));
  EXPECT_THAT(checkpoint->find("a")->shape, testing::ElementsAre(1, 2));
}

TEST_F(CheckpointTest, AFileByItself) {
  write_shard("weights.safetensors", {{"a", 3}});
  const auto checkpoint = Checkpoint::open(path("weights.safetensors"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->directory(), dir_);
  EXPECT_EQ(first_float(*checkpoint, "a"), 3);
}

TEST_F(CheckpointTest, Shards) {
  write_shard("s1.safetensors", {{"a", 1}, {"b", 2}});
  write_shard("s2.safetensors", {{"c", 3}});
  write_index(R"("c":"s2.safetensors","a":"s1.safetensors","b":"s1.safetensors")");
  const auto checkpoint = Checkpoint::open(dir_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->files().size(), 2u);
  EXPECT_EQ(first_float(*checkpoint, "a"), 1);
  EXPECT_EQ(first_float(*checkpoint, "b"), 2);
  EXPECT_EQ(first_float(*checkpoint, "c"), 3);
}

TEST_F(CheckpointTest, ShardsThatDisagreeWithTheIndex) {
  write_shard("s1.safetensors", {{"a", 1}});
  write_shard("s2.safetensors", {{"b", 2}});
  write_index(R"("a":"s2.safetensors","b":"s1.safetensors")");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"a\" is in s1.safetensors, weight_map says s2.safetensors"));
  write_index(R"("a":"s1.safetensors","b":"s2.safetensors","c":"s2.safetensors")");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"c\" is not in s2.safetensors"));
  write_index(R"("a":"s1.safetensors","b":"s3.safetensors")");
  EXPECT_THAT(refusal(), HasSubstr("s3.safetensors: no such file"));
  write_shard("s2.safetensors", {{"b", 2}, {"x", 2}});
  write_index(R"("a":"s1.safetensors","b":"s2.safetensors")");
  EXPECT_THAT(refusal(), HasSubstr("tensor \"x\" of s2.safetensors is not in weight_map"));
  write_shard("s2.safetensors", {{"b", 2}, {"a", 2}});
  EXPECT_THAT(refusal(), HasSubstr("tensor \"a\" is in s2.safetensors, weight_map says s1.safetensors"));
}

TEST_F(CheckpointTest, LinksAreFollowedAndOtherThingsRefused) {
  write_shard("blob", {{"a", 4}});
  fs::create_symlink(path("blob"), path("model.safetensors"));
  EXPECT_EQ(refusal(), "opened");
  fs::remove(path("blob"));
  EXPECT_THAT(refusal(), HasSubstr("no such file"));  // a link to nowhere
  fs::remove(path("model.safetensors"));
  fs::create_symlink(path("model.safetensors"), path("model.safetensors"));
  EXPECT_THAT(refusal(), HasSubstr("model.safetensors"));  // a loop
  fs::remove(path("model.safetensors"));
  ASSERT_EQ(::mkfifo(path("model.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(refusal(), HasSubstr("not a regular file"));  // and does not wait for a writer
}

TEST_F(CheckpointTest, DirectoriesWithoutWeights) {
  EXPECT_THAT(refusal(), HasSubstr("neither model.safetensors nor model.safetensors.index.json is there"));
  write("pytorch_model.bin", "x");
  EXPECT_THAT(refusal(), HasSubstr("pytorch_model.bin holds pickled weights, which are never opened"));
  write("m.gguf", "x");
  EXPECT_THAT(refusal(), HasSubstr("give the GGUF file itself, " + path("m.gguf")));
  EXPECT_THAT(Checkpoint::open(path("nothing")).status().message(), HasSubstr("no such file"));
  write("empty.safetensors", "");
  EXPECT_THAT(Checkpoint::open(path("empty.safetensors")).status().message(), HasSubstr("too short"));
  EXPECT_THAT(Checkpoint::open(path("m.gguf")).status().message(), HasSubstr("m.gguf"));
}

TEST_F(CheckpointTest, ForeignTypesAreRefusedOnlyWhenNeeded) {
  const std::string header = R"({"f":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},)"
                             R"("u":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},)"
                             R"("z":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}})";
  const uint64_t length = header.size();
  write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header + "12345678");
  const auto checkpoint = Checkpoint::open(dir_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_TRUE(checkpoint->require("u").ok());
  EXPECT_THAT(checkpoint->require("f").status().message(), HasSubstr("tensor \"f\" has dtype F8_E4M3"));
  EXPECT_EQ(checkpoint->require("f").status().code(), StatusCode::unsupported);
  EXPECT_THAT(checkpoint->require("z").status().message(), HasSubstr("tensor \"z\" is empty"));
}

TEST_F(CheckpointTest, ReadsAreChecked) {
  write_shard("model.safetensors", {{"a", 1}, {"b", 2}});
  const auto checkpoint = Checkpoint::open(dir_);
  ASSERT_TRUE(checkpoint.ok());
  const TensorInfo& a = *checkpoint->find("a");
  std::byte out[8];
  EXPECT_TRUE(checkpoint->read(a, 4, std::span(out, 4)).ok());
  EXPECT_EQ(std::memcmp(out, "\0\0\0\x40", 4), 0);  // 2.0f
  EXPECT_FALSE(checkpoint->read(a, 4, std::span(out, 5)).ok());
  EXPECT_FALSE(checkpoint->read(a, 9, std::span(out, 0)).ok());
  EXPECT_FALSE(checkpoint->read(a, UINT64_MAX, std::span(out, 2)).ok());
  // The file is cut short after it was opened.
  fs::resize_file(path("model.safetensors"), a.offset + 4);
  EXPECT_THAT(checkpoint->read(a, 0, out).message(), HasSubstr("truncated"));
}

TEST_F(CheckpointTest, ThreadsReadTogether) {
  write_shard("model.safetensors", {{"a", 1}, {"b", 2}, {"c", 3}, {"d", 4}});
  const auto checkpoint = Checkpoint::open(dir_);
  ASSERT_TRUE(checkpoint.ok());
  std::vector<std::thread> threads;
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    threads.emplace_back([&] {
      const float expected = static_cast<float>(tensor.name[0] - 'a' + 1);
      for (int i = 0; i < 200; ++i) ASSERT_EQ(first_float(*checkpoint, tensor.name), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(CheckpointTest, GgufIsSeenTheSameWay) {
  GgufMetadata metadata;
  metadata.set("general.architecture", GgufValue::string("llama"));
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  const GgufTensorData tensor = {"w", DType::f32, {2, 3}, std::as_bytes(std::span(x))};
  ASSERT_TRUE(write_gguf(path("m.gguf"), metadata, {&tensor, 1}).ok());
  fs::rename(path("m.gguf"), path("blob"));  // known by its contents, as blobs of a hub's cache must be
  const auto checkpoint = Checkpoint::open(path("blob"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->kind(), Checkpoint::Kind::gguf);
  EXPECT_EQ(*checkpoint->gguf()->get_string("general.architecture"), "llama");
  EXPECT_THAT(checkpoint->find("w")->shape, testing::ElementsAre(2, 3));
  EXPECT_EQ(first_float(*checkpoint, "w"), 1);
}

// The same tiny model in every GGUF type is near the one in F32, and as near as the type allows.
TEST(CheckpointFixtures, GgufTypesHoldTheSameWeights) {
  const std::string dir = std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures/gguf/";
  if (!is_directory(dir)) GTEST_SKIP() << "no fixtures at " << dir;
  auto weights = [&](const char* type) {
    const auto checkpoint = Checkpoint::open(dir + "llama-" + type + ".gguf");
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    const TensorInfo& tensor = **checkpoint->require("blk.0.attn_q.weight");
    std::vector<std::byte> bytes(tensor.bytes);
    EXPECT_TRUE(checkpoint->read(tensor, 0, bytes).ok());
    std::vector<float> out(tensor.shape[0] * tensor.shape[1]);
    quant::dequantize_row(*tensor.dtype, bytes.data(), out.data(), static_cast<int64_t>(out.size()));
    return out;
  };
  const auto exact = weights("F32");
  for (const auto& [type, limit] :
       {std::pair("F16", 1e-3), std::pair("BF16", 4e-3), std::pair("Q8_0", 0.01), std::pair("Q5_1", 0.06),
        std::pair("Q5_0", 0.06), std::pair("Q4_1", 0.1), std::pair("Q4_0", 0.1)}) {
    const auto y = weights(type);
    ASSERT_EQ(y.size(), exact.size());
    double error = 0, norm = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      error += std::pow(double{y[i]} - exact[i], 2);
      norm += std::pow(double{exact[i]}, 2);
    }
    EXPECT_LT(std::sqrt(error / norm), limit) << type;
  }
}

TEST(CheckpointFixtures, EveryCheckpointOpens) {
  const std::string dir = std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures";
  if (!is_directory(dir)) GTEST_SKIP() << "no fixtures at " << dir;
  int opened = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    const bool directory = entry.is_directory() && fs::exists(entry.path() / "config.json");
    if (!directory && entry.path().extension() != ".gguf" &&
        entry.path().filename() != "reference.safetensors")
      continue;
    const auto checkpoint = Checkpoint::open(entry.path().string());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_FALSE(checkpoint->tensors().empty()) << entry.path();
    ++opened;
  }
  EXPECT_GT(opened, 200);
}

}  // namespace
}  // namespace sluice::model
