// Which files a build reads, and whether they stayed as they were while it did.
#pragma once

#include <string>
#include <vector>

#include "artifact/manifest.h"
#include "model/checkpoint/checkpoint.h"

namespace sluice::artifact {

/// Taken before the first byte is read, compared after the last.
class SourceSnapshot {
 public:
  /// The tensor files, and of a directory also the config, index, tokenizer and generation files there are.
  static Result<SourceSnapshot> take(const model::Checkpoint& checkpoint);

  /// Refuses, naming the file, when one was changed, replaced or removed since.
  Status check_unchanged() const;

  const Source& source() const { return source_; }

 private:
  struct Facts {
    std::string path;
    uint64_t device = 0, inode = 0;
    SourceFile file;
  };
  static Result<Facts> facts_of(const std::string& path);

  Source source_;
  std::vector<Facts> facts_;
};

}  // namespace sluice::artifact
