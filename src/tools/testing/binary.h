// The binary as users run it, in a process of its own.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace sluice::tools::testing {

/// A directory for one test, removed with its owner.
class ScratchDir {
 public:
  ScratchDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "sluice_test.XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ScratchDir(const ScratchDir&) = delete;
  ~ScratchDir() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Outcome {
  int code = -1;          // exit code, or -1 when a signal ended it
  int signal = 0;         // that signal
  std::string out;        // stdout
  std::string err;        // stderr
  uint64_t peak_rss = 0;  // bytes
};

/// A started process; stdout and stderr go to files in a directory of its own.
class Process {
 public:
  /// `prepare` runs in the child before the binary does.
  explicit Process(
      const std::vector<std::string>& arguments, const std::string& input = {},
      const std::function<void()>& prepare = [] {}) {
    std::ofstream(files_ / "in") << input;
    std::vector<std::string> words = {SLUICE_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    pid_ = ::fork();
    if (pid_ != 0) return;
    redirect(files_ / "in", O_RDONLY, STDIN_FILENO);
    redirect(files_ / "out", O_WRONLY | O_CREAT, STDOUT_FILENO);
    redirect(files_ / "err", O_WRONLY | O_CREAT, STDERR_FILENO);
    prepare();
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

  pid_t pid() const { return pid_; }
  /// What it has written on stderr so far.
  std::string err() const { return content(files_ / "err"); }

  Outcome wait() {
    int status = 0;
    struct rusage usage {};
    ::wait4(pid_, &status, 0, &usage);
    Outcome outcome;
    outcome.peak_rss = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
    if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
    outcome.out = content(files_ / "out");
    outcome.err = content(files_ / "err");
    return outcome;
  }

 private:
  static void redirect(const std::string& path, int flags, int to) {
    const int fd = ::open(path.c_str(), flags, 0600);
    ::dup2(fd, to);
    ::close(fd);
  }
  static std::string content(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

  ScratchDir files_;
  pid_t pid_ = -1;
};

inline Outcome run_binary(
    const std::vector<std::string>& arguments, const std::string& input = {},
    const std::function<void()>& prepare = [] {}) {
  return Process(arguments, input, prepare).wait();
}

}  // namespace sluice::tools::testing
