// What the warps of a block of attention by wgmma share: the work they are at, the order in which blocks take work, and
// shared memory.
#pragma once

#include "cuda/kernels/kv_page.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda::prefill {

constexpr int kGroups = 2;  // warpgroups that multiply
constexpr int kGroupRows = 64;
constexpr int kRows = kGroups * kGroupRows;  // of one piece of work
constexpr int kKeys = 128;                   // of one round of work
constexpr float kLog2e = 1.4426950408889634f;

/// Rows of one head of one sequence, and the rounds of keys that they see. By segments also one row of a sequence: then
/// the heads of a KV head are what the matrix instruction has for rows.
struct Work {
  int first_row, rows;  // in the batch; no rows: all work is done
  int first_position, last_position;  // of the first row; the last of the sequence that has a key
  int head, kv_head, table;
  int begin, end;  // rounds
  bool single;
  int slot, segments;  // of a single row: which of them it is, and how many segments it has if other blocks share it
};

/// Of the keys that a row sees, at most kMostSegments segments, each of the same rounds: at least two, and as many as
/// follow from its position alone.
constexpr int kMostSegments = 16;
__device__ inline int segment_rounds(const AttentionCall& c, int position) {
  const int seen = c.window > 0 ? min(position + 1, static_cast<int>(c.window)) : position + 1;
  int rounds = 2;
  while (rounds * kKeys * (kMostSegments - 1) < seen) rounds *= 2;
  return rounds;
}

/// Where blocks that share a single row leave the sums of its segments: for each slot, segment and head of a KV head.
struct Segments {
  float* sums = nullptr;    // (.., D) of weighted values; nullptr: no row is shared out
  float* totals = nullptr;  // (.., 4) of weights, a part for each lane that has the head
  float* tops = nullptr;    // the largest score
  uint32_t* arrived = nullptr;  // (slots): segments that are there; 0 between launches
  float4* folded = nullptr;     // (blocks) of Folded::Sums, where shared memory has no room for them
};

/// Sums of the segments so far, a column for each thread; heads of more than 128 dimensions have them in memory.
template <int D>
using FoldedSums = float4[kGroups][D / 8][128];
template <int D, bool kShared>
struct Folded {};
template <int D>
struct Folded<D, true> {
  FoldedSums<D> folded;
};

/// Queries come to the warpgroups through the same rings as keys (the first group's) and values (the second's): 64 rows
/// of f32 take as much room as 128 of 16 bits. Heads of more than 128 dimensions take keys by halves of a round, and
/// their queries are read where they are used.
template <int D, bool kSegmented>
struct Shared : Folded<D, kSegmented && D <= 128> {
  static constexpr bool kLarge = D > 128;
  static constexpr int kTiles = (D + 63) / 64;  // of 64 dimensions; the copy engine fills the last with zeros
  static constexpr int kSteps = kLarge ? 2 : 1, kKeys = prefill::kKeys / kSteps;  // of a round; of a step
  static constexpr int kStages = kLarge ? 2 : (kSegmented ? 2 : 3) * 2 / kTiles, kWorks = 2;
  using Step = uint16_t[kTiles][kKeys][64];
  using Ring = Step[kStages];
  Ring keys, values;
  uint16_t queries[kGroups][kTiles][kGroupRows][64];
  Gates<kStages> keys_gates, values_gates;
  Gates<kWorks> work_gates;
  Work work[kWorks];
  bool last;  // a single row's other segments are all there
};

/// The next work that was announced to the block, for each warp that takes part in it.
template <typename Block>
__device__ inline Work receive_work(Block& shared, Turn& turn) {
  await(shared.work_gates.full[turn.place], turn.parity);
  const Work work = shared.work[turn.place];
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(shared.work_gates.free[turn.place]);
  turn.next(Block::kWorks);
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

/// The `rank`-th piece of the work on tiles, by a warp. Heads of a tile follow one another: those of a KV head share its
/// keys.
__device__ inline Work find_tile(const AttentionCall& c, int sequences, int rounds, int rank) {
  const int heads = static_cast<int>(c.shape.heads), lane = static_cast<int>(threadIdx.x % 32);
  Work work{};
  int left = rank / heads;
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

/// The rounds of keys that the row of a sequence sees, and how they fall into segments, the newest first.
struct SingleRow {
  int rounds = 0, end = 0;  // the newest is round end - 1
  int segments = 0, newest = 0, others = 0;  // rounds of the newest segment and of the others
  __device__ SingleRow(const AttentionCall& c, const ops::SequenceRows& s, bool shared_out) {
    if (s.rows != 1 || s.table < 0) return;
    const int begin = c.window > 0 ? max(0, s.first_position - static_cast<int>(c.window) + 1) / kKeys : 0;
    end = s.first_position / kKeys + 1;
    rounds = newest = others = end - begin;
    segments = 1;
    if (!shared_out) return;
    others = segment_rounds(c, s.first_position);
    newest = min(rounds, end - (end - 1) / others * others);
    segments = (end - 1) / others - begin / others + 1;
  }
  __device__ int rounds_before(int segment) const {
    return segment == 0 ? 0 : min(rounds, newest + (segment - 1) * others);
  }
  /// The first segment whose middle has so many rounds before it.
  __device__ int segment_at(int before) const {
    if (before >= rounds) return segments;
    return before <= newest / 2 ? 0 : min(segments, (before - newest + others / 2 - 1) / others + 1);
  }
};

__device__ inline int rounds_of_singles(const AttentionCall& c, int sequences) {
  int rounds = 0;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x % 32); i < sequences; i += 32)
    rounds += SingleRow(c, c.sequences.sequences[i], false).rounds;
  return __reduce_add_sync(0xffffffffu, rounds) * static_cast<int>(c.shape.kv_heads);
}

/// The work on single rows is a list of rounds: sequence after sequence, in each one KV head after the other. Finds, by a
/// warp, the segments of one KV head of one sequence whose middles lie in [at, end); `at` becomes where the next may be.
__device__ inline Work find_single(const AttentionCall& c, int sequences, bool shared_out, int& at, int end) {
  const int kv_heads = static_cast<int>(c.shape.kv_heads), lane = static_cast<int>(threadIdx.x % 32);
  Work work{};
  int before = 0;  // rounds of the sequences before `first`
  for (int first = 0; first < sequences && at < end;) {
    const int mine = first + lane < sequences ? SingleRow(c, c.sequences.sequences[first + lane], false).rounds : 0;
    int through = mine * kv_heads;  // in the end, of this lane's sequence and of all from `first` to it
    for (int i = 1; i < 32; i *= 2) {
      const int others = __shfl_up_sync(0xffffffffu, through, i);
      through += lane >= i ? others : 0;
    }
    const int found = __popc(__ballot_sync(0xffffffffu, before + through <= at));
    if (found == 32) {
      before += __shfl_sync(0xffffffffu, through, 31);
      first += 32;
      continue;
    }
    const ops::SequenceRows s = c.sequences.sequences[first + found];
    const SingleRow row(c, s, shared_out);
    const int from = before + __shfl_sync(0xffffffffu, through - mine * kv_heads, found);
    work.kv_head = (at - from) / row.rounds;
    const int begin = from + work.kv_head * row.rounds;
    const int segment = row.segment_at(at - begin), last = row.segment_at(end - begin);
    at = begin + row.rounds;
    if (segment >= last) continue;
    work.single = true;
    work.first_row = s.first_row;
    work.rows = static_cast<int>(c.shape.heads) / kv_heads;
    work.first_position = work.last_position = s.first_position;
    work.head = work.kv_head * work.rows;
    work.table = s.table;
    work.begin = row.end - row.rounds_before(last);
    work.end = row.end - row.rounds_before(segment);
    work.slot = (first + found) * kv_heads + work.kv_head;
    work.segments = last - segment < row.segments ? row.segments : 0;
    return work;
  }
  return work;
}

/// Finds all work of this block and announces it.
template <int D, bool kSegmented>
__device__ inline void announce_work(const AttentionCall& c, Shared<D, kSegmented>& shared, int sequences,
                                     bool shared_out) {
  const int grid = static_cast<int>(gridDim.x), at = static_cast<int>(blockIdx.x);
  const int tiles = all_tiles_from(c, sequences, 0) * static_cast<int>(c.shape.heads);
  const int rounds = tiles > 0 ? rounds_of_all(c, sequences) : 0;
  // Single rows: an equal stretch of all rounds for each block, whatever rows they belong to.
  const int64_t singles = kSegmented ? rounds_of_singles(c, sequences) : 0;
  int single = static_cast<int>(singles * at / grid);
  const int end = static_cast<int>(singles * (at + 1) / grid);
  using Block = Shared<D, kSegmented>;
  Turn turn;
  int rows = 1;
  for (int taken = 0; rows > 0; ++taken) {
    // There and back again: who had the longest of one series has the shortest of the next.
    const int rank = taken * grid + (taken % 2 == 0 ? at : grid - 1 - at);
    Work work{};
    if (rank < tiles) {
      work = find_tile(c, sequences, rounds, rank);
    } else if (kSegmented) {
      work = find_single(c, sequences, shared_out, single, end);
    }
    rows = work.rows;
    await(shared.work_gates.free[turn.place], 1 ^ turn.parity);
    if (threadIdx.x % 32 == 0) {
      shared.work[turn.place] = work;
      arrive(shared.work_gates.full[turn.place]);
    }
    __syncwarp();
    turn.next(Block::kWorks);
  }
}

}  // namespace sluice::cuda::prefill
