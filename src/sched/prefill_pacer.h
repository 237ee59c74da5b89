// How many prompt tokens a step may take beside running decodes, so that these keep a promised time between
// tokens.
#pragma once

#include <algorithm>
#include <limits>

namespace sluice::sched {

/// Learns from the steps it is shown what a step costs: a base, and so much for each prefill token. Knows no
/// clock.
class PrefillPacer {
 public:
  /// `promised` seconds between two tokens of a running sequence; 0: no promise, and no limit.
  explicit PrefillPacer(double promised = 0) : promised_(promised) {}

  /// Prefill tokens of the next step at most; at least kLeast, so that prompts move even where the promise
  /// cannot be kept.
  int limit() const {
    if (promised_ <= 0) return std::numeric_limits<int>::max();
    if (per_token_ <= 0) return kFirst;
    const double room = (promised_ - base_) / per_token_;
    return static_cast<int>(std::clamp(room, double{kLeast}, 1e9));
  }

  /// A step of `decodes` sequences and `prefill` prompt tokens took `seconds`.
  void observe(int decodes, int prefill, double seconds) {
    if (promised_ <= 0 || seconds <= 0) return;
    if (prefill == 0) {
      if (decodes > 0) base_ = base_ <= 0 ? seconds : base_ + kRate * (seconds - base_);
      return;
    }
    // A step without decodes says what a token costs too, if it is long enough for its base not to matter.
    const double cost = std::max(seconds - base_, 0.05 * seconds) / prefill;
    // Dearer than thought is believed at once: a broken promise is worse than a slow prompt.
    per_token_ = cost > per_token_ ? cost : per_token_ + kRate * (cost - per_token_);
  }

 private:
  static constexpr int kLeast = 8;
  static constexpr int kFirst = 32;  // before anything was measured
  static constexpr double kRate = 0.1;
  double promised_;
  double base_ = 0;       // seconds
  double per_token_ = 0;  // seconds
};

}  // namespace sluice::sched
