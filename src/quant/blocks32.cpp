// The 32-element formats of ggml. Multi-byte fields are little endian; d and m are f16.
//
//          bytes of a block                              value of element i
//   q8_0   d | i8 q[32]                                  d * q[i]
//   q4_0   d | nibbles                                   d * (nibble - 8)
//   q4_1   d | m | nibbles                               d * nibble + m
//   q5_0   d | u32 fifth bits | nibbles                  d * (nibble + 16 * fifth bit i - 16)
//   q5_1   d | m | u32 fifth bits | nibbles              d * (nibble + 16 * fifth bit i) + m
//
// "nibbles" are 16 bytes: byte j holds element j in its low half and element j + 16 in its high half.
#include <cstring>

#include "quant/fit.h"
#include "quant/formats.h"

namespace sluice::quant {
namespace {

constexpr int kElems = 32;

uint8_t byte_at(const std::byte* p, int i) { return std::to_integer<uint8_t>(p[i]); }

// One scale and one offset for the whole block; formats without an offset have m = 0 and ignore `min`.
void single_group(Block& block) {
  block.scale[0] = 1;
  block.min[0] = 1;
}

void unpack_q8(const std::byte* packed, Block& block) {
  single_group(block);
  std::memcpy(block.code, packed + 2, kElems);
}
void pack_q8(const Block& block, std::byte* packed) { std::memcpy(packed + 2, block.code, kElems); }

// Nibbles at `nibbles`, their fifth bits (if Bits is 5) in the four bytes before; `Bias` is what a code of
// zero is stored as.
template <int Bits, int Offset, int Bias>
void unpack_nibbles(const std::byte* packed, Block& block) {
  single_group(block);
  const std::byte* nibbles = packed + Offset;
  uint32_t fifth = 0;
  if constexpr (Bits == 5) std::memcpy(&fifth, nibbles - 4, 4);
  for (int i = 0; i < kElems; ++i) {
    const int low = i < 16 ? byte_at(nibbles, i) & 15 : byte_at(nibbles, i - 16) >> 4;
    const int high = static_cast<int>((fifth >> i) & 1u) << 4;
    block.code[i] = static_cast<int8_t>(low + high - Bias);
  }
}

template <int Bits, int Offset, int Bias>
void pack_nibbles(const Block& block, std::byte* packed) {
  std::byte* nibbles = packed + Offset;
  uint32_t fifth = 0;
  for (int j = 0; j < 16; ++j) {
    const int low = block.code[j] + Bias;
    const int high = block.code[j + 16] + Bias;
    nibbles[j] = static_cast<std::byte>((low & 15) | (high & 15) << 4);
    fifth |= static_cast<uint32_t>(low >> 4) << j | static_cast<uint32_t>(high >> 4) << (j + 16);
  }
  if constexpr (Bits == 5) std::memcpy(nibbles - 4, &fifth, 4);
}

template <int Lo, int Hi>
void fit_signed(const float* x, Block& block) {
  single_group(block);
  block.d = round_to_f16(fit_scale(x, kElems, Lo, Hi));
  assign_codes(x, kElems, block.d, 0, Lo, Hi, block.code);
}

template <int Hi>
void fit_offset(const float* x, Block& block) {
  single_group(block);
  const ScaleMin best = fit_scale_min(x, kElems, Hi, /*min_may_be_positive=*/true);
  block.d = round_to_f16(best.d);
  block.m = round_to_f16(best.m);
  assign_codes(x, kElems, block.d, block.m, 0, Hi, block.code);
}

}  // namespace

// -128 is left out of q8_0: kernels that multiply |a| by sign(a) * b could not hold its absolute value.
const BlockFormat kQ8_0 = {DType::q8_0, kElems, 0, -1, 1, unpack_q8, pack_q8, fit_signed<-127, 127>};
const BlockFormat kQ4_0 = {DType::q4_0,           kElems,           0, -1, 1, unpack_nibbles<4, 2, 8>,
                           pack_nibbles<4, 2, 8>, fit_signed<-8, 7>};
const BlockFormat kQ4_1 = {DType::q4_1,           kElems,        0, 2, 1, unpack_nibbles<4, 4, 0>,
                           pack_nibbles<4, 4, 0>, fit_offset<15>};
const BlockFormat kQ5_0 = {
    DType::q5_0, kElems, 0, -1, 1, unpack_nibbles<5, 6, 16>, pack_nibbles<5, 6, 16>, fit_signed<-16, 15>};
const BlockFormat kQ5_1 = {DType::q5_1,           kElems,        0, 2, 1, unpack_nibbles<5, 8, 0>,
                           pack_nibbles<5, 8, 0>, fit_offset<31>};

}  // namespace sluice::quant
