#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_functions.h"

namespace sluice::cpu {

const TileFunctions& avx512_tile_functions() {
  static constexpr TileFunctions functions{.product = avx512::product_functions, .unpack = avx512::unpack};
  return functions;
}

}  // namespace sluice::cpu
