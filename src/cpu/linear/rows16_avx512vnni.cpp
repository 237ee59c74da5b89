#define SLUICE_WITH_VNNI
#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_product.h"

namespace sluice::cpu {

const TileFunctions& avx512vnni_tile_functions() {
  static constexpr TileFunctions functions{avx512vnni::kMaxPanel, avx512vnni::product_functions,
                                           avx512vnni::unpack};
  return functions;
}

}  // namespace sluice::cpu
