#include "cpu/simd/avx2.h"
// The kernels are made of the vocabulary above.
#include "cpu/rows/rows.h"

namespace sluice::cpu {

const RowFunctions& avx2_row_functions() {
  static constexpr RowFunctions functions{avx2::activate, avx2::add_norm, avx2::scale_softcap,
                                          avx2::norm_and_rotate, avx2::write_page};
  return functions;
}

}  // namespace sluice::cpu
