#include "serve/access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace sluice::serve {

Result<std::unique_ptr<AccessLog>> AccessLog::open(const std::string& target) {
  const int fd = target == "stderr" ? ::dup(STDERR_FILENO)
                                    : ::open(target.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return errno_error("--access_log " + target);
  return std::unique_ptr<AccessLog>(new AccessLog(fd));
}

AccessLog::AccessLog(int fd) : fd_(fd), thread_([this] { run(); }) {}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  ::close(fd_);
}

void AccessLog::write(std::string line) {
  {
    const std::lock_guard lock(mutex_);
    if (lines_.size() >= kMaxQueued) {
      ++dropped_;
      return;
    }
    lines_.push_back(std::move(line));
  }
  wake_.notify_one();
}

bool AccessLog::takes_more() const {
  constexpr int kSlice = 200, kMost = 60'000;  // ms
  for (int waited = 0; waited < kMost; waited += kSlice) {
    struct pollfd ready {
      fd_, POLLOUT, 0
    };
    if (::poll(&ready, 1, kSlice) == 1) return true;
    if (stopping_) break;
  }
  return false;
}

void AccessLog::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || !lines_.empty(); });
    if (lines_.empty()) return;
    std::string text;
    const size_t count = lines_.size();
    for (; !lines_.empty(); lines_.pop_front()) text += lines_.front() + "\n";
    lock.unlock();
    for (size_t written = 0; written < text.size();) {
      const size_t piece = std::min<size_t>(text.size() - written, 4096);
      const ssize_t n = takes_more() ? ::write(fd_, text.data() + written, piece) : -1;
      if (n <= 0) {
        dropped_ += count;
        break;
      }
      written += static_cast<size_t>(n);
    }
    lock.lock();
  }
}

}  // namespace sluice::serve
