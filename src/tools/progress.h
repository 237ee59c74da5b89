// How far long work is: a bar on a terminal, plain lines elsewhere. On stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice::tools {

class Progress {
 public:
  enum class Unit { bytes, rounds, tokens, requests };

  /// `total` in units. Prints nothing when info lines are not wanted.
  Progress(std::string what, uint64_t total, Unit unit = Unit::bytes);
  /// Ends the line, if one was begun.
  ~Progress();
  Progress(const Progress&) = delete;

  void update(uint64_t done);

 private:
  using Clock = std::chrono::steady_clock;
  std::string text(uint64_t done) const;

  std::string what_;
  uint64_t total_;
  Unit unit_;
  bool enabled_;
  bool terminal_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point printed_{};
  bool line_open_ = false;
};

/// "1.5 GB", "812 kB".
std::string format_bytes(uint64_t bytes);

}  // namespace sluice::tools
