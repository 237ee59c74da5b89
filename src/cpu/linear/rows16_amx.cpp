#define SLUICE_WITH_AMX
#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/linear/tile_product.h"
#include "cpu/simd/amx_tiles.h"

namespace sluice::cpu {
namespace {

// With quantised weights both compute the same; with plain ones the order of the sums differs.
ProductFunctions product(DType weight, ops::Activations activations, int64_t m) {
  const ProductFunctions tiles = amx::amx_product_functions<AmxTiles>(weight, activations, m);
  if (tiles.multiply != nullptr && m >= kLeastTileRows) return tiles;
  return avx512vnni_tile_functions().product(weight, activations, m);
}

}  // namespace

const TileFunctions& amx_tile_functions() {
  static const TileFunctions functions{.product = product,
                                       .unpack = avx512vnni_tile_functions().unpack,
                                       .row_multiple = kTileEdge,
                                       .scratch_bytes = amx::tile_scratch_bytes};
  return functions;
}

}  // namespace sluice::cpu
