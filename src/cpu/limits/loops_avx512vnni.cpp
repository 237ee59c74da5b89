#define SLUICE_WITH_VNNI
#include "cpu/simd/avx512.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"

namespace sluice::cpu {

const LimitLoops& avx512vnni_limit_loops() {
  static constexpr LimitLoops loops{avx512vnni::read_loop, avx512vnni::f32_loop, avx512vnni::int8_loop};
  return loops;
}

}  // namespace sluice::cpu
