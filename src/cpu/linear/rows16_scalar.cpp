#include "cpu/simd/scalar.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_functions.h"

namespace sluice::cpu {

const TileFunctions& scalar_tile_functions() {
  static constexpr TileFunctions functions{.product = scalar::product_functions, .unpack = scalar::unpack};
  return functions;
}

}  // namespace sluice::cpu
