#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/attention/segment.h"

namespace sluice::cpu {

const AttentionFunctions& avx512_attention_functions() {
  static constexpr AttentionFunctions functions{avx512::load_queries, avx512::attend, avx512::merge,
                                                avx512::finish};
  return functions;
}

}  // namespace sluice::cpu
