// What may be replaced, what is cleaned up, and who waits for whom.
#include "artifact/staging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sluice::artifact {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class StagingTest : public ::testing::Test {
 protected:
  StagingTest() {
    std::string pattern = fs::temp_directory_path() / "staging_test.XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    output_ = root_ + "/out";
  }
  ~StagingTest() override { fs::remove_all(root_); }

  static bool never(const std::string&) { return false; }
  static bool has_mark(const std::string& path) { return fs::exists(path + "/mark"); }

  static Status make(const std::string& output, const std::string& content,
                     const StagedDirectory::Replaceable& replaceable) {
    SLUICE_ASSIGN(auto staged, StagedDirectory::create(output, replaceable));
    std::ofstream(staged.path() + "/mark") << content;
    return staged.publish();
  }
  static std::string mark(const std::string& output) {
    std::string text;
    std::ifstream(output + "/mark") >> text;
    return text;
  }
  // Names beside each other in the directory, hidden ones too.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(root_)) out.push_back(entry.path().filename());
    std::sort(out.begin(), out.end());
    return out;
  }
  static std::string refusal(const std::string& output) {
    return StagedDirectory::create(output, never).status().message();
  }

  std::string root_, output_;
};

TEST_F(StagingTest, AppearsWholeWithNothingBeside) {
  EXPECT_EQ(make(output_, "1", never).message(), "");
  EXPECT_EQ(mark(output_), "1");
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(StagingTest, ReplacesEmptyDirectoriesAndItsOwnKind) {
  fs::create_directory(output_);
  EXPECT_EQ(make(output_, "1", never).message(), "");
  EXPECT_EQ(make(output_ + "/", "2", has_mark).message(), "");
  EXPECT_EQ(mark(output_), "2");
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(StagingTest, WritesThroughLinksToWhereTheyPoint) {
  fs::create_directory(root_ + "/real");
  fs::create_directory_symlink("real", output_);
  EXPECT_EQ(make(output_, "1", never).message(), "");
  EXPECT_TRUE(fs::is_symlink(output_));
  EXPECT_EQ(mark(root_ + "/real"), "1");
}

TEST_F(StagingTest, RefusesWhatItMustNotReplace) {
  fs::create_directories(output_ + "/precious");
  EXPECT_THAT(refusal(output_), HasSubstr("not a Sluice engine"));
  std::ofstream(root_ + "/file") << "x";
  EXPECT_THAT(refusal(root_ + "/file"), HasSubstr("not a directory"));
  EXPECT_THAT(refusal(root_ + "/file/out"), HasSubstr("Not a directory"));
  EXPECT_THAT(refusal(root_ + "/" + std::string(300, 'n')), HasSubstr("File name too long"));
  EXPECT_THAT(refusal(root_ + "/" + std::string(252, 'n')), HasSubstr("File name too long"));
  EXPECT_THAT(refusal(""), HasSubstr("not the name"));
  EXPECT_THAT(refusal("/"), HasSubstr("not the name"));
  EXPECT_THAT(names(), ::testing::ElementsAre("file", "out"));
}

TEST_F(StagingTest, RefusesWhatCameInBetween) {
  auto staged = StagedDirectory::create(output_, never);
  ASSERT_TRUE(staged.ok());
  fs::create_directories(output_ + "/precious");
  EXPECT_THAT(staged->publish().message(), HasSubstr("not a Sluice engine"));
  EXPECT_TRUE(fs::exists(output_ + "/precious"));
}

TEST_F(StagingTest, TwoBuildersExcludeEachOther) {
  auto first = StagedDirectory::create(output_, never);
  ASSERT_TRUE(first.ok());
  const std::string expected = fmt::format("process {} is building it", ::getpid());
  EXPECT_THAT(refusal(output_), HasSubstr(expected));
  EXPECT_TRUE(fs::exists(first->path()));  // the second touched nothing
  EXPECT_TRUE(StagedDirectory::create(output_ + "2", never).ok());
  EXPECT_EQ(first->publish().message(), "");
}

TEST_F(StagingTest, TakesOverFromTheDead) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto staged = StagedDirectory::create(output_, never);
    std::ofstream(staged->path() + "/half") << "x";
    ::_exit(0);  // as if killed: nothing is cleaned up
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_THAT(names(), ::testing::ElementsAre(".out.lock", ".out.tmp"));
  EXPECT_EQ(make(output_, "1", never).message(), "");
  EXPECT_FALSE(fs::exists(output_ + "/half"));
  EXPECT_THAT(names(), ::testing::ElementsAre("out"));
}

TEST_F(StagingTest, SaysWhatItMayNotWrite) {
  ::chmod(root_.c_str(), 0555);
  const pid_t child = ::fork();
  if (child == 0) {  // root may write everywhere: be somebody else
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    ::_exit(refusal(output_).find("Permission denied") != std::string::npos ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ::chmod(root_.c_str(), 0755);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice::artifact
