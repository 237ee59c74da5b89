#include "cpu/simd/avx2.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"

namespace sluice::cpu {

const LimitLoops& avx2_limit_loops() {
  static constexpr LimitLoops loops{avx2::read_loop, avx2::f32_loop, avx2::int8_loop};
  return loops;
}

}  // namespace sluice::cpu
