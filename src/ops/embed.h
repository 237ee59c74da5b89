#pragma once

#include "ops/kernel.h"
#include "tensor/matrix.h"

namespace sluice::ops {

/// y[t, :] = scale * W[ids[t], :] + P[positions[t] + position_offset, :]
struct Embed {
  static constexpr std::string_view kName = "embed";
  struct Desc {
    int64_t vocab = 0;
    int64_t hidden = 0;
    DType weight = DType::f32;
    float scale = 1;
    int64_t positions = 0;  // rows of the learned position table P (f32); 0: none
    int64_t position_offset = 0;
    template <typename Self, typename V>
    static void fields(Self& s, V&& v) {
      v("vocab", s.vocab), v("hidden", s.hidden), v("weight", s.weight), v("scale", s.scale);
      v("positions", s.positions), v("position_offset", s.position_offset);
    }
    bool operator==(const Desc&) const = default;
  };
  struct Args {
    /// (tokens), each in [0, vocab). Devices with memory of their own also meet -1, a sample that failed,
    /// before the host knows; its row of y may be anything that is in bounds to read.
    const int32_t* ids = nullptr;
    const int32_t* positions = nullptr;  // (tokens)
    const std::byte* weight =
        nullptr;  // (vocab, hidden) in the kernel's layout: the head's when they are tied
    const float* position_table = nullptr;  // (positions, hidden)
    Matrix y;                               // (tokens, hidden) f32
  };
  static Cost cost(const Desc& d, int64_t tokens) {
    const double elems = static_cast<double>(tokens * d.hidden);
    return {static_cast<double>(tokens * row_bytes(d.weight, d.hidden)) + 4 * elems, elems};
  }
};

}  // namespace sluice::ops
