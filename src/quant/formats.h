// The block formats by family; format.cpp lists them.
#pragma once

#include "quant/format.h"

namespace sluice::quant {

// blocks32.cpp: 32 elements, one scale, perhaps an offset
extern const BlockFormat kQ8_0, kQ4_0, kQ4_1, kQ5_0, kQ5_1;

// k_quants.cpp: 256 elements in groups whose scales are themselves quantised
extern const BlockFormat kQ2K, kQ3K, kQ4K, kQ5K, kQ6K;

// iq4.cpp: codes are indices into a table of 16 uneven levels
extern const BlockFormat kIQ4NL, kIQ4XS;

}  // namespace sluice::quant
