#include "cpu/simd/scalar.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"

namespace sluice::cpu {

const LimitLoops& scalar_limit_loops() {
  static constexpr LimitLoops loops{scalar::read_loop, scalar::f32_loop, scalar::int8_loop};
  return loops;
}

}  // namespace sluice::cpu
