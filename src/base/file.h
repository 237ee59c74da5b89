// Files: regular ones only (never blocks on a FIFO), every failure a Status that names the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace sluice {

/// A regular file open for reading.
class File {
 public:
  static Result<File> open(const std::string& path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }

  /// Fills `out` from `offset`; a short file is an error, not a short read. Safe from several threads.
  Status read_at(uint64_t offset, std::span<std::byte> out) const;

  /// Tells the kernel that these pages of the page cache will not be needed again.
  void drop_cache(uint64_t offset, uint64_t bytes) const;

  int fd() const { return fd_; }

 private:
  File(std::string path, int fd, uint64_t size) : path_(std::move(path)), fd_(fd), size_(size) {}
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// A read-only private mapping of a whole regular file. An empty file maps to an empty span.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Gives the resident pages of [offset, offset + bytes) back; they are read again when touched.
  void release(uint64_t offset, uint64_t bytes) const;
  /// Starts reading [offset, offset + bytes) ahead.
  void prefetch(uint64_t offset, uint64_t bytes) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// The whole of a regular file as text; refuses files larger than `max_bytes`.
Result<std::string> read_text_file(const std::string& path, size_t max_bytes = size_t{1} << 30);

/// Writes `text` to `path` through a temporary sibling, fsync and rename: the file is whole or absent.
Status write_file_atomically(const std::string& path, std::string_view text);

bool is_directory(const std::string& path);
bool is_regular_file(const std::string& path);
/// Something has this name, be it a link to nowhere or what may not be read: opening it says what is wrong.
bool exists(const std::string& path);
std::string join_path(const std::string& dir, const std::string& name);

}  // namespace sluice
