#include "cpu/simd/avx2.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_functions.h"

namespace sluice::cpu {

const TileFunctions& avx2_tile_functions() {
  static constexpr TileFunctions functions{.product = avx2::product_functions, .unpack = avx2::unpack};
  return functions;
}

}  // namespace sluice::cpu
