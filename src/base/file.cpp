#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

namespace sluice {
namespace {

Result<std::pair<int, uint64_t>> open_regular(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return not_found("{}: no such file", path);
    return errno_error(path + ": cannot open");
  }
  struct stat st {};
  if (::fstat(fd, &st) != 0) {
    Status status = errno_error(path + ": cannot stat");
    ::close(fd);
    return status;
  }
  if (!S_ISREG(st.st_mode)) {
    ::close(fd);
    return invalid_argument("{}: not a regular file", path);
  }
  return std::pair{fd, static_cast<uint64_t>(st.st_size)};
}

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(path + ": cannot write");
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Result<File> File::open(const std::string& path) {
  SLUICE_ASSIGN(const auto opened, open_regular(path));
  return File(path, opened.first, opened.second);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Status File::read_at(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno_error(fmt::format("{}: cannot read {} bytes at offset {}", path_, out.size(), offset));
    }
    if (n == 0) {
      return corrupt("{}: file ends at byte {} where {} more were expected; it is truncated", path_, offset,
                     out.size());
    }
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return {};
}

void File::drop_cache(uint64_t offset, uint64_t bytes) const {
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
}

Result<MappedFile> MappedFile::open(const std::string& path) {
  SLUICE_ASSIGN(const auto opened, open_regular(path));
  MappedFile file;
  file.path_ = path;
  file.size_ = opened.second;
  if (opened.second > 0) {
    void* p = ::mmap(nullptr, opened.second, PROT_READ, MAP_PRIVATE, opened.first, 0);
    if (p == MAP_FAILED) {
      Status status = errno_error(path + ": cannot map");
      ::close(opened.first);
      file.size_ = 0;
      return status;
    }
    file.data_ = static_cast<const std::byte*>(p);
  }
  ::close(opened.first);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(uint64_t offset, uint64_t bytes) const {
  constexpr uint64_t kPage = 4096;
  const uint64_t begin = (offset + kPage - 1) / kPage * kPage;
  const uint64_t end = (offset + bytes) / kPage * kPage;
  if (data_ != nullptr && begin < end) {
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }
}

void MappedFile::prefetch(uint64_t offset, uint64_t bytes) const {
  constexpr uint64_t kPage = 4096;
  const uint64_t begin = offset / kPage * kPage;
  if (data_ != nullptr && offset + bytes <= size_) {
    ::madvise(const_cast<std::byte*>(data_) + begin, offset + bytes - begin, MADV_WILLNEED);
  }
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  SLUICE_ASSIGN(const File file, File::open(path));
  if (file.size() > max_bytes) {
    return invalid_argument("{}: {} bytes, more than the {} allowed for such a file", path, file.size(),
                            max_bytes);
  }
  std::string text(file.size(), '\0');
  SLUICE_TRY(file.read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Status write_file_atomically(const std::string& path, std::string_view text) {
  const std::string temporary = fmt::format("{}.tmp.{}", path, ::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return errno_error(temporary + ": cannot create");
  Status status = write_all(fd, text, temporary);
  if (status.ok() && ::fsync(fd) != 0) status = errno_error(temporary + ": cannot sync");
  if (::close(fd) != 0 && status.ok()) status = errno_error(temporary + ": cannot close");
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = errno_error(path + ": cannot rename into place");
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

bool is_directory(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

bool is_regular_file(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

bool exists(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

std::string join_path(const std::string& dir, const std::string& name) {
  return dir.empty() || dir.back() == '/' ? dir + name : dir + "/" + name;
}

}  // namespace sluice
