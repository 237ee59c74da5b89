#include "cpu/simd/scalar.h"
// The kernels are made of the vocabulary above.
#include "cpu/rows/rows.h"

namespace sluice::cpu {

const RowFunctions& scalar_row_functions() {
  static constexpr RowFunctions functions{scalar::activate, scalar::add_norm, scalar::scale_softcap,
                                          scalar::norm_and_rotate, scalar::write_page};
  return functions;
}

}  // namespace sluice::cpu
