// Finding scales: which d (and m) and which integer codes lose least of a group of floats, in squared error.
// The length n of a group is a multiple of 8.
#pragma once

#include <cstdint>

#include "tensor/half.h"

namespace sluice::quant {

inline float round_to_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

/// d of x ~ d * q with integers q in [lo, hi], lo < 0 < hi. d may be negative: the element of largest
/// magnitude can so take the longer side of the range. Zero when all x are.
float fit_scale(const float* x, int n, int lo, int hi);

/// d >= 0 and m of x ~ d * q + m with integers q in [0, hi].
struct ScaleMin {
  float d = 0;
  float m = 0;
};
ScaleMin fit_scale_min(const float* x, int n, int hi, bool min_may_be_positive);

/// code[i] = the integer in [lo, hi] whose value d * code + m is nearest to x[i]; zero (or lo) when d is 0.
void assign_codes(const float* x, int n, float d, float m, int lo, int hi, int8_t* code);

/// Sum of (x - d * code - m)^2 with the codes that assign_codes chooses.
float assigned_error(const float* x, int n, float d, float m, int lo, int hi);

}  // namespace sluice::quant
