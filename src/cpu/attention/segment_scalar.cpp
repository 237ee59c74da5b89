#include "cpu/simd/scalar.h"
// The kernels are made of the vocabulary above.
#include "cpu/attention/segment.h"

namespace sluice::cpu {

const AttentionFunctions& scalar_attention_functions() {
  static constexpr AttentionFunctions functions{scalar::load_queries, scalar::attend, scalar::merge,
                                                scalar::finish};
  return functions;
}

}  // namespace sluice::cpu
