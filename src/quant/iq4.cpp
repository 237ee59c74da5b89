// The formats of ggml whose 4-bit codes are indices into a table of uneven levels, denser near zero.
//
//           bytes of a block                                             value of element i, g its group of
//           32
//   iq4_nl  d | nibbles[16]                                              d * level[nibble]
//   iq4_xs  d | u16 high scale bits | low scale nibbles[4] | nibbles[128]   d * (sc[g] - 32) * level[nibble]
//
// Every 32 elements lie in 16 bytes: byte j holds element j in its low half and element j + 16 in its high
// half.
#include <array>
#include <cmath>
#include <cstring>

#include "quant/fit.h"
#include "quant/formats.h"

namespace sluice::quant {
namespace {

constexpr int kGroup = 32;
constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

uint8_t byte_at(const std::byte* p, int i) { return std::to_integer<uint8_t>(p[i]); }

// nearest_index()[v + 128]: the index of the level nearest to v.
constexpr auto kNearestIndex = [] {
  std::array<uint8_t, 256> table{};
  for (int v = -128; v < 128; ++v) {
    int best = 0;
    for (int k = 1; k < 16; ++k) {
      const int distance = v < kLevels[k] ? kLevels[k] - v : v - kLevels[k];
      const int least = v < kLevels[best] ? kLevels[best] - v : v - kLevels[best];
      if (distance < least) best = k;
    }
    table[static_cast<size_t>(v + 128)] = static_cast<uint8_t>(best);
  }
  return table;
}();

uint8_t nearest_index(int v) { return kNearestIndex[static_cast<size_t>(v + 128)]; }

void unpack_levels(const std::byte* nibbles, int8_t* code) {
  for (int j = 0; j < 16; ++j) {
    code[j] = kLevels[byte_at(nibbles, j) & 15];
    code[j + 16] = kLevels[byte_at(nibbles, j) >> 4];
  }
}

void unpack_nl(const std::byte* packed, Block& block) {
  block.scale[0] = 1;
  unpack_levels(packed + 2, block.code);
}

void pack_nl(const Block& block, std::byte* packed) {
  for (int j = 0; j < 16; ++j) {
    packed[2 + j] =
        static_cast<std::byte>(nearest_index(block.code[j]) | nearest_index(block.code[j + 16]) << 4);
  }
}

void unpack_xs(const std::byte* packed, Block& block) {
  const int high = byte_at(packed, 2) | byte_at(packed, 3) << 8;
  for (int g = 0; g < 8; ++g) {
    const int low = byte_at(packed, 4 + g / 2) >> (g % 2 * 4) & 15;
    block.scale[g] = static_cast<int8_t>((low | (high >> (2 * g) & 3) << 4) - 32);
    unpack_levels(packed + 8 + g * 16, block.code + g * kGroup);
  }
}

// The level for each x under scale d: rounded to the integers first, which moves a tie by less than 1/250 of
// the range.
void assign_levels(const float* x, float d, int8_t* code) {
  int8_t rounded[kGroup];
  assign_codes(x, kGroup, d, 0, -128, 127, rounded);
  for (int i = 0; i < kGroup; ++i) code[i] = kLevels[nearest_index(rounded[i])];
}

// As in fit.cpp: a grid over the scale of the largest element, the least-squares scale for each candidate's
// codes, and a polish of the best.
void fit_nl(const float* x, Block& block) {
  block.scale[0] = 1;
  float extreme = 0;
  for (int i = 0; i < kGroup; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  float best = 0, best_gain = -1;
  auto consider = [&](float d) {
    assign_levels(x, d, block.code);
    float xq = 0, qq = 0;
    for (int i = 0; i < kGroup; ++i) {
      const float q = block.code[i];
      xq += x[i] * q;
      qq += q * q;
    }
    const float gain = xq / qq * xq;  // qq > 0: no level is zero
    if (gain > best_gain) {
      best_gain = gain;
      best = xq / qq;
    }
  };
  for (int step = -8; step <= 8 && extreme != 0; ++step) {
    const float stretch = 1 + 0.025f * static_cast<float>(step);
    consider(extreme / (-127 * stretch));
    consider(extreme / (113 * stretch));
  }
  for (int round = 0; round < 2 && best != 0; ++round) consider(best);
  block.d = round_to_f16(best);
  assign_levels(x, block.d, block.code);
}

}  // namespace

const BlockFormat kIQ4NL = {DType::iq4_nl, kGroup, 0, -1, 1, unpack_nl, pack_nl, fit_nl};
const BlockFormat kIQ4XS = {DType::iq4_xs, kGroup, 0, -1, 1, unpack_xs, nullptr, nullptr};

}  // namespace sluice::quant
