// One JSON line for each request, written by a thread of its own: a log that blocks or is full costs lines,
// never time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"

namespace sluice::serve {

class AccessLog {
 public:
  static constexpr size_t kMaxQueued = 4096;  // lines

  /// `target` is a file, which is appended to, or "stderr".
  static Result<std::unique_ptr<AccessLog>> open(const std::string& target);
  ~AccessLog();

  /// Queues a line; it is dropped when the queue is full.
  void write(std::string line);
  uint64_t dropped() const { return dropped_; }

 private:
  explicit AccessLog(int fd);
  void run();
  /// Waits until the log takes more: a minute at most, and not once this ends.
  bool takes_more() const;

  int fd_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::string> lines_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> dropped_{0};
  std::thread thread_;
};

}  // namespace sluice::serve
