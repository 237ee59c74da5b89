#define SLUICE_WITH_VNNI
#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_functions.h"

namespace sluice::cpu {

const TileFunctions& avx512vnni_tile_functions() {
  static constexpr TileFunctions functions{.product = avx512vnni::product_functions,
                                           .unpack = avx512vnni::unpack};
  return functions;
}

}  // namespace sluice::cpu
