// A file being written, whose length and checksum grow with it.
#pragma once

#include <string>

#include "artifact/checksum.h"
#include "artifact/manifest.h"

namespace sluice::artifact {

/// A file descriptor and its owner.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class HashedFile {
 public:
  /// A new file; fails when there is one already. `name` is what its entry says, e.g. relative to the engine.
  static Result<HashedFile> create(const std::string& path, std::string name);

  Status append(std::span<const std::byte> bytes);
  uint64_t size() const { return entry_.bytes; }

  /// Writes it through to the disk and closes it.
  Result<FileEntry> finish();

 private:
  HashedFile(std::string path, Descriptor fd, std::string name)
      : path_(std::move(path)), fd_(std::move(fd)), entry_{std::move(name), 0, {}} {}
  std::string path_;
  Descriptor fd_;
  FileEntry entry_;
  Checksum checksum_;
};

/// Makes the entries of a directory durable.
Status sync_directory(const std::string& path);

}  // namespace sluice::artifact
