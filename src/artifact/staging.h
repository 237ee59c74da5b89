// A directory that appears whole or not at all.
//
// It is filled under a temporary name beside its place, and renamed when everything in it is on the disk. A
// process that is killed leaves at most `.NAME.tmp` (and `.NAME.old`, `.NAME.lock`) behind, which the next
// one for the same place removes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "artifact/hashed_file.h"

namespace sluice::artifact {

/// Keeps others from building to the same place. The kernel lets go of it when the process ends however it
/// ends, so that no lock is ever stale; the process id in the file is for the message.
class BuildLock {
 public:
  /// `path` is the lock's file; `what` is said to be in use when another process has it.
  static Result<BuildLock> take(const std::string& path, const std::string& what);
  BuildLock(BuildLock&&) = default;
  BuildLock& operator=(BuildLock&&) = delete;
  ~BuildLock() { release(); }

  bool held() const { return fd_.open(); }
  void release();

 private:
  BuildLock(std::string path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  Descriptor fd_;
};

class StagedDirectory {
 public:
  using Replaceable = std::function<bool(const std::string&)>;

  /// Prepares to make `output`, with the directories above it that are missing. A directory that is there
  /// already is replaced if it is empty or `replaceable` says so of it; anything else is refused.
  static Result<StagedDirectory> create(const std::string& output, Replaceable replaceable);
  StagedDirectory(StagedDirectory&&) = default;
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  /// Without publish(): leaves no trace.
  ~StagedDirectory();

  /// Where to write until then.
  const std::string& path() const { return temporary_; }
  /// Where it will be: absolute, links resolved.
  const std::string& output() const { return output_; }

  /// Puts the directory into its place in one step; what was there before is removed. Every file in it must
  /// be on the disk. Where the file system cannot exchange two directories there is a moment with none.
  Status publish();

 private:
  StagedDirectory(std::string output, std::string temporary, std::string old, Replaceable replaceable,
                  BuildLock lock)
      : output_(std::move(output)),
        temporary_(std::move(temporary)),
        old_(std::move(old)),
        replaceable_(std::move(replaceable)),
        lock_(std::move(lock)) {}
  Status exchange();
  void remove_leftovers() const;

  std::string output_, temporary_, old_;
  Replaceable replaceable_;
  std::vector<std::string> made_parents_;  // outermost first; of a directory that is not published
  BuildLock lock_;                         // held for as long as there may be anything to clean up
};

}  // namespace sluice::artifact
