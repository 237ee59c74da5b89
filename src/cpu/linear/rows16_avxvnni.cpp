#define SLUICE_WITH_VNNI
#include "cpu/simd/avx2.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/rows16_functions.h"

namespace sluice::cpu {

const TileFunctions& avxvnni_tile_functions() {
  static constexpr TileFunctions functions{.product = avxvnni::product_functions, .unpack = avxvnni::unpack};
  return functions;
}

}  // namespace sluice::cpu
