// Elementary functions of vectors. Included once per instruction set, after its simd header.
#pragma once

namespace sluice::cpu::SLUICE_ISA {

/// e^x within 2 ulp; 0 for x < -104, infinity for x > 88.8, NaN stays. The method is Cephes' (Moshier): x = n
/// ln 2 + r with |r| <= ln 2 / 2, and a polynomial in r; ln 2 in two parts of which the first times n is
/// exact.
SLUICE_SIMD F32 exp(F32 x) {
  x = min(set1(104.0f), max(set1(-104.0f), x));
  const I32 n = round_to_i32(mul(x, set1(1.44269504f)));
  const F32 n_f = to_f32(n);
  F32 r = fma(n_f, set1(-0.693359375f), x);
  r = fma(n_f, set1(2.12194440e-4f), r);
  F32 p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = add(fma(p, mul(r, r), r), set1(1.0f));
  // 2^n in two factors: n itself may be beyond the exponents of normal numbers.
  const I32 half = shift_signed<1>(n), rest = sub(n, half);
  const auto power = [](I32 e) { return as_f32(shift<23>(add(e, set1(127)))); };
  return mul(mul(p, power(half)), power(rest));
}

/// tanh(x): a polynomial near 0, where 1 - 2 / (e^2x + 1) would lose its digits.
SLUICE_SIMD F32 tanh(F32 x) {
  const F32 xx = mul(x, x);
  F32 p = set1(-5.70498872745e-3f);  // Cephes' tanhf, for |x| < 0.625
  p = fma(p, xx, set1(2.06390887954e-2f));
  p = fma(p, xx, set1(-5.37397155531e-2f));
  p = fma(p, xx, set1(1.33314422036e-1f));
  p = fma(p, xx, set1(-3.33332819422e-1f));
  const F32 small = fma(mul(p, xx), x, x);
  const F32 large = sub(set1(1.0f), div(set1(2.0f), add(exp(add(x, x)), set1(1.0f))));
  return select_less(xx, set1(0.625f * 0.625f), small, large);
}

/// |x|
SLUICE_SIMD F32 abs(F32 x) { return as_f32(bit_and(as_i32(x), set1(0x7fffffff))); }

/// erfc(x) = 1 - erf(x) for x >= 0, relative error below 2e-7 and that of e^(-x^2): a Chebyshev fit in
/// 1 / (1 + x / 2) (Press et al., Numerical Recipes, "erfcc").
SLUICE_SIMD F32 erfc(F32 x) {
  const F32 t = div(set1(1.0f), fma(x, set1(0.5f), set1(1.0f)));
  F32 p = set1(0.17087277f);
  p = fma(p, t, set1(-0.82215223f));
  p = fma(p, t, set1(1.48851587f));
  p = fma(p, t, set1(-1.13520398f));
  p = fma(p, t, set1(0.27886807f));
  p = fma(p, t, set1(-0.18628806f));
  p = fma(p, t, set1(0.09678418f));
  p = fma(p, t, set1(0.37409196f));
  p = fma(p, t, set1(1.00002368f));
  p = fma(p, t, set1(-1.26551223f));
  return mul(t, exp(sub(p, mul(x, x))));
}

}  // namespace sluice::cpu::SLUICE_ISA
