// What the warps of a block of prefill attention share: the work they are at, the order in which blocks take work, and
// shared memory.
#pragma once

#include "cuda/kernels/kv_page.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda::prefill {

constexpr int kGroups = 2;  // warpgroups that multiply
constexpr int kGroupRows = 64;
constexpr int kRows = kGroups * kGroupRows;  // of one piece of work
constexpr int kKeys = 128;                   // of one round
constexpr float kLog2e = 1.4426950408889634f;

/// Rows of one head of one sequence, and the rounds of keys that they see.
struct Work {
  int first_row, rows;  // in the batch; no rows: all work is done
  int first_position, last_position;  // of the first row; the last of the sequence that has a key
  int head, kv_head, table;
  int begin, end;  // rounds
};

/// A ring of places that copies fill and that are free again once all who read them have said so.
template <int kPlaces>
struct Gates {
  uint64_t full[kPlaces], free[kPlaces];
  __device__ void init(int readers) {
    for (int i = 0; i < kPlaces; ++i) {
      init_barrier(full[i], 1);
      init_barrier(free[i], readers);
    }
  }
};
template <int kPlaces>
struct Turn {
  int place = 0, parity = 0;
  __device__ void next() {
    place = place + 1 == kPlaces ? 0 : place + 1;
    parity ^= place == 0 ? 1 : 0;
  }
};

/// Queries come to the warpgroups through the same rings as keys (the first group's) and values (the second's): 64 rows
/// of f32 take as much room as 128 of 16 bits.
template <int D>
struct Shared {
  static constexpr int kStages = 3 * 128 / D, kWorks = 2;
  using Round = uint16_t[D / 64][kKeys][64];
  using Ring = Round[kStages];
  Ring keys, values;
  uint16_t queries[kGroups][D / 64][kGroupRows][64];
  Gates<kStages> keys_gates, values_gates;
  Gates<kWorks> work_gates;
  Work work[kWorks];
};

/// The next work that was announced to the block, for each warp that takes part in it.
template <int D>
__device__ inline Work receive_work(Shared<D>& shared, Turn<Shared<D>::kWorks>& turn) {
  await(shared.work_gates.full[turn.place], turn.parity);
  const Work work = shared.work[turn.place];
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(shared.work_gates.free[turn.place]);
  turn.next();
  return work;
}
constexpr int kWorkReaders = kGroups * 4 + 2;  // warps

// ---- the order of work

/// Tiles of a sequence whose last key is in round `round` or a later one, as if the last tile were whole.
__device__ inline int tiles_from(const ops::SequenceRows& s, int round) {
  const int tiles = s.rows < 2 ? 0 : (s.rows + kRows - 1) / kRows;
  return max(0, tiles - max(0, round * kKeys - s.first_position) / kRows);
}

__device__ inline int all_tiles_from(const AttentionCall& c, int sequences, int round) {
  int tiles = 0;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x % 32); i < sequences; i += 32)
    tiles += tiles_from(c.sequences.sequences[i], round);
  return __reduce_add_sync(0xffffffffu, tiles);
}

/// A round that no tile reaches.
__device__ inline int rounds_of_all(const AttentionCall& c, int sequences) {
  int rounds = 0;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x % 32); i < sequences; i += 32) {
    const ops::SequenceRows s = c.sequences.sequences[i];
    rounds = max(rounds, (s.first_position + s.rows + kRows) / kKeys + 1);
  }
  return __reduce_max_sync(0xffffffffu, rounds);
}

/// The `rank`-th piece of work, by a warp. Heads of a tile follow one another: those of a KV head share its keys.
__device__ inline Work find_work(const AttentionCall& c, int sequences, int rounds, int rank) {
  const int heads = static_cast<int>(c.shape.heads), lane = static_cast<int>(threadIdx.x % 32);
  Work work{};
  int left = rank / heads;
  if (left >= all_tiles_from(c, sequences, 0)) return work;
  int low = 0, high = rounds;  // more than `left` tiles reach round `low`, not so `high`
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (all_tiles_from(c, sequences, middle) > left ? low : high) = middle;
  }
  left -= all_tiles_from(c, sequences, high);  // of those that end in round `low`, one of a sequence at most
  for (int first = 0; first < sequences; first += 32) {
    ops::SequenceRows s{};
    if (first + lane < sequences) s = c.sequences.sequences[first + lane];
    const uint32_t those = __ballot_sync(0xffffffffu, tiles_from(s, low) > tiles_from(s, high));
    if (left >= __popc(those)) {
      left -= __popc(those);
      continue;
    }
    s = c.sequences.sequences[first + static_cast<int>(__fns(those, 0, left + 1))];
    const int skipped = max(0, low * kKeys - s.first_position) / kRows * kRows;
    work.first_row = s.first_row + skipped;
    work.rows = min(kRows, s.rows - skipped);
    work.first_position = s.first_position + skipped;
    work.last_position = s.first_position + s.rows - 1;
    work.head = rank % heads;
    work.kv_head = work.head / (heads / static_cast<int>(c.shape.kv_heads));
    work.table = s.table;
    work.begin = c.window > 0 ? max(0, work.first_position - static_cast<int>(c.window) + 1) / kKeys : 0;
    work.end = (work.first_position + work.rows - 1) / kKeys + 1;
    return work;
  }
  return work;
}

/// Finds all work of this block and announces it.
template <int D>
__device__ inline void announce_work(const AttentionCall& c, Shared<D>& shared, int sequences) {
  const int rounds = rounds_of_all(c, sequences), grid = static_cast<int>(gridDim.x), at = static_cast<int>(blockIdx.x);
  Turn<Shared<D>::kWorks> turn;
  int rows = 1;
  for (int taken = 0; rows > 0; ++taken) {
    // There and back again: who had the longest of one series has the shortest of the next.
    const Work work = find_work(c, sequences, rounds, taken * grid + (taken % 2 == 0 ? at : grid - 1 - at));
    rows = work.rows;
    await(shared.work_gates.free[turn.place], 1 ^ turn.parity);
    if (threadIdx.x % 32 == 0) {
      shared.work[turn.place] = work;
      arrive(shared.work_gates.full[turn.place]);
    }
    __syncwarp();
    turn.next();
  }
}

}  // namespace sluice::cuda::prefill
