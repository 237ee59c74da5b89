#include "cpu/simd/scalar.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_product.h"

namespace sluice::cpu {

const TileFunctions& scalar_tile_functions() {
  static constexpr TileFunctions functions{scalar::kMaxPanel, scalar::product_functions, scalar::unpack};
  return functions;
}

}  // namespace sluice::cpu
