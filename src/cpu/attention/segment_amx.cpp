#define SLUICE_WITH_AMX
#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/attention/tile_segment.h"
#include "cpu/simd/amx_tiles.h"

namespace sluice::cpu {

const AttentionFunctions& amx_attention_functions() {
  static constexpr AttentionFunctions functions{amx::load_query_tiles, amx::attend_tiles<AmxTiles>,
                                                amx::merge, amx::finish, kMostQueryRows};
  return functions;
}

}  // namespace sluice::cpu
