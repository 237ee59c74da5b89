#include "cpu/simd/avx512.h"
// The kernels are made of the vocabulary above.
#include "cpu/rows/rows.h"

namespace sluice::cpu {

const RowFunctions& avx512_row_functions() {
  static constexpr RowFunctions functions{avx512::activate, avx512::add_norm, avx512::scale_softcap,
                                          avx512::norm_and_rotate, avx512::write_page};
  return functions;
}

}  // namespace sluice::cpu
