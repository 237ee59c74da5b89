// Tile registers in plain code, for tests of the kernels on machines without them: the same results, bit by
// bit, but for denormal numbers, which AMX takes for zero.
#pragma once

#include <cmath>
#include <cstring>

#include "cpu/simd/tiles.h"
#include "tensor/half.h"

namespace sluice::cpu {

class EmulatedTiles {
 public:
  static void configure(const TileConfig& config) { state() = State{config, {}}; }
  static void release() { state() = State{}; }
  template <int T>
  static void zero() {
    std::memset(state().tile[T], 0, kTileBytes);
  }
  template <int T>
  static void load(const void* from, int64_t stride) {
    zero<T>();
    for (int64_t r = 0; r < state().config.rows[T]; ++r)
      std::memcpy(state().tile[T][r], static_cast<const std::byte*>(from) + r * stride,
                  state().config.row_bytes[T]);
  }
  template <int T>
  static void store(void* to, int64_t stride) {
    for (int64_t r = 0; r < state().config.rows[T]; ++r)
      std::memcpy(static_cast<std::byte*>(to) + r * stride, state().tile[T][r], state().config.row_bytes[T]);
  }
  template <int C, int A, int B>
  static void dot_int8() {
    for_each_output<C>([](int m, int n) {
      uint32_t sum = word<uint32_t>(C, m, n);
      for (int k = 0; k < state().config.rows[B]; ++k) {
        for (int j = 0; j < 4; ++j)
          sum += static_cast<uint32_t>(int8_at(A, m, 4 * k + j) * int8_at(B, k, 4 * n + j));
      }
      set_word(C, m, n, sum);
    });
  }
  template <int C, int A, int B>
  static void dot_bf16() {
    for_each_output<C>([](int m, int n) {
      float sum[2] = {0, 0};
      for (int k = 0; k < state().config.rows[B]; ++k) {
        for (int j = 0; j < 2; ++j)
          sum[j] = std::fma(bf16_at(A, m, 2 * k + j), bf16_at(B, k, 2 * n + j), sum[j]);
      }
      set_word(C, m, n, word<float>(C, m, n) + (sum[0] + sum[1]));
    });
  }

 private:
  struct State {
    TileConfig config{0};
    alignas(64) std::byte tile[8][kTileEdge][64] = {};
  };
  static State& state() {
    static thread_local State instance;
    return instance;
  }
  template <int C, typename F>
  static void for_each_output(const F& f) {
    for (int m = 0; m < state().config.rows[C]; ++m) {
      for (int n = 0; n < state().config.row_bytes[C] / 4; ++n) f(m, n);
    }
  }
  template <typename T>
  static T word(int tile, int row, int index) {
    T value;
    std::memcpy(&value, state().tile[tile][row] + index * sizeof(T), sizeof(T));
    return value;
  }
  template <typename T>
  static void set_word(int tile, int row, int index, T value) {
    std::memcpy(state().tile[tile][row] + index * sizeof(T), &value, sizeof(T));
  }
  static int int8_at(int tile, int row, int index) { return word<int8_t>(tile, row, index); }
  static float bf16_at(int tile, int row, int index) { return bf16_to_f32(word<uint16_t>(tile, row, index)); }
};

}  // namespace sluice::cpu
