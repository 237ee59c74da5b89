#include "base/log.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace sluice {
namespace {
std::atomic<LogLevel> g_level{LogLevel::info};

const char* prefix(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug: ";
    case LogLevel::warn:
      return "warning: ";
    case LogLevel::error:
      return "error: ";
    default:
      return "";
  }
}
}  // namespace

void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() { return g_level.load(std::memory_order_relaxed); }

void log_line(LogLevel level, std::string_view text) {
  std::string line = prefix(level);
  line.append(text);
  line.push_back('\n');
  // A pipe that nobody empties costs lines, not the threads that log.
  constexpr int kPatience = 100;  // ms
  struct pollfd ready {
    STDERR_FILENO, POLLOUT, 0
  };
  if (::poll(&ready, 1, kPatience) == 0) return;
  // One write(2) a line: lines of different threads never mix.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace sluice
