// Random problems of each op: a desc with inputs of the right shapes, for tests and benchmarks of any backend
// whose kernels read host memory. A problem also knows what error rounding may cause in each of its outputs.
#pragma once

#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace sluice::ops {

/// Owns aligned bytes; what kernels read and write.
class Bytes {
 public:
  explicit Bytes(size_t size = 0) : storage_(size + 64), size_(size) {}
  std::byte* data() { return storage_.data() + first(); }
  const std::byte* data() const { return storage_.data() + first(); }
  size_t size() const { return size_; }

 private:
  size_t first() const { return (64 - reinterpret_cast<uintptr_t>(storage_.data()) % 64) % 64; }

  std::vector<std::byte> storage_;
  size_t size_;
};

/// Random bytes of `rows` rows of a block or plain type: every code and every inner scale occurs, f16 scales
/// are such that values are of the order of 1 / sqrt(k). Of plain types the rows repeat after 2^24 values.
Bytes random_weight(DType dtype, int64_t rows, int64_t k, uint32_t seed);

std::vector<float> random_floats(int64_t count, uint32_t seed, float deviation = 1);

/// A weight in the source's layout and, on demand, in others.
class ProblemWeight {
 public:
  /// `copies` matrices (n, k) one after another.
  ProblemWeight(DType dtype, int64_t n, int64_t k, int64_t copies, uint32_t seed);
  const std::byte* in(const WeightLayout& layout);
  /// Of each row: the square root of the sum of (|scale * code| + |offset|)^2, what rounding errors scale
  /// with.
  const std::vector<double>& norms() const;

 private:
  DType dtype_;
  int64_t n_, k_, copies_;
  std::map<std::string_view, Bytes> packed_;
  mutable std::vector<double> norms_;  // when they were asked for
};

/// Where the rows of a batch stand.
struct ProblemSequence {
  int32_t rows = 1;
  int32_t first_position = 0;
};

/// KV pages of a batch, each sequence with pages of its own, in shuffled order.
class ProblemCache {
 public:
  ProblemCache(int64_t kv_heads, int64_t d_qk, int64_t d_v, DType kv, int64_t page_tokens,
               std::span<const ProblemSequence> sequences, uint32_t seed);
  KvCache cache() { return {keys_.data(), values_.data(), {tables_.data(), stride_}}; }
  std::span<const SequenceRows> sequences() const { return sequences_; }
  int64_t rows() const { return rows_; }
  int64_t tokens() const { return tokens_; }  // of all contexts
  size_t key_bytes() const { return keys_.size(); }
  size_t value_bytes() const { return values_.size(); }
  size_t table_bytes() const { return tables_.size() * sizeof(int32_t); }
  /// Fills all pages with numbers that stay where nothing is written.
  void clear();
  /// Fills pages of plain types with random numbers, whatever their layout.
  void fill(uint32_t seed);
  /// All that pages hold, as floats, in whatever order the backend keeps it: of types with scales the codes
  /// of a head, then its scales.
  std::vector<float> contents();
  /// How far each of them may be off when the values that were stored are off by `error`: a rounding to the
  /// page's type may go either way.
  std::vector<double> tolerances(double error);

 private:
  /// f(whether it is a scale, the element) for all that pages hold.
  template <typename F>
  void for_each_element(const F& f);

  DType kv_;
  int64_t d_qk_, d_v_, page_tokens_;
  int64_t stride_ = 0, rows_ = 0, tokens_ = 0;
  Bytes keys_, values_;
  std::vector<int32_t> tables_;
  std::vector<SequenceRows> sequences_;
};

/// Specialised below for each op. A problem has
///   Args args(const Kernel<Op>&)        inputs as new; weights in the kernel's layout
///   std::vector<float> outputs()        what the last run wrote
///   std::vector<double> tolerances()    one for each output
///   int64_t rows                        of the batch
template <typename Op>
struct Problem;

template <>
struct Problem<Linear> {
  Problem(const Linear::Desc& d, int64_t rows, uint32_t seed);
  Linear::Args args(const Kernel<Linear>& kernel);
  std::vector<float> outputs() { return y; }
  std::vector<double> tolerances() const;

  Linear::Desc desc;
  int64_t rows;
  std::vector<float> x, bias, y;
  ProblemWeight weight;
};

template <>
struct Problem<MoeMlp> {
  Problem(const MoeMlp::Desc& d, int64_t rows, uint32_t seed);
  MoeMlp::Args args(const Kernel<MoeMlp>& kernel);
  std::vector<float> outputs() { return y; }
  std::vector<double> tolerances() const;

  MoeMlp::Desc desc;
  int64_t rows;
  std::vector<float> x, weights, y;
  std::vector<int32_t> experts;
  ProblemWeight gate_up, down;
};

template <>
struct Problem<Embed> {
  Problem(const Embed::Desc& d, int64_t rows, uint32_t seed);
  Embed::Args args(const Kernel<Embed>& kernel);
  std::vector<float> outputs() { return y; }
  std::vector<double> tolerances() const { return std::vector<double>(y.size(), 0.0); }  // exact

  Embed::Desc desc;
  int64_t rows;
  std::vector<int32_t> ids, positions;
  std::vector<float> table, y;
  ProblemWeight weight;
};

template <>
struct Problem<AddNorm> {
  Problem(const AddNorm::Desc& d, int64_t rows, uint32_t seed);
  AddNorm::Args args(const Kernel<AddNorm>& kernel);
  std::vector<float> outputs();
  std::vector<double> tolerances() const;

  AddNorm::Desc desc;
  int64_t rows;
  std::vector<float> h_in, h, branch, y, branch_weight, branch_bias, output_weight, output_bias;
};

template <>
struct Problem<Activation> {
  Problem(const Activation::Desc& d, int64_t rows, uint32_t seed);
  Activation::Args args(const Kernel<Activation>& kernel);
  std::vector<float> outputs() { return y; }
  std::vector<double> tolerances() const;

  Activation::Desc desc;
  int64_t rows;
  std::vector<float> x, y;
};

template <>
struct Problem<ScaleSoftcap> {
  Problem(const ScaleSoftcap::Desc& d, int64_t rows, uint32_t seed);
  ScaleSoftcap::Args args(const Kernel<ScaleSoftcap>& kernel);
  std::vector<float> outputs() { return x; }
  std::vector<double> tolerances() const;

  ScaleSoftcap::Desc desc;
  int64_t rows;
  std::vector<float> x_in, x;
};

/// Rows and choices of every kind in turn, half of them with a past; a slot for each row. Where a choice
/// depends on sums, its `place` and its cut are in the middle of a token's share, so that no rounding moves
/// them to another: tokens, what was seen, ranks and ids are compared exactly.
template <>
struct Problem<Sample> {
  Problem(const Sample::Desc& d, int64_t rows, uint32_t seed);
  Sample::Args args(const Kernel<Sample>& kernel);
  std::vector<float> outputs() const;
  std::vector<double> tolerances() const;

  Sample::Desc desc;
  int64_t rows, limit;
  std::vector<float> x;
  std::vector<Choice> choices;
  std::vector<Seen> seen_in, seen;  // (slots, dim)
  std::vector<Bias> biases;         // (slots, kMostBiases)
  std::vector<int32_t> tokens;
  std::vector<Logprobs> logprobs;
};

template <>
struct Problem<RopeKv> {
  Problem(const RopeKv::Desc& d, std::span<const ProblemSequence> batch, uint32_t seed);
  RopeKv::Args args(const Kernel<RopeKv>& kernel);
  std::vector<float> outputs();
  std::vector<double> tolerances();  // after the reference has run

  RopeKv::Desc desc;
  ProblemCache cache;
  int64_t rows;
  std::vector<float> qkv_in, qkv, table, q_norm, k_norm;
};

/// Its cache must be filled before the first run, by the backend that is to be tried: the layout is private.
template <>
struct Problem<Attention> {
  Problem(const Attention::Desc& d, std::span<const ProblemSequence> batch, uint32_t seed);
  void fill_cache(const Kernel<RopeKv>& kernel, const Launch& launch);
  Attention::Args args(const Kernel<Attention>& kernel);
  std::vector<float> outputs() { return out; }
  std::vector<double> tolerances() const;

  Attention::Desc desc;
  ProblemCache cache;
  int64_t rows;
  std::vector<ProblemSequence> batch;
  uint32_t seed;
  std::vector<float> q, out, sinks, slopes;
};

}  // namespace sluice::ops
