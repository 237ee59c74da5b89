// y = x W^T for at most eight rows of x, at the speed of reading W. The rows of W are dealt out in boxes of at most 32,
// so that all blocks have as many, and a block takes all of k: blocks have no sums to exchange, so little is left to do
// once the last of W is there. The warps of a block take slices of k in turn, each from a ring of its own that the copy
// engine fills some rounds ahead, and add up in the end. An output's sum has one order, whatever the other rows.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/mma.cuh"
#include "cuda/kernels/tensor_map.cuh"
#include "cuda/kernels/wgmma.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kSlice = 64;    // elements of k: a row of W has 128 bytes of them
constexpr int kBoxRows = 32;  // of W, at most
constexpr int kSlots = 5, kSlotBytes = kBoxRows * kSlice * 2;  // of a warp's ring: room for the small kernels is left
constexpr int kHeld = 8;                                       // slices of x in a warp's registers
constexpr int kBlocks = 132;

struct Work {
  int64_t n = 0, k = 0;
  int rows = 0;      // of x
  int slices = 0;    // of k
  int box_rows = 0;  // of W, in a box
  int boxes = 0;     // all of them
  int each = 0;      // boxes of a block
  const std::byte* x = nullptr;
  int64_t x_stride = 0;
  const float* bias = nullptr;
  void* y = nullptr;
  int64_t y_stride = 0;
};

struct alignas(1024) Shared {
  std::byte slots[kWarps][kSlots][kSlotBytes];
  float sums[kWarps * kLinearFewRows * kBoxRows];  // (boxes, warps, rows, box rows)
  uint64_t full[kWarps][kSlots];

  __device__ float& sum(int rows, int box, int warp, int row, int column) {
    return sums[((box * kWarps + warp) * rows + row) * kBoxRows + (column ^ row % 4 * 8)];
  }
};

/// A warp's share of W: of each of the block's boxes every eighth slice.
class Ring {
 public:
  __device__ Ring(const Work& w, const CUtensorMap& weight, Shared& shared)
      : w_(w), weight_(weight), slots_(shared_address(shared.slots[threadIdx.x / 32])),
        full_(shared.full[threadIdx.x / 32]), box_(static_cast<int>(blockIdx.x) * w.each),
        end_(min(w.boxes, box_ + w.each)) {
    if (lane_ == 0) {
      for (uint64_t& full : full_) init_barrier(full, 1);
      publish_barriers();
    }
    __syncwarp();
    if (slice_ >= w.slices) box_ = end_;
#pragma unroll 1
    for (int slot = 0; slot < kSlots; ++slot) fetch(slot);
  }
  /// The address of what is next.
  __device__ uint32_t await_slot() {
    await(full_[slot_], parity_);
    return slots_ + slot_ * kSlotBytes;
  }
  /// All lanes have read it.
  __device__ void release() {
    __syncwarp();
    fetch(slot_);
    if (++slot_ == kSlots) {
      slot_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  __device__ void fetch(int slot) {
    if (box_ == end_) return;
    if (lane_ == 0) {
      arrive_expecting(full_[slot], w_.box_rows * kSlice * 2);
      copy_box(slots_ + slot * kSlotBytes, weight_, slice_ * kSlice, box_ * w_.box_rows, full_[slot], policy_);
    }
    slice_ += kWarps;
    if (slice_ < w_.slices) return;
    slice_ = static_cast<int>(threadIdx.x / 32);
    ++box_;
  }

  const Work& w_;
  const CUtensorMap& weight_;
  const uint32_t slots_;
  uint64_t (&full_)[kSlots];
  const int lane_ = static_cast<int>(threadIdx.x % 32);
  const uint64_t policy_ = cache_policy(Keep::once);
  int slot_ = 0, parity_ = 0;                                   // of what is read next
  int box_, end_, slice_ = static_cast<int>(threadIdx.x / 32);  // of what is fetched next
};

/// Some of a warp's slices of x as operands: lane (g, t) has elements 16 t to 16 t + 15 of row g of each.
struct Slices {
  uint4 pieces[kHeld][2];

  __device__ void load(const Work& w, int first) {
    const int lane = static_cast<int>(threadIdx.x % 32), row = lane / 4;
#pragma unroll
    for (int s = 0; s < kHeld; ++s) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t at = int64_t{first + s * kWarps} * kSlice + lane % 4 * 16 + i * 8;
        pieces[s][i] = row < w.rows && at < w.k
                           ? *reinterpret_cast<const uint4*>(w.x + (row * w.x_stride + at) * 2)
                           : uint4{};
      }
    }
  }
};

/// sums += x W^T for one slice. A row of W lies in shared memory as 16-byte pieces; lane (g, t) takes the same elements
/// of k that it has of x, whatever places the matrix instruction thinks they have.
template <typename T>
__device__ void multiply_slice(float (&sums)[kBoxRows / 8][4], const uint4 (&x)[2], uint32_t box) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  uint4 b[2][kBoxRows / 8];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t from = box + swizzled<8>(g, t * 2 + i);
#pragma unroll
    for (int j = 0; j < kBoxRows / 8; ++j)
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(b[i][j].x), "=r"(b[i][j].y), "=r"(b[i][j].z), "=r"(b[i][j].w)
                   : "r"(from + j * 1024)
                   : "memory");
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < kBoxRows / 8; ++j) mma<T>(sums[j], x[i].x, 0, x[i].y, 0, b[i][j].x, b[i][j].y);
#pragma unroll
    for (int j = 0; j < kBoxRows / 8; ++j) mma<T>(sums[j], x[i].z, 0, x[i].w, 0, b[i][j].z, b[i][j].w);
  }
}

template <typename T, typename Y>
__global__ void __launch_bounds__(kThreads, 1)
    few_kernel(const __grid_constant__ CUtensorMap weight, const __grid_constant__ Work w) {
  extern __shared__ __align__(1024) std::byte raw[];
  Shared& shared = *reinterpret_cast<Shared*>(raw);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  allow_next();
  Ring ring(w, weight, shared);
  await_previous();
  const int first_box = static_cast<int>(blockIdx.x) * w.each, end_box = min(w.boxes, first_box + w.each);
  const int room = kLinearFewRows / w.rows;  // boxes whose sums are kept
  Slices held;
  for (int begin = first_box; begin < end_box; begin += room) {
    const int boxes = min(room, end_box - begin);
    for (int box = 0; box < boxes; ++box) {
      float sums[kBoxRows / 8][4] = {};
      for (int first = warp; first < w.slices; first += kHeld * kWarps) {
        if (begin + box == first_box || w.slices > kHeld * kWarps) held.load(w, first);
#pragma unroll
        for (int s = 0; s < kHeld; ++s) {
          if (first + s * kWarps >= w.slices) break;
          multiply_slice<T>(sums, held.pieces[s], ring.await_slot());
          ring.release();
        }
      }
      if (box == 0 && begin > first_box) __syncthreads();  // the sums before are read
      if (lane / 4 < w.rows) {
#pragma unroll
        for (int j = 0; j < kBoxRows / 8; ++j)
          *reinterpret_cast<float2*>(&shared.sum(w.rows, box, warp, lane / 4, j * 8 + lane % 4 * 2)) = {sums[j][0],
                                                                                                       sums[j][1]};
      }
    }
    __syncthreads();
    for (int i = warp; i < boxes * w.rows; i += kWarps) {
      const int row = i % w.rows, box = i / w.rows;
      const int64_t n = int64_t{begin + box} * w.box_rows + lane;
      if (lane >= w.box_rows || n >= w.n) continue;
      float y = w.bias == nullptr ? 0.0f : w.bias[n];
#pragma unroll
      for (int p = 0; p < kWarps; ++p) y += shared.sum(w.rows, box, p, row, lane);
      static_cast<Y*>(w.y)[row * w.y_stride + n] = from_float<Y>(y);
    }
  }
}

/// Boxes so large that copies are few, unless smaller ones give the block with most of them less to do.
void deal(Work& w) {
  for (int rows = kBoxRows; rows >= 8; rows -= 8) {
    const int boxes = static_cast<int>(blocks_for(w.n, rows)), each = static_cast<int>(blocks_for(boxes, kBlocks));
    if (w.each != 0 && each * rows * 100 >= w.each * w.box_rows * 97) continue;
    w.box_rows = rows;
    w.boxes = boxes;
    w.each = each;
  }
}

template <typename T, typename Y>
void run(Queue queue, const LinearCall& c) {
  Work w;
  w.n = c.n;
  w.k = c.k;
  w.rows = static_cast<int>(c.x.rows);
  w.slices = static_cast<int>(blocks_for(c.k, kSlice));
  deal(w);
  w.x = static_cast<const std::byte*>(c.x.data);
  w.x_stride = c.x.stride;
  w.bias = c.bias;
  w.y = c.y.data;
  w.y_stride = c.y.stride;
  const auto kernel = few_kernel<T, Y>;
  launch(kernel, {blocks_for(w.boxes, w.each), kThreads, sizeof(Shared)}, queue,
         tensor_map(c.weight, c.type, {c.n, c.k, c.k}, w.box_rows, kSlice, true), w);
}

}  // namespace

void linear_few(Queue queue, const LinearCall& c) {
  const bool is_bf16 = c.type == DType::bf16;
  if (c.y.dtype == DType::f32) {
    is_bf16 ? run<__nv_bfloat16, float>(queue, c) : run<__half, float>(queue, c);
  } else {
    is_bf16 ? run<__nv_bfloat16, __nv_bfloat16>(queue, c) : run<__half, __half>(queue, c);
  }
}

}  // namespace sluice::cuda
