// The launches of the CUDA backend: plain values in, work on a queue. Shapes are as in the contracts of
// src/ops; pointers are to device memory. Rows of all matrices are f32 unless a call says otherwise.
#pragma once

#include <optional>

#include "cuda/kernels/runtime.h"
#include "ops/batch.h"
#include "ops/kinds.h"
#include "tensor/matrix.h"

namespace sluice::ops {
struct Bias;
struct Choice;
struct Logprobs;
}  // namespace sluice::ops

namespace sluice::cuda {

// ---- rows (rows.cu). `y` may be f32, f16 or bf16.

struct EmbedCall {
  const int32_t* ids = nullptr;
  const int32_t* positions = nullptr;
  const void* weight = nullptr;
  DType type = DType::f32;
  float scale = 1;
  const float* position_table = nullptr;  // nullptr: none
  int64_t position_offset = 0;
  Matrix y;
};
void embed(Queue queue, const EmbedCall& call);

struct RopeTableCall {
  const int32_t* positions = nullptr;
  const int32_t* variants = nullptr;  // nullptr: one row of frequencies
  const float* frequencies = nullptr;
  int64_t count = 0;
  float factor = 1;
  Matrix y;
};
void rope_table(Queue queue, const RopeTableCall& call);

struct AddNormCall {
  int64_t dim = 0;
  bool has_branch = false, has_output = false;
  ops::NormKind branch_norm = ops::NormKind::none, output_norm = ops::NormKind::none;
  float multiplier = 1, eps = 0;
  Matrix h, branch, y;
  const float *branch_weight = nullptr, *branch_bias = nullptr, *output_weight = nullptr,
              *output_bias = nullptr;
};
void add_norm(Queue queue, const AddNormCall& call);

struct ActivationCall {
  ops::ActivationKind kind = ops::ActivationKind::silu;
  bool gated = true;
  int64_t dim = 0;
  Matrix x, y;
};
void activation(Queue queue, const ActivationCall& call);

void gather_rows(Queue queue, const Matrix& x, const int32_t* rows, const Matrix& y);
void scale_softcap(Queue queue, const Matrix& x, float scale, float cap);

// ---- the choice of tokens (sample.cu)

constexpr int64_t kMostSampleDim = 8 * (54 << 10);
struct SampleCall {
  Matrix x;
  int64_t first_row = 0, limit = 0;  // limit is at most kMostSampleDim
  const ops::Choice* choices = nullptr;
  int64_t count = 0;
  int32_t* out = nullptr;
  uint32_t* seen = nullptr;
  const ops::Bias* biases = nullptr;
  ops::Logprobs* logprobs = nullptr;
};
void sample(Queue queue, const SampleCall& call);

// ---- keys and values (rope_kv.cu, attention_*.cu). A page of keys is (kv_heads, page_tokens, d_qk), of
// values (kv_heads, page_tokens, d_v).

struct KvShape {
  int64_t heads = 0, kv_heads = 0, d_qk = 0, d_v = 0, page_tokens = 0;
  DType type = DType::f16;
};

struct RopeKvCall {
  KvShape shape;
  ops::RopeStyle rope = ops::RopeStyle::none;
  int64_t rope_dims = 0;
  ops::QkNormScope norm = ops::QkNormScope::none;
  ops::NormKind norm_kind = ops::NormKind::rms;
  bool norm_after_rope = false;
  float eps = 0;
  Matrix qkv, table;
  const float *q_norm = nullptr, *k_norm = nullptr;
  ops::KvCache cache;
  ops::DeviceSequences sequences;
};
void rope_kv(Queue queue, const RopeKvCall& call);

struct AttentionCall {
  KvShape shape;
  float scale = 1, softcap = 0;
  int64_t window = 0;
  bool rounded = false;                             // q is rounded to the type of the keys
  const float *sinks = nullptr, *slopes = nullptr;  // nullptr: none
  Matrix q, out;                                    // out may be f32, f16 or bf16
  ops::KvCache cache;
  ops::DeviceSequences sequences;
};
/// In fp32, each query by itself.
void attention_exact(Queue queue, const AttentionCall& call);

/// What the fast ones take: 16-bit keys and values, equal head sizes of 64, 80, 96, 128 or 256, at most 16 heads to a
/// KV head, pages of 16 tokens or a larger power of two. They always round queries and weights to the type of the keys;
/// sums are in fp32. Rows of q are 16-byte aligned.
bool attention_tiles_fit(const KvShape& shape);
/// The rows of sequences that have one row; `sequences` may be fewer than there are rows.
void attention_decode(Queue queue, const AttentionCall& call, int64_t sequences);
/// The rows of the others, of which there are at most `most_rows`.
void attention_prefill(Queue queue, const AttentionCall& call, int64_t sequences, int64_t most_rows);
/// Rows of all sequences alike, batch invariant. `counters`: kCounters zeros, which are zeros again when the launch ends.
uint64_t attention_segments_workspace(const KvShape& shape, int64_t most_rows, int64_t multiprocessors);
void attention_segments(Queue queue, const AttentionCall& call, int64_t sequences, int64_t most_rows,
                        std::byte* workspace, uint32_t* counters);

// ---- products (linear_*.cu): y = x W^T + bias

struct LinearCall {
  int64_t n = 0, k = 0;
  DType type = DType::f32;  // of the weight
  Matrix x;                 // f32, or of the weight's type
  const void* weight = nullptr;
  const float* bias = nullptr;
  Matrix y;
};
/// In fp32. With `rounded`, x is rounded to the weight's type first.
void linear_exact(Queue queue, const LinearCall& call, bool rounded);
void linear_exact_tiles(Queue queue, const LinearCall& call, bool rounded);

/// By wgmma and the tensor memory accelerator; for any number of rows. x in the weight's 16-bit type, k a multiple of 8,
/// rows 16-byte aligned; y in f32 or that type. The order of an output's sum depends on n, k and `for_prompts` alone:
/// that cuts k into fewer parts, which costs some per cent with few rows and saves as many with thousands. `counters`:
/// kCounters zeros, which are zeros again when the launch ends.
constexpr int64_t kCounters = 4096;
uint64_t linear_wgmma_workspace(int64_t n, int64_t k, int64_t most_rows);
void linear_wgmma(Queue queue, const LinearCall& call, bool for_prompts, std::byte* workspace, uint32_t* counters);
/// The same for at most kLinearFewRows rows of x, each in one order.
constexpr int64_t kLinearFewRows = 8;
void linear_few(Queue queue, const LinearCall& call);
/// For many rows of x: what linear_wgmma makes where it sums k in one part, bit for bit. With a gate y is f32 or of the
/// weight's type and has n / 2 columns.
bool linear_large_fits(const LinearCall& call);
bool linear_large_fits(ops::ActivationKind gate, int64_t n);
void linear_large(Queue queue, const LinearCall& call, std::optional<ops::ActivationKind> gate = {});
/// Whether linear_wgmma sums k in one part.
bool linear_wgmma_sums_at_once(int64_t n, int64_t k, bool for_prompts);
/// cuBLASLt, from the library of that name on this machine; false where there is none.
constexpr uint64_t kBlasWorkspace = uint64_t{32} << 20;
bool linear_blas(Queue queue, const LinearCall& call, std::byte* workspace);

/// x (f32) rounded to `type`, rows behind one another at `out`.
void round_rows(Queue queue, const Matrix& x, DType type, void* out);

// ---- mixture of experts (moe.cu)

struct RouteCall {
  int64_t experts = 0, k = 0;
  bool softmax = true, score_first = true, renormalise = false;
  float scale = 1;
  const float* selection_bias = nullptr;
  Matrix logits, chosen, weights;  // f32, i32, f32
};
void route(Queue queue, const RouteCall& call);

struct MoeCall {
  int64_t experts = 0, k = 0, hidden = 0, width = 0;
  ops::ActivationKind activation = ops::ActivationKind::silu;
  bool gated = true, rounded = false;
  DType up_type = DType::f32, down_type = DType::f32;
  Matrix x, chosen, weights, y;
  const void *up = nullptr, *down = nullptr;
};
uint64_t moe_workspace(const MoeCall& call, int64_t max_rows);
void moe_mlp(Queue queue, const MoeCall& call, std::byte* workspace);

// ---- the device's limits (limits.cu)

struct Limits {
  double read_bytes_per_second = 0;  // from memory
  double f32_per_second = 0;         // fused multiply-adds, two operations each
  double bf16_per_second = 0;        // a large product, two operations a multiply-add
};
/// In `bytes` of memory, at least kLimitsMemory; takes a fraction of a second.
constexpr size_t kLimitsMemory = size_t{2} << 30;
Limits measure_limits(Queue queue, std::byte* memory, size_t bytes, int multiprocessors, uint32_t* counters);

}  // namespace sluice::cuda
