#include "artifact/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

namespace sluice::artifact {
namespace {

namespace fs = std::filesystem;

bool is_same_file(int fd, const std::string& path) {
  struct stat a {
  }, b{};
  return ::fstat(fd, &a) == 0 && ::stat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

std::string read_line(int fd) {
  std::array<char, 32> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  return n > 0 ? std::string(text.data(), static_cast<size_t>(n)) : "unknown";
}

// Innermost first, as long as they are empty.
void remove_directories(std::vector<std::string>& outermost_first) {
  for (; !outermost_first.empty(); outermost_first.pop_back()) ::rmdir(outermost_first.back().c_str());
}

// Makes the missing directories above a path, and says which.
Status make_parents(const fs::path& path, std::vector<std::string>& made) {
  std::vector<fs::path> missing;
  for (fs::path p = path; !p.empty() && ::access(p.c_str(), F_OK) != 0 && errno == ENOENT;
       p = p.parent_path()) {
    missing.push_back(p);
  }
  for (; !missing.empty(); missing.pop_back()) {
    if (::mkdir(missing.back().c_str(), 0777) == 0) {
      made.push_back(missing.back().string());
    } else if (errno != EEXIST) {
      return errno_error(missing.back().string() + ": cannot create the directory");
    }
  }
  return {};
}

Result<fs::path> absolute_output(const std::string& output) {
  fs::path path;
  if (!output.empty()) {
    std::error_code error;
    const fs::path given = fs::absolute(output, error);
    if (!error) path = fs::weakly_canonical(given, error);
    if (error) return io_error("{}: {}", output, error.message());
    if (!path.has_filename()) path = path.parent_path();  // "engine/"
  }
  if (!path.has_filename())
    return invalid_argument("\"{}\" is not the name of a directory that can be made", output);
  return path;
}

Status check_replaceable(const std::string& output, const StagedDirectory::Replaceable& replaceable) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(output, error);
  if (status.type() == fs::file_type::not_found) return {};
  if (status.type() != fs::file_type::directory)
    return invalid_argument("{}: there is something there that is not a directory; choose another name",
                            output);
  if (fs::is_empty(output, error) || replaceable(output)) return {};
  if (error) return io_error("{}: cannot list the directory: {}", output, error.message());
  return invalid_argument(
      "{}: there is a directory that is not a Sluice engine; choose another name or remove it", output);
}

}  // namespace

Result<BuildLock> BuildLock::take(const std::string& path, const std::string& what) {
  for (;;) {
    Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (!fd.open()) return errno_error(path + ": cannot create");
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return errno_error(path + ": cannot lock");
      return resource_exhausted("{}: process {} is building it; wait for it to end", what,
                                read_line(fd.get()));
    }
    if (!is_same_file(fd.get(), path)) continue;  // its owner removed it between our open and our lock
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(fd.get(), 0) != 0 ||
        ::pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
      Status status = errno_error(path + ": cannot write");
      ::unlink(path.c_str());
      return status;
    }
    return BuildLock(path, std::move(fd));
  }
}

void BuildLock::release() {
  if (!held()) return;
  ::unlink(path_.c_str());
  const Descriptor last = std::move(fd_);
}

Result<StagedDirectory> StagedDirectory::create(const std::string& output, Replaceable replaceable) {
  SLUICE_ASSIGN(const fs::path path, absolute_output(output));
  SLUICE_TRY(check_replaceable(path.string(), replaceable));
  std::vector<std::string> made;
  const Status parents = make_parents(path.parent_path(), made);
  const auto sibling = [&](const char* suffix) {
    return (path.parent_path() / ("." + path.filename().string() + suffix)).string();
  };
  auto lock = parents.ok() ? BuildLock::take(sibling(".lock"), path.string()) : Result<BuildLock>(parents);
  if (!lock.ok()) {
    remove_directories(made);
    return lock.status();
  }
  StagedDirectory staged(path.string(), sibling(".tmp"), sibling(".old"), std::move(replaceable),
                         *std::move(lock));
  staged.made_parents_ = std::move(made);
  staged.remove_leftovers();
  if (::mkdir(staged.temporary_.c_str(), 0777) != 0)
    return errno_error(staged.temporary_ + ": cannot create the directory");
  return staged;
}

StagedDirectory::~StagedDirectory() {
  if (!lock_.held()) return;  // moved from
  remove_leftovers();
  lock_.release();  // its file lies in the directories that go now
  remove_directories(made_parents_);
}

void StagedDirectory::remove_leftovers() const {
  for (const std::string& left : {temporary_, old_}) {
    std::error_code ignored;  // what cannot be removed shows when it is in the way
    fs::remove_all(left, ignored);
  }
}

Status StagedDirectory::exchange() {
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, output_.c_str(), RENAME_EXCHANGE) == 0) {
    return {};  // what was there is now under the temporary name
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
    return errno_error(output_ + ": cannot put the new engine into place");
  if (::rename(output_.c_str(), old_.c_str()) != 0)
    return errno_error(output_ + ": cannot move the engine there aside");
  if (::rename(temporary_.c_str(), output_.c_str()) == 0) return {};
  Status status = errno_error(output_ + ": cannot put the new engine into place");
  [[maybe_unused]] const int restored = ::rename(old_.c_str(), output_.c_str());
  return status;
}

Status StagedDirectory::publish() {
  SLUICE_TRY(sync_directory(temporary_));
  SLUICE_TRY(check_replaceable(output_, replaceable_));
  // rename itself replaces an empty directory.
  if (::rename(temporary_.c_str(), output_.c_str()) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST)
      return errno_error(output_ + ": cannot put the new engine into place");
    SLUICE_TRY(exchange());
  }
  made_parents_.clear();
  return sync_directory(fs::path(output_).parent_path().string());
}

}  // namespace sluice::artifact
