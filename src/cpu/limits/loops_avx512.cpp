#include "cpu/simd/avx512.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"

namespace sluice::cpu {

const LimitLoops& avx512_limit_loops() {
  static constexpr LimitLoops loops{avx512::read_loop, avx512::f32_loop, avx512::int8_loop};
  return loops;
}

}  // namespace sluice::cpu
