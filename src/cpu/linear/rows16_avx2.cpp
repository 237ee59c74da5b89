#include "cpu/simd/avx2.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_product.h"

namespace sluice::cpu {

const TileFunctions& avx2_tile_functions() {
  static constexpr TileFunctions functions{avx2::kMaxPanel, avx2::product_functions, avx2::unpack};
  return functions;
}

}  // namespace sluice::cpu
