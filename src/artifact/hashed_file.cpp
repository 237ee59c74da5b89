#include "artifact/hashed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace sluice::artifact {

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<HashedFile> HashedFile::create(const std::string& path, std::string name) {
  Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd.open()) return errno_error(path + ": cannot create");
  return HashedFile(path, std::move(fd), std::move(name));
}

Status HashedFile::append(std::span<const std::byte> bytes) {
  checksum_.update(bytes);
  entry_.bytes += bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(path_ + ": cannot write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<FileEntry> HashedFile::finish() {
  if (::fsync(fd_.get()) != 0) return errno_error(path_ + ": cannot write through to the disk");
  if (::close(fd_.release()) != 0) return errno_error(path_ + ": cannot close");
  entry_.xxh3 = checksum_.hex();
  return std::move(entry_);
}

Status sync_directory(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.open()) return errno_error(path + ": cannot open");
  // Some file systems cannot sync a directory, and say so with EINVAL.
  if (::fsync(fd.get()) != 0 && errno != EINVAL)
    return errno_error(path + ": cannot write through to the disk");
  return {};
}

}  // namespace sluice::artifact
