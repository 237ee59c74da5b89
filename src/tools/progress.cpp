#include "tools/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"

namespace sluice::tools {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(100);
constexpr auto kLine = std::chrono::seconds(5);
constexpr int kBarWidth = 30;

}  // namespace

Progress::Progress(std::string what, uint64_t total, Unit unit)
    : what_(std::move(what)),
      total_(std::max<uint64_t>(total, 1)),
      unit_(unit),
      enabled_(log_level() <= LogLevel::info),
      terminal_(::isatty(STDERR_FILENO) == 1) {
  if (!terminal_) printed_ = start_;  // short work prints nothing
}

Progress::~Progress() {
  if (line_open_) std::fputc('\n', stderr);
}

void Progress::update(uint64_t done) {
  const auto now = Clock::now();
  const bool last = terminal_ && done >= total_;  // a bar is drawn to its end, lines are for those who wait
  if (!enabled_ || (!last && now - printed_ < (terminal_ ? kRedraw : kLine))) return;
  printed_ = now;
  if (!terminal_) {
    log_info("{}", text(done));
    return;
  }
  const int filled = static_cast<int>(std::min(done, total_) * kBarWidth / total_);
  fmt::print(stderr, "\r[{:<{}}] {}\x1b[K", std::string(static_cast<size_t>(filled), '#'), kBarWidth,
             text(done));
  line_open_ = true;
}

std::string Progress::text(uint64_t done) const {
  if (unit_ == Unit::rounds) return fmt::format("{}: round {} of {}", what_, done, total_);
  if (unit_ == Unit::tokens) return fmt::format("{}: {} of {} tokens", what_, done, total_);
  if (unit_ == Unit::requests) return fmt::format("{}: {} of {} requests have ended", what_, done, total_);
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  return fmt::format(
      "{}: {} of {} ({}%), {}/s", what_, format_bytes(done), format_bytes(total_), done * 100 / total_,
      format_bytes(static_cast<uint64_t>(static_cast<double>(done) / std::max(seconds, 1e-3))));
}

std::string format_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  return fmt::format("{:.{}f} {}", value, unit > 0 && value < 99.5 ? 1 : 0, kUnits[unit]);
}

}  // namespace sluice::tools
