// Keys and values of bf16 by VDPBF16PS.
#define SLUICE_WITH_BF16
#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/attention/segment.h"

namespace sluice::cpu {

const AttentionFunctions& avx512bf16_attention_functions() {
  static constexpr AttentionFunctions functions{avx512bf16::load_queries, avx512bf16::attend,
                                                avx512bf16::merge, avx512bf16::finish};
  return functions;
}

}  // namespace sluice::cpu
