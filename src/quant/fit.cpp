// The search has two steps. A grid over the scale, from "the largest element just fits" to both sides, gives
// for each candidate the codes by rounding and then the scale that is best for these codes, in closed form
// (least squares). The best candidate is polished by repeating the two half-steps, each of which can only
// lower the error.
#include "quant/fit.h"

#include <algorithm>
#include <cmath>

namespace sluice::quant {
namespace {

constexpr int kLanes = 8;   // partial sums, so that the loops over a group vectorise without reassociation
constexpr int kPolish = 2;  // rounds; a third no longer moves the error

// Round to nearest by pushing the fraction out of the mantissa; |v| < 2^22.
inline float round_nearest(float v) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23
  return (v + kShift) - kShift;
}

// The order of the arguments makes a NaN come out as lo: huge inputs may overflow on the way here.
inline float nearest_code(float v, float lo, float hi) {
  return round_nearest(std::min(hi, std::max(lo, v)));
}

float sum(const float (&lanes)[kLanes]) {
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

// The sums over a group that least squares needs, for the codes q = round(x * inverse + shift).
struct Moments {
  float q = 0, qq = 0, xq = 0;
};
Moments moments(const float* x, int n, float inverse, float shift, float lo, float hi) {
  float q1[kLanes] = {}, q2[kLanes] = {}, xq[kLanes] = {};
  for (int i = 0; i < n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float q = nearest_code(x[i + k] * inverse + shift, lo, hi);
      q1[k] += q;
      q2[k] += q * q;
      xq[k] += x[i + k] * q;
    }
  }
  return {sum(q1), sum(q2), sum(xq)};
}

// Least squares over (d, m) for fixed codes, and by how much it lowers the error below that of x ~ mean(x)
// (or of x ~ 0 when m is held at 0).
struct Solution {
  ScaleMin at;
  float gain = -1;
};
Solution solve(const Moments& s, float n, float sum_x, bool min_may_be_positive) {
  const float det = n * s.qq - s.q * s.q;
  if (det <= 0) return {};
  Solution best;
  best.at.d = (n * s.xq - sum_x * s.q) / det;
  best.at.m = (sum_x - best.at.d * s.q) / n;
  if (best.at.m > 0 && !min_may_be_positive) best.at = {s.xq / s.qq, 0};
  if (best.at.d <= 0) return {};
  // error = sum x^2 - gain, with gain = 2 <x, y> - <y, y> for the approximation y = d q + m.
  const auto [d, m] = best.at;
  best.gain = 2 * (d * s.xq + m * sum_x) - (d * d * s.qq + 2 * d * m * s.q + m * m * n);
  return best;
}

}  // namespace

float fit_scale(const float* x, int n, int lo, int hi) {
  float extreme = 0;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  if (extreme == 0) return 0;
  const auto flo = static_cast<float>(lo), fhi = static_cast<float>(hi);

  float best_gain = -1, best = 0;
  auto consider = [&](float inverse) {
    const Moments s = moments(x, n, inverse, 0, flo, fhi);
    if (s.qq == 0) return;
    const float gain = s.xq / s.qq * s.xq;
    if (gain > best_gain) {
      best_gain = gain;
      best = s.xq / s.qq;
    }
  };
  const bool lopsided = -lo != hi;
  for (int step = -6; step <= 3; ++step) {
    const float reach = flo * (1 + 0.04f * static_cast<float>(step));
    consider(reach / extreme);
    if (lopsided) consider(-(reach + 1) / extreme);
  }
  for (int round = 0; round < kPolish && best != 0; ++round) consider(1 / best);
  return best;
}

ScaleMin fit_scale_min(const float* x, int n, int hi, bool min_may_be_positive) {
  float low = x[0], high = x[0];
  float lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    lanes[i % kLanes] += x[i];
  }
  if (!min_may_be_positive) low = std::min(low, 0.0f);
  if (high <= low) return {0, low};
  const float sum_x = sum(lanes);
  const auto fn = static_cast<float>(n), fhi = static_cast<float>(hi);

  Solution best;
  best.at = {(high - low) / fhi, low};
  auto consider = [&](float inverse, float shift) {
    const Solution s = solve(moments(x, n, inverse, shift, 0, fhi), fn, sum_x, min_may_be_positive);
    if (s.gain > best.gain) best = s;
  };
  const float centre = (low + high) / 2;
  for (int step = -3; step <= 6; ++step) {
    const float inverse = fhi * (1 + 0.04f * static_cast<float>(step)) / (high - low);
    consider(inverse, fhi / 2 - centre * inverse);
  }
  for (int round = 0; round < kPolish; ++round) consider(1 / best.at.d, -best.at.m / best.at.d);
  return best.at;
}

void assign_codes(const float* x, int n, float d, float m, int lo, int hi, int8_t* code) {
  const float inverse = d == 0 ? 0 : 1 / d;
  for (int i = 0; i < n; ++i) {
    code[i] = static_cast<int8_t>(
        nearest_code((x[i] - m) * inverse, static_cast<float>(lo), static_cast<float>(hi)));
  }
}

float assigned_error(const float* x, int n, float d, float m, int lo, int hi) {
  const float inverse = d == 0 ? 0 : 1 / d;
  float lanes[kLanes] = {};
  for (int i = 0; i < n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      const float q = nearest_code((x[i + k] - m) * inverse, static_cast<float>(lo), static_cast<float>(hi));
      const float e = x[i + k] - m - d * q;
      lanes[k] += e * e;
    }
  }
  return sum(lanes);
}

}  // namespace sluice::quant
