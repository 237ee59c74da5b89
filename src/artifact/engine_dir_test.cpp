// An engine written and read back; every way in which its files can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "artifact/reader.h"
#include "artifact/tuning.h"
#include "artifact/writer.h"
#include "base/fields.h"
#include "model/model.h"
#include "model/testing/tiny_checkpoint.h"

namespace sluice::artifact {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class EngineDirTest : public ::testing::Test {
 protected:
  EngineDirTest() {
    std::string pattern = fs::temp_directory_path() / "engine_dir_test.XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    const std::string checkpoint = root_ + "/checkpoint";
    fs::create_directory(checkpoint);
    EXPECT_EQ(model::testing::write_tiny_checkpoint(checkpoint, {}).message(), "");
    model_ = std::make_unique<model::Model>(*model::load_model(checkpoint));
    engine_ = root_ + "/engine";
  }
  ~EngineDirTest() override { fs::remove_all(root_); }

  // Two tensors; the second straddles blocks.
  Manifest manifest() const {
    Manifest m;
    m.writer = "test";
    m.source = {"safetensors", "tiny", {{"model.safetensors", 1, 2}}};
    m.hardware = {"cpu", "test", "none"};
    m.spec = model_->spec;
    EXPECT_TRUE(model::complete(m.recipe, m.spec, 32).ok());
    std::vector<std::string> notes;
    m.types = *model::resolve_types(*model_, m.recipe, notes);
    m.tensors = {{"a", DType::f32, "plain", 25, 1, 1, 0, 100},
                 {"b", DType::u8, "plain", 100'000, 1, 2, 128, 200'000}};
    return m;
  }

  static std::vector<std::byte> arena() {
    std::vector<std::byte> bytes(128 + 200'000 + 56);  // 56: alignment behind the last
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 2654435761u >> 13);
    std::fill(bytes.begin() + 100, bytes.begin() + 128, std::byte{0});
    std::fill(bytes.end() - 56, bytes.end(), std::byte{0});
    return bytes;
  }

  Status write(const Manifest& m) const {
    const auto bytes = std::span<const std::byte>(arena_);
    SLUICE_ASSIGN(EngineWriter writer, EngineWriter::create(engine_, bytes.size(), kBlockAlignment));
    SLUICE_TRY(writer.append(bytes.first(100)));
    SLUICE_TRY(writer.pad_to(128));
    SLUICE_TRY(writer.append(bytes.subspan(128, 100'000)));
    SLUICE_TRY(writer.append(bytes.subspan(100'128, 100'000)));
    SLUICE_TRY(writer.pad_to(bytes.size()));
    SLUICE_TRY(writer.add_file("tokenizer/tokenizer_config.json", "{}"));
    SLUICE_TRY(writer.add_file(kTuningFile, write_tuning({m.hardware, {{"linear: n=1", "k", 1.5}}})));
    return writer.publish(m);
  }
  void write() const { ASSERT_EQ(write(manifest()).message(), ""); }

  /// Mapped, and piece by piece: what is wrong with one is wrong with the other.
  Status load() const {
    SLUICE_ASSIGN(EngineDir engine, EngineDir::open(engine_));
    Status status = engine.load({.verify = true, .threads = 2});
    std::vector<std::byte> arena(arena_.size());
    std::vector<std::unique_ptr<PieceSink>> sinks;
    for (int i = 0; i < 2; ++i) sinks.push_back(std::make_unique<Copier>(arena));
    EXPECT_EQ(engine.read(true, sinks).message(), status.message());
    if (status.ok()) {
      EXPECT_EQ(arena, arena_);
    }
    return status;
  }

  class Copier final : public PieceSink {
   public:
    explicit Copier(std::span<std::byte> arena) : arena_(arena) {}
    std::span<std::byte> room() override { return piece_; }
    void take(uint64_t offset, size_t bytes) override {
      std::copy_n(piece_.begin(), bytes, arena_.begin() + static_cast<std::ptrdiff_t>(offset));
    }

   private:
    std::span<std::byte> arena_;
    std::vector<std::byte> piece_ = std::vector<std::byte>(10'000);
  };

  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(engine_)) {
      if (entry.is_regular_file()) out.push_back(entry.path().string());
    }
    return out;
  }

  void edit_manifest(const std::function<void(Manifest&)>& edit) const {
    const std::string path = join_path(engine_, kManifestFile);
    Manifest m = *parse_manifest(*read_text_file(path), path);
    edit(m);
    ASSERT_TRUE(write_file_atomically(path, write_manifest(m)).ok());
  }

  std::string root_, engine_;
  std::unique_ptr<model::Model> model_;
  const std::vector<std::byte> arena_ = arena();
};

TEST_F(EngineDirTest, RoundTrip) {
  write();
  EXPECT_TRUE(is_engine_dir(engine_));
  auto engine = EngineDir::open(engine_);
  ASSERT_EQ(engine.status().message(), "");
  EXPECT_TRUE(engine->weights().empty());
  ASSERT_EQ(engine->load({.verify = true, .threads = 3}).message(), "");
  EXPECT_TRUE(std::ranges::equal(engine->weights(), arena_));
  EXPECT_TRUE(load().ok());

  const Manifest& got = engine->manifest();
  EXPECT_EQ(got.blocks.size(), 4u);  // 200184 bytes in blocks of 65536
  EXPECT_EQ(got.blocks.back().bytes, 200'184u - 3 * 65'536);
  Manifest expected = manifest();
  expected.weight_bytes = got.weight_bytes;
  expected.block_bytes = got.block_bytes;
  expected.blocks = got.blocks;
  expected.files = got.files;
  EXPECT_EQ(got, expected);
  EXPECT_EQ(read_tuning(engine_)->kernels.front().microseconds, 1.5);
}

// From here on the kernel answers a mapping of a file, and nothing else, with ENODEV.
void refuse_to_map_files() {
  const auto argument = [](int i) { return static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * i); };
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(3)),  // flags
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENODEV),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    ::_exit(3);
}

TEST_F(EngineDirTest, AFileSystemThatCannotMapIsRead) {
  write();
  const auto read_without_maps = [&] {
    refuse_to_map_files();
    auto engine = EngineDir::open(engine_);
    const bool equal = engine.ok() && engine->load({.verify = true, .threads = 1}).ok() &&
                       std::ranges::equal(engine->weights(), arena_);
    ::_exit(equal ? 0 : 1);
  };
  EXPECT_EXIT(read_without_maps(), ::testing::ExitedWithCode(0), "");
}

TEST_F(EngineDirTest, SpecsOfEveryArchitectureSurviveTheManifest) {
  for (const char* arch : {"llama", "qwen2", "gemma2", "mixtral"}) {
    const std::string checkpoint = root_ + "/" + arch;
    fs::create_directory(checkpoint);
    ASSERT_EQ(model::testing::write_tiny_checkpoint(checkpoint,
                                                    {.arch = arch, .dtype = DType::bf16, .sharded = true})
                  .message(),
              "");
    const auto model = model::load_model(checkpoint);
    ASSERT_EQ(model.status().message(), "");
    Manifest m = manifest();
    m.spec = model->spec;
    m.tensors.clear();
    m.block_bytes = kBlockAlignment;
    const auto read = parse_manifest(write_manifest(m), "manifest.json");
    ASSERT_EQ(read.status().message(), "");
    EXPECT_EQ(*read, m);
  }
}

TEST_F(EngineDirTest, AnyFlippedByteIsFoundAndTheFileNamed) {
  write();
  for (const std::string& path : files()) {
    const std::string original = *read_text_file(path);
    for (size_t at : {size_t{0}, original.size() / 2, original.size() - 2}) {
      std::string flipped = original;
      flipped[at] ^= 1;
      std::ofstream(path, std::ios::binary) << flipped;
      EXPECT_THAT(load().message(), HasSubstr(path)) << "byte " << at;
    }
    std::ofstream(path, std::ios::binary) << original;
  }
  EXPECT_EQ(load().message(), "");
}

TEST_F(EngineDirTest, MissingShortAndLongFilesAreFoundWhenOpened) {
  write();
  for (const std::string& path : files()) {
    const std::string original = *read_text_file(path);
    for (const std::string& changed : {original.substr(0, original.size() - 2), original + "x"}) {
      std::ofstream(path, std::ios::binary) << changed;
      EXPECT_THAT(EngineDir::open(engine_).status().message(), HasSubstr(path));
    }
    fs::remove(path);
    EXPECT_THAT(EngineDir::open(engine_).status().message(), HasSubstr(fs::path(path).filename().string()));
    std::ofstream(path, std::ios::binary) << original;
  }
  EXPECT_EQ(load().message(), "");
}

TEST_F(EngineDirTest, ChecksumsCanBeSkipped) {
  write();
  const std::string block = join_path(engine_, block_file(0));
  std::string bytes = *read_text_file(block);
  bytes[5] ^= 1;
  std::ofstream(block, std::ios::binary) << bytes;
  auto engine = EngineDir::open(engine_);
  ASSERT_TRUE(engine.ok());
  EXPECT_TRUE(engine->load({.verify = false, .threads = 1}).ok());
  EXPECT_THAT(engine->load({.verify = true, .threads = 1}).message(), HasSubstr(block));
}

TEST_F(EngineDirTest, ManifestsThatContradictThemselvesAreRefused) {
  write();
  const struct {
    std::function<void(Manifest&)> edit;
    const char* message;
  } kCases[] = {
      {[](Manifest& m) { m.tensors[1].offset = 64; }, "overlaps"},
      {[](Manifest& m) { m.tensors[1].offset = 129; }, "not aligned"},
      {[](Manifest& m) { m.tensors[1].offset = 0xffffffffffffff00; }, "ends beyond"},
      {[](Manifest& m) { m.tensors[1].bytes = 300'000; }, "ends beyond"},
      {[](Manifest& m) { m.tensors[1].copies = 7; }, "multiple of its copies"},
      {[](Manifest& m) { m.tensors[1].copies = 0; }, "must be positive"},
      {[](Manifest& m) { m.tensors[1].n = -1; }, "must be positive"},
      {[](Manifest& m) { m.tensors[1].name = "a"; }, "there twice"},
      {[](Manifest& m) { std::swap(m.tensors[0], m.tensors[1]); }, "overlaps"},
      {[](Manifest& m) { m.block_bytes = 0; }, "block_bytes"},
      {[](Manifest& m) { m.block_bytes = uint64_t{1} << 40; }, "block_bytes"},
      {[](Manifest& m) { m.block_bytes = kBlockAlignment / 2; }, "block_bytes"},
      {[](Manifest& m) { m.weight_bytes = ~uint64_t{0}; }, "blocks where"},
      {[](Manifest& m) { m.blocks.pop_back(); }, "blocks where"},
      {[](Manifest& m) { m.blocks[1].file = "../../etc/passwd"; }, "inside the engine"},
      {[](Manifest& m) { m.blocks[1].file = "/etc/passwd"; }, "inside the engine"},
      {[](Manifest& m) { m.blocks[1].file = m.blocks[0].file; }, "blocks[1]"},
      {[](Manifest& m) { m.blocks[1].bytes += 1; }, "blocks[1]"},
      {[](Manifest& m) { m.files[0].file = "tokenizer/../../x"; }, "inside the engine"},
      {[](Manifest& m) { m.files[0].file = kManifestFile; }, "listed twice"},
      {[](Manifest& m) { m.files[0].xxh3 = "0"; }, "checksum of 32"},
      {[](Manifest& m) { m.spec.vocab = -5; }, "spec"},
      {[](Manifest& m) { m.spec.eos = {1'000'000}; }, "the tokens that end a text"},
      {[](Manifest& m) { m.recipe.max_batch_tokens = -5; }, "recipe"},
      {[](Manifest& m) { m.recipe.page_tokens = 0; }, "page_tokens"},
  };
  const std::string path = join_path(engine_, kManifestFile);
  const std::string original = *read_text_file(path);
  for (const auto& c : kCases) {
    edit_manifest(c.edit);
    const Status status = EngineDir::open(engine_).status();
    EXPECT_THAT(status.message(), HasSubstr(c.message));
    EXPECT_THAT(status.message(), HasSubstr("manifest.json"));
    ASSERT_TRUE(write_file_atomically(path, original).ok());
  }
}

TEST_F(EngineDirTest, OtherVersionsAndOtherFilesAreRefusedWithTheRemedy) {
  write();
  const std::string path = join_path(engine_, kManifestFile);
  std::string text = *read_text_file(path);
  text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
  ASSERT_TRUE(write_file_atomically(path, text).ok());
  const Status status = EngineDir::open(engine_).status();
  EXPECT_EQ(status.code(), StatusCode::unsupported);
  EXPECT_THAT(status.message(), HasSubstr("run optimize again"));
  EXPECT_TRUE(is_engine_dir(engine_));  // it may be replaced

  EXPECT_THAT(parse_manifest("{}", "m").status().message(), HasSubstr("not the manifest"));
  EXPECT_THAT(parse_manifest("[1]", "m").status().message(), HasSubstr("not the manifest"));
  EXPECT_THAT(parse_manifest("{", "m").status().message(), HasSubstr("m"));
  EXPECT_THAT(EngineDir::open(root_).status().message(), HasSubstr("not an engine"));
  EXPECT_THAT(EngineDir::open(root_ + "/nothing").status().message(), HasSubstr("no such file"));
}

TEST_F(EngineDirTest, AReplacedEngineStaysReadableForThoseWhoHaveItOpen) {
  write();
  auto open = EngineDir::open(engine_);
  ASSERT_TRUE(open.ok());
  ASSERT_TRUE(open->load({}).ok());
  write();
  EXPECT_TRUE(std::ranges::equal(open->weights(), arena_));
  EXPECT_EQ(load().message(), "");
}

TEST_F(EngineDirTest, UnfinishedEnginesLeaveNothing) {
  { auto writer = *EngineWriter::create(engine_, 100, kBlockAlignment); }
  EXPECT_FALSE(fs::exists(engine_));
  const std::string deep = root_ + "/x/y/engine";
  { auto writer = *EngineWriter::create(deep, 100, kBlockAlignment); }
  EXPECT_FALSE(fs::exists(root_ + "/x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);  // the checkpoint
}

}  // namespace
}  // namespace sluice::artifact
