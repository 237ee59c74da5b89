#define SLUICE_WITH_VNNI
#include "cpu/simd/avx2.h"
// The loops are made of the vocabulary above.
#include "cpu/limits/loops.h"

namespace sluice::cpu {

const LimitLoops& avxvnni_limit_loops() {
  static constexpr LimitLoops loops{avxvnni::read_loop, avxvnni::f32_loop, avxvnni::int8_loop};
  return loops;
}

}  // namespace sluice::cpu
