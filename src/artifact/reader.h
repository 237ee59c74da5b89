// An engine directory opened: its manifest, and its weights at one stretch of addresses.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "artifact/manifest.h"

namespace sluice::artifact {

/// A range of addresses, given back with its owner.
class AddressRange {
 public:
  AddressRange() = default;
  /// Nothing lies in it yet: touching it faults.
  static Result<AddressRange> reserve(uint64_t bytes);
  AddressRange(AddressRange&& other) noexcept { *this = std::move(other); }
  AddressRange& operator=(AddressRange&& other) noexcept;
  ~AddressRange();

  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

/// Takes an arena that is read piece by piece.
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  /// Where the next piece is to be read; not empty.
  virtual std::span<std::byte> room() = 0;
  /// arena[offset, offset + bytes) lies at the room's start.
  virtual void take(uint64_t offset, size_t bytes) = 0;
};

/// An open engine. open() checks the manifest and every listed file's length. load() compares checksums,
/// unless told otherwise (in parallel; a damaged disk shows here as an error), and maps the block files one
/// behind the other, so that the weight arena is one range of memory: read-only, shared with other processes,
/// brought in by the kernel as it is touched. Where a file system cannot map, blocks are read into memory.
///
/// Blocks are not looked at again. Replacing the engine with `optimize` does not disturb those who have it
/// open: they keep the old files. But whoever cuts a mapped file short in place makes later reads fault; an
/// engine is only to be changed by optimize.
class EngineDir {
 public:
  static Result<EngineDir> open(const std::string& path);

  const std::string& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }

  struct LoadOptions {
    bool verify = true;  // compare checksums
    int threads = 1;
  };
  Status load(const LoadOptions& options);

  /// Instead of load(), for who keeps the weights elsewhere: reads every block once, as many at a time as
  /// there are sinks, each into one of them. A checksum is compared when all of its block was taken: after a
  /// failure what was taken is not to be used.
  Status read(bool verify, std::span<const std::unique_ptr<PieceSink>> sinks) const;

  /// The arena, empty before load(): tensor t lies at weights()[t.offset, t.offset + t.bytes). Its start is
  /// aligned to a page.
  std::span<const std::byte> weights() const { return {range_.data(), range_.size()}; }

 private:
  EngineDir() = default;
  Status load_block(size_t index, bool verify);
  Status read_block(size_t index, bool verify, PieceSink& sink) const;
  /// Compares the checksum of a file that is no block.
  Status check_file(const FileEntry& entry) const;

  std::string path_;
  Manifest manifest_;
  AddressRange range_;
};

}  // namespace sluice::artifact
