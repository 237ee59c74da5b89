#include "cpu/simd/avx2.h"
// The kernels are made of the vocabulary above.
#include "cpu/attention/segment.h"

namespace sluice::cpu {

const AttentionFunctions& avx2_attention_functions() {
  static constexpr AttentionFunctions functions{avx2::load_queries, avx2::attend, avx2::merge, avx2::finish};
  return functions;
}

}  // namespace sluice::cpu
