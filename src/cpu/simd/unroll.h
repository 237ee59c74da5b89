// Loops that the compiler must unroll. Included once per instruction set, after its simd header.
#pragma once

namespace sluice::cpu::SLUICE_ISA {

/// A number as a type, for generic lambdas.
template <int I>
struct Index {
  static constexpr int value = I;
};

/// f(Index<i>) for i in [0, N).
template <int N, int I = 0, typename F>
SLUICE_SIMD void unroll(const F& f) {
  if constexpr (I < N) {
    f(Index<I>{});
    unroll<N, I + 1>(f);
  }
}

}  // namespace sluice::cpu::SLUICE_ISA
