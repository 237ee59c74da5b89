// Makes an engine directory from a stream of packed weights: memory stays at what the caller hands over at a
// time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "artifact/hashed_file.h"
#include "artifact/manifest.h"
#include "artifact/staging.h"

namespace sluice::artifact {

class EngineWriter {
 public:
  /// Begins an engine of `weight_bytes` at `output`, where nothing, an empty directory or an engine may be.
  /// One sentence when the disk has too little room, the place cannot be written or another process builds
  /// there.
  static Result<EngineWriter> create(const std::string& output, uint64_t weight_bytes,
                                     uint64_t block_bytes = kDefaultBlockBytes);

  /// The next bytes of the weight arena.
  Status append(std::span<const std::byte> bytes);
  /// Zeros up to an offset of the arena that is not behind what was written.
  Status pad_to(uint64_t offset);

  /// Adds a file beside the blocks: `name` is relative to the engine, its directories are made.
  Status add_file(const std::string& name, std::string_view content);

  /// Fills in the manifest's blocks and files, writes it and puts the engine into place. All weight bytes
  /// must have been written. After a failure nothing is left, and an engine that was there before is
  /// untouched.
  Status publish(Manifest manifest);

  /// Where the engine will be: absolute, links resolved.
  const std::string& output() const { return directory_.output(); }
  size_t blocks() const { return blocks_.size(); }

 private:
  EngineWriter(StagedDirectory directory, uint64_t weight_bytes, uint64_t block_bytes)
      : directory_(std::move(directory)), weight_bytes_(weight_bytes), block_bytes_(block_bytes) {}
  Status finish_block();

  StagedDirectory directory_;
  uint64_t weight_bytes_;
  uint64_t block_bytes_;
  uint64_t written_ = 0;  // of the arena
  std::optional<HashedFile> block_;
  std::vector<FileEntry> blocks_, files_;
};

}  // namespace sluice::artifact
