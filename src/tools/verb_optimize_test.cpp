// optimize as users run it: what it writes, and what is left when it is killed, interrupted or runs out of
// room.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "artifact/reader.h"
#include "cpu/cpu_device.h"
#include "model/model.h"
#include "model/testing/tiny_checkpoint.h"
#include "program/program.h"
#include "tools/testing/binary.h"

namespace sluice::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Process;
using testing::run_binary;
using testing::ScratchDir;
namespace fs = std::filesystem;

class OptimizeTest : public ::testing::Test {
 protected:
  std::string checkpoint(const model::testing::TinyModel& tiny) {
    const std::string path = dir_ / fmt::format("checkpoint-{}", count_++);
    fs::create_directory(path);
    EXPECT_EQ(model::testing::write_tiny_checkpoint(path, tiny).message(), "");
    return path;
  }
  // Enough weights that building takes a while.
  std::string large_checkpoint() {
    return checkpoint({.hidden = 256, .layers = 8, .heads = 8, .head_dim = 32, .width = 704, .vocab = 2048});
  }

  static std::vector<std::string> words(const std::string& model, const std::string& output,
                                        const std::vector<std::string>& more = {}) {
    std::vector<std::string> out = {"optimize", "--model_dir", model, "--output_dir", output};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  static std::string whole(const std::string& engine) {
    auto opened = artifact::EngineDir::open(engine);
    if (!opened.ok()) return opened.status().message();
    return opened->load({}).message();
  }

  // Everything beside the checkpoints.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename();
      if (!name.starts_with("checkpoint")) out.push_back(name);
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  ScratchDir dir_;
  int count_ = 0;
};

// Every value of every weight in the engine, as its layout unpacks it, against the checkpoint.
void expect_same_weights(const std::string& checkpoint, const std::string& engine) {
  const auto model = model::load_model(checkpoint);
  ASSERT_EQ(model.status().message(), "");
  auto opened = artifact::EngineDir::open(engine);
  ASSERT_EQ(opened.status().message(), "");
  ASSERT_EQ(opened->load({}).message(), "");
  const artifact::Manifest& m = opened->manifest();
  EXPECT_EQ(m.spec, model->spec);

  program::Wishes wishes;
  for (const auto& t : m.tensors) wishes.layouts[t.name] = t.layout;
  const auto backend = cpu::make_cpu_backend({});
  const auto program = program::lower(m.spec, m.recipe, m.types, *backend, 1, wishes);
  ASSERT_EQ(program.status().message(), "");
  std::map<std::string, const artifact::TensorEntry*> entries;
  for (const auto& t : m.tensors) entries[t.name] = &t;
  size_t compared = 0;
  for (const program::WeightInfo& w : program->weights) {
    if (w.constant) continue;
    const artifact::TensorEntry* t = entries[w.name];
    ASSERT_NE(t, nullptr) << w.name;
    EXPECT_EQ(t->bytes, w.bytes) << w.name;
    EXPECT_EQ(t->layout, w.layout->name) << w.name;
    ++compared;
    const std::byte* at = opened->weights().data() + t->offset;
    const uint64_t copy_bytes = w.bytes / static_cast<uint64_t>(w.copies);
    std::vector<float> stored(static_cast<size_t>(w.k)), expected;
    for (int64_t copy = 0; copy < w.copies && w.k > 1; ++copy) {
      int64_t row = 0;
      for (const std::string& role : w.roles) {
        const model::Weight* source = model->find(role);
        ASSERT_NE(source, nullptr);
        const int64_t rows = source->n / w.copies;
        expected.resize(static_cast<size_t>(rows * w.k));
        ASSERT_TRUE(model::read_rows_f32(*model, *source, copy * rows, rows, expected).ok());
        for (int64_t r = 0; r < rows; ++r, ++row) {
          w.layout->unpack_row(w.dtype, w.n, w.k, at + static_cast<uint64_t>(copy) * copy_bytes, row,
                               stored.data());
          ASSERT_TRUE(std::equal(stored.begin(), stored.end(), expected.begin() + r * w.k))
              << w.name << " row " << row;
        }
      }
    }
  }
  EXPECT_EQ(compared, m.tensors.size());
}

TEST_F(OptimizeTest, StoresWhatTheCheckpointHas) {
  for (const char* arch : {"llama", "qwen2", "gemma2", "mixtral"}) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      const std::string source = checkpoint({.arch = arch, .dtype = dtype, .sharded = dtype == DType::bf16});
      const std::string engine = dir_ / fmt::format("{}-{}", arch, name(dtype));
      const Outcome o = run_binary(words(source, engine, {"--json"}));
      ASSERT_EQ(o.code, 0) << o.err;
      const auto summary = parse_json(o.out, "stdout");
      ASSERT_TRUE(summary.ok());
      EXPECT_EQ((*summary)["arch"], arch);
      EXPECT_EQ((*summary)["output_dir"], engine);
      expect_same_weights(source, engine);
    }
  }
}

TEST_F(OptimizeTest, ConvertsByRoleAndByLayer) {
  const std::string source = checkpoint({.dtype = DType::bf16});
  std::ofstream(dir_ / "types.json")
      << R"({"attention": {"qkv": "q8_0"}, "feedforward": "q4_0", "layers": {"1": {"feedforward": "fp16"}}})";
  const Outcome o = run_binary(words(source, dir_ / "engine", {"--precision-config", dir_ / "types.json"}));
  ASSERT_EQ(o.code, 0) << o.err;
  const auto engine = artifact::EngineDir::open(dir_ / "engine");
  std::map<std::string, DType> types;
  for (const auto& t : engine->manifest().tensors) types[t.name] = t.type;
  EXPECT_EQ(types["layers.0.attention.qkv"], DType::q8_0);
  EXPECT_EQ(types["layers.0.attention.out"], DType::bf16);
  EXPECT_EQ(types["layers.0.mlp.gate_up"], DType::q4_0);
  EXPECT_EQ(types["layers.1.mlp.gate_up"], DType::f16);
  EXPECT_EQ(types["final_norm"], DType::f32);
}

TEST_F(OptimizeTest, TheSameInputGivesTheSameEngineButForMeasurements) {
  const std::string source = checkpoint({});
  for (const char* out : {"a", "b"})
    ASSERT_EQ(run_binary(words(source, dir_ / out, {"--precision", "q8_0", "--tuning", "cost"})).code, 0);
  for (const char* file : {"manifest.json", "blocks/r0-00000.bin", "tuning.json"}) {
    EXPECT_EQ(*read_text_file(dir_ / std::string("a/") + file),
              *read_text_file(dir_ / std::string("b/") + file))
        << file;
  }
}

TEST_F(OptimizeTest, RefusalsLeaveNothing) {
  const std::string source = checkpoint({});
  ASSERT_EQ(run_binary(words(source, dir_ / "engine")).code, 0);
  fs::create_directories(dir_ / "full/precious");
  std::ofstream(dir_ / "file") << "x";
  std::ofstream(dir_ / "bad.json") << R"({"attention": {"qvk": "fp16"}})";
  const auto before = names();
  const struct {
    std::vector<std::string> words;
    const char* message;
  } kCases[] = {
      {words(dir_ / "engine", dir_ / "new"), "is an engine already"},
      {words(source, dir_ / "full"), "not a Sluice engine"},
      {words(source, dir_ / "file"), "not a directory"},
      {words(source, dir_ / "file/x"), "Not a directory"},
      {words(source, dir_ / std::string(300, 'n')), "File name too long"},
      {words(source, "/proc/engine"), "/proc"},
      {words(source, dir_ / "new", {"--precision", "fp8"}), "not there yet"},
      {words(source, dir_ / "new", {"--tensor_parallel", "2"}), "tensor_parallel"},
      {words(source, dir_ / "new", {"--pipeline-parallel", "2"}), "pipeline_parallel"},
      {words(source, dir_ / "new", {"--max_seq_len", "100000"}), "max_seq_len"},
      {words(source, dir_ / "new", {"--precision_config", dir_ / "bad.json"}), "qvk"},
  };
  for (const auto& c : kCases) {
    const Outcome o = run_binary(c.words);
    EXPECT_EQ(o.code, 2) << c.message;
    EXPECT_THAT(o.err, HasSubstr(c.message));
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
    EXPECT_EQ(names(), before) << c.message;
  }
  EXPECT_TRUE(fs::exists(dir_ / "full/precious"));
}

TEST_F(OptimizeTest, NaNInAWeightIsRefusedAndLeavesNothing) {
  const std::string source = checkpoint({});
  const std::string path = source + "/model.safetensors";
  std::string bytes = *read_text_file(path);
  std::fill(bytes.end() - 4, bytes.end(), '\xff');
  std::ofstream(path, std::ios::binary) << bytes;
  const Outcome o = run_binary(words(source, dir_ / "engine"));
  EXPECT_EQ(o.code, 2);
  EXPECT_THAT(o.err, HasSubstr("NaN"));
  EXPECT_THAT(names(), ElementsAre());
}

// At moments spread over the whole run, and with an engine in the place in every second one.
TEST_F(OptimizeTest, KilledAtAnyMomentItLeavesTheOldOrTheNewEngine) {
  const std::string source = large_checkpoint();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run_binary(words(source, dir_ / "first", {"--precision", "q8_0"})).code, 0);
  const std::chrono::duration<double> length = std::chrono::steady_clock::now() - start;
  const std::string engine = dir_ / "engine";
  std::mt19937 random(7);
  int killed = 0, absent = 0;
  for (int i = 0; i < 20; ++i) {
    if (i % 2 == 0) fs::remove_all(engine);
    const bool existed = fs::exists(engine);
    Process build(words(source, engine, {"--precision", "q8_0"}));
    std::this_thread::sleep_for(length * 1.1 * (static_cast<double>(random() % 1000) / 1000));
    ::kill(build.pid(), SIGKILL);
    killed += build.wait().signal == SIGKILL;
    absent += !fs::exists(engine);
    EXPECT_FALSE(existed && !fs::exists(engine));
    if (fs::exists(engine)) {
      EXPECT_EQ(whole(engine), "");
    }
  }
  EXPECT_GE(killed, 5);
  EXPECT_GE(absent, 1);
  ASSERT_EQ(run_binary(words(source, engine, {"--precision", "q8_0"})).code, 0);
  EXPECT_EQ(whole(engine), "");
  EXPECT_THAT(names(), ElementsAre("engine", "first"));  // what the killed ones left is gone
}

TEST_F(OptimizeTest, InterruptedItLeavesNothing) {
  const std::string source = large_checkpoint();
  for (int signal : {SIGINT, SIGTERM}) {
    Process build(words(source, dir_ / "engine", {"--precision", "q4_k"}));
    while (!fs::exists(dir_ / ".engine.tmp/blocks"))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ::kill(build.pid(), signal);
    const Outcome o = build.wait();
    EXPECT_EQ(o.code, 128 + signal) << o.err;
    EXPECT_THAT(o.err, HasSubstr("interrupted"));
    EXPECT_THAT(names(), ElementsAre());
  }
}

TEST_F(OptimizeTest, AWriteThatFailsLeavesTheOldEngine) {
  const std::string source = checkpoint({});
  ASSERT_EQ(run_binary(words(source, dir_ / "engine")).code, 0);
  const std::string before = *read_text_file(dir_ / "engine/manifest.json");
  const Outcome o = run_binary(words(source, dir_ / "engine", {"--precision", "bf16"}), {}, [] {
    const struct rlimit limit { 20'000, 20'000 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
  });
  EXPECT_EQ(o.code, 2);
  EXPECT_THAT(o.err, HasSubstr("cannot write"));
  EXPECT_EQ(*read_text_file(dir_ / "engine/manifest.json"), before);
  EXPECT_THAT(names(), ElementsAre("engine"));
}

// A small file system of its own, seen by this process's children only. `body` runs inside.
int on_small_disk(const std::string& at, uint64_t bytes, const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", at.c_str(), "tmpfs", 0, fmt::format("size={}", bytes).c_str()) != 0)
      ::_exit(77);
    ::_exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(OptimizeTest, AFullDiskIsOneSentence) {
  const std::string source = checkpoint({});
  ASSERT_EQ(run_binary(words(source, dir_ / "engine")).code, 0);
  const uint64_t weights = artifact::EngineDir::open(dir_ / "engine")->manifest().weight_bytes;
  const std::string disk = dir_ / "disk";
  fs::create_directory(disk);
  const struct {
    uint64_t size;
    const char* message;
  } kCases[] = {{weights / 2, "the engine needs"},                              // known before
                {weights + 8192 - weights % 4096, "No space left on device"}};  // found when writing the rest
  for (const auto& c : kCases) {
    const int result = on_small_disk(disk, c.size, [&] {
      const Outcome o = run_binary(words(source, disk + "/engine"));
      const bool empty = fs::is_empty(disk);
      if (o.code != 2 || !empty || o.err.find(c.message) == std::string::npos)
        fmt::print(stderr, "code {}, empty {}: {}", o.code, empty, o.err);
      return o.code == 2 && empty && o.err.find(c.message) != std::string::npos;
    });
    if (result == 77) GTEST_SKIP() << "file systems cannot be mounted here";
    EXPECT_EQ(result, 0) << c.size;
  }
}

}  // namespace
}  // namespace sluice::tools
