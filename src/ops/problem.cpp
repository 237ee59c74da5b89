#include "ops/problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "quant/format.h"
#include "tensor/half.h"

namespace sluice::ops {
namespace {

constexpr double kEps = 0x1p-24;  // of fp32, to nearest

Matrix matrix(std::vector<float>& v, int64_t rows, int64_t cols) {
  return {v.data(), DType::f32, rows, cols, cols};
}

double norm_of(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
  return std::sqrt(sum);
}

/// Rounding of one stored element of a KV page, relative.
double kv_eps(DType kv) { return kv == DType::f32 ? kEps : kv == DType::f16 ? 0x1p-11 : 0x1p-8; }

}  // namespace

std::vector<float> random_floats(int64_t count, uint32_t seed, float deviation) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = normal(engine);
  return out;
}

Bytes random_weight(DType dtype, int64_t rows, int64_t k, uint32_t seed) {
  const auto bytes = static_cast<int64_t>(row_bytes(dtype, static_cast<uint64_t>(k)));
  Bytes out(static_cast<size_t>(rows * bytes));
  const float size = 1 / std::sqrt(static_cast<float>(k));
  const quant::BlockFormat* format = quant::block_format(dtype);
  if (format == nullptr) {
    const int64_t different = std::min(rows, std::max<int64_t>(1, (int64_t{1} << 24) / k));
    const std::vector<float> values = random_floats(different * k, seed, size);
    quant::quantize_row(dtype, values.data(), out.data(), different * k);
    for (int64_t row = different; row < rows; row += different)
      std::memcpy(out.data() + row * bytes, out.data(),
                  static_cast<size_t>(std::min(different, rows - row) * bytes));
    return out;
  }
  std::mt19937 engine(seed);
  for (size_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<std::byte>(engine() >> 8);
  const DTypeInfo& type = info(dtype);
  // Codes reach 8 to 128, inner scales 16 to 64.
  const float unit = size / (type.block_elems > 32                            ? 400.0f
                             : dtype == DType::q8_0 || dtype == DType::iq4_nl ? 70.0f
                                                                              : 8.0f);
  std::uniform_real_distribution<float> scale(0.25f * unit, unit);
  for (int64_t at = 0; at < rows * bytes; at += type.block_bytes) {
    const auto put = [&](int offset, float value) {
      const uint16_t bits = f32_to_f16(value);
      std::memcpy(out.data() + at + offset, &bits, 2);
    };
    put(format->d_offset, scale(engine));
    if (format->m_offset >= 0) put(format->m_offset, (engine() & 256) != 0 ? scale(engine) : -scale(engine));
  }
  return out;
}

ProblemWeight::ProblemWeight(DType dtype, int64_t n, int64_t k, int64_t copies, uint32_t seed)
    : dtype_(dtype), n_(n), k_(k), copies_(copies) {
  packed_.emplace(plain_layout().name, random_weight(dtype, n * copies, k, seed));
}

const std::vector<double>& ProblemWeight::norms() const {
  if (!norms_.empty()) return norms_;
  norms_.resize(static_cast<size_t>(n_ * copies_));
  const std::byte* rows = packed_.at(plain_layout().name).data();
  const uint64_t bytes = row_bytes(dtype_, static_cast<uint64_t>(k_));
  const quant::BlockFormat* format = quant::block_format(dtype_);
  std::vector<float> values(static_cast<size_t>(k_));
  quant::Block block;
  for (int64_t r = 0; r < n_ * copies_; ++r) {
    const std::byte* row = rows + static_cast<uint64_t>(r) * bytes;
    double sum = 0;
    if (format == nullptr) {
      quant::dequantize_row(dtype_, row, values.data(), k_);
      sum = std::pow(norm_of(values.data(), k_), 2);
    }
    for (int64_t i = 0; format != nullptr && i < k_;
         i += info(dtype_).block_elems, row += info(dtype_).block_bytes) {
      quant::unpack_block(dtype_, row, block);
      for (uint32_t e = 0; e < info(dtype_).block_elems; ++e) {
        const int64_t g = e / static_cast<uint32_t>(format->group);
        const double size =
            std::abs(block.d * block.scale[g] * block.code[e]) + std::abs(block.m * block.min[g]);
        sum += size * size;
      }
    }
    norms_[static_cast<size_t>(r)] = std::sqrt(sum);
  }
  return norms_;
}

const std::byte* ProblemWeight::in(const WeightLayout& layout) {
  const auto found = packed_.find(layout.name);
  if (found != packed_.end()) return found->second.data();
  const uint64_t each = layout.packed_bytes(dtype_, n_, k_),
                 bytes = row_bytes(dtype_, static_cast<uint64_t>(k_));
  Bytes packed(each * static_cast<uint64_t>(copies_));
  std::byte* source = packed_.at(plain_layout().name).data();
  for (int64_t c = 0; c < copies_; ++c)
    layout.pack(dtype_, n_, k_, 0, n_, source + static_cast<uint64_t>(c * n_) * bytes,
                packed.data() + static_cast<uint64_t>(c) * each);
  return packed_.emplace(layout.name, std::move(packed)).first->second.data();
}

ProblemCache::ProblemCache(int64_t kv_heads, int64_t d_qk, int64_t d_v, DType kv, int64_t page_tokens,
                           std::span<const ProblemSequence> sequences, uint32_t seed)
    : kv_(kv), d_qk_(d_qk), d_v_(d_v), page_tokens_(page_tokens) {
  int64_t pages = 0;
  for (const ProblemSequence& s : sequences) {
    const int64_t needed = ceil_div<int64_t>(s.first_position + s.rows, page_tokens);
    stride_ = std::max(stride_, needed);
    pages += needed;
    tokens_ += s.first_position + s.rows;
  }
  const auto heads = static_cast<uint64_t>(pages * kv_heads);
  keys_ = Bytes(heads * kv_head_bytes(kv, d_qk, page_tokens));
  values_ = Bytes(heads * kv_head_bytes(kv, d_v, page_tokens));
  std::vector<int32_t> order(static_cast<size_t>(pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  tables_.assign(static_cast<size_t>(stride_) * sequences.size(), -1);
  size_t next = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const ProblemSequence& s = sequences[i];
    sequences_.push_back({static_cast<int32_t>(rows_), s.rows, s.first_position, static_cast<int32_t>(i)});
    rows_ += s.rows;
    for (int64_t p = 0; p < ceil_div<int64_t>(s.first_position + s.rows, page_tokens); ++p)
      tables_[i * static_cast<size_t>(stride_) + static_cast<size_t>(p)] = order[next++];
  }
}

void ProblemCache::clear() {
  constexpr int kUnwritten = 0x40;  // in every type a number of the order of what is written
  for (Bytes* part : {&keys_, &values_}) std::memset(part->data(), kUnwritten, part->size());
}

void ProblemCache::fill(uint32_t seed) {
  clear();
  if (kv_ == DType::i8) return;  // scales are not where elements are
  for (Bytes* part : {&keys_, &values_}) {
    const int64_t row = int64_t{1} << 16, bytes = static_cast<int64_t>(row_bytes(kv_, row));
    const std::vector<float> values = random_floats(row, seed++);
    Bytes random(static_cast<size_t>(bytes));
    quant::quantize_row(kv_, values.data(), random.data(), row);
    for (size_t at = 0; at < part->size(); at += random.size())
      std::memcpy(part->data() + at, random.data(), std::min(random.size(), part->size() - at));
  }
}

template <typename F>
void ProblemCache::for_each_element(const F& f) {
  const auto part = [&](Bytes& bytes, int64_t d) {
    const int64_t elements = d * page_tokens_;
    std::vector<float> head(static_cast<size_t>(elements));
    for (size_t at = 0; at < bytes.size(); at += kv_head_bytes(kv_, d, page_tokens_)) {
      const std::byte* from = bytes.data() + at;
      if (kv_ == DType::i8) {
        for (int64_t i = 0; i < elements; ++i)
          head[static_cast<size_t>(i)] = static_cast<float>(reinterpret_cast<const int8_t*>(from)[i]);
      } else {
        quant::dequantize_row(kv_, from, head.data(), elements);
      }
      for (float v : head) f(false, v);
      for (int64_t t = 0; t < page_tokens_ && kv_scale_bytes(kv_) > 0; ++t) {
        float scale;
        std::memcpy(&scale, from + elements + t * 4, sizeof scale);
        f(true, scale);
      }
    }
  };
  part(keys_, d_qk_);
  part(values_, d_v_);
}

std::vector<float> ProblemCache::contents() {
  std::vector<float> out;
  for_each_element([&](bool, float v) { out.push_back(v); });
  return out;
}

std::vector<double> ProblemCache::tolerances(double error) {
  std::vector<double> out;
  for_each_element([&](bool is_scale, float v) {
    const double step = is_scale ? 0 : kv_ == DType::i8 ? 1 : 2 * kv_eps(kv_) * std::abs(v);
    out.push_back(step + error);
  });
  return out;
}

// ---- linear

Problem<Linear>::Problem(const Linear::Desc& d, int64_t m, uint32_t seed)
    : desc(d),
      rows(m),
      x(random_floats(m * d.k, seed)),
      bias(random_floats(d.bias ? d.n : 0, seed + 1)),
      y(static_cast<size_t>(m * d.outputs())),
      weight(d.weight, d.n, d.k, 1, seed + 2) {}

Linear::Args Problem<Linear>::args(const Kernel<Linear>& kernel) {
  std::fill(y.begin(), y.end(), NAN);
  return {matrix(x, rows, desc.k), weight.in(*kernel.layout), desc.bias ? bias.data() : nullptr,
          matrix(y, rows, desc.outputs())};
}

std::vector<double> Problem<Linear>::tolerances() const {
  std::vector<double> out;
  for (int64_t m = 0; m < rows; ++m) {
    const double norm = norm_of(x.data() + m * desc.k, desc.k);
    // Of a sum: |x| |w|, of which it is a part like 1 / sqrt(k), and the bias.
    const auto size = [&](int64_t n) {
      const double b = desc.bias ? std::abs(bias[static_cast<size_t>(n)]) : 0;
      return std::pair(norm * weight.norms()[static_cast<size_t>(n)], b);
    };
    for (int64_t n = 0; n < desc.outputs(); ++n) {
      const auto [product, b] = size(n);
      if (!desc.gate) {
        out.push_back(8 * kEps * (product + b));
        continue;
      }
      // Errors pass through the activation (slope below 1.2) and a factor.
      const auto [other, c] = size(desc.n / 2 + n);
      const double root = std::sqrt(static_cast<double>(desc.k));
      const double gate = 4 * product / root + b, factor = 4 * other / root + c;
      const double activation = 12 * kEps * gate * (1 + gate) * factor;
      out.push_back(8 * kEps * (1.2 * (product + b) * factor + (other + c) * gate) + activation);
    }
  }
  return out;
}

// ---- moe_mlp

Problem<MoeMlp>::Problem(const MoeMlp::Desc& d, int64_t m, uint32_t seed)
    : desc(d),
      rows(m),
      x(random_floats(m * d.hidden, seed)),
      weights(random_floats(m * d.k, seed + 1)),
      y(static_cast<size_t>(m * d.hidden)),
      gate_up(d.gate_up, d.gate_up_linear().n, d.hidden, d.experts, seed + 2),
      down(d.down, d.hidden, d.width, d.experts, seed + 3) {
  std::mt19937 engine(seed + 4);
  std::vector<int32_t> all(static_cast<size_t>(d.experts));
  std::iota(all.begin(), all.end(), 0);
  for (int64_t t = 0; t < m; ++t) {
    std::shuffle(all.begin(), all.end(), engine);
    experts.insert(experts.end(), all.begin(), all.begin() + d.k);
  }
  for (float& w : weights) w = std::abs(w);
}

MoeMlp::Args Problem<MoeMlp>::args(const Kernel<MoeMlp>& kernel) {
  std::fill(y.begin(), y.end(), NAN);
  return {matrix(x, rows, desc.hidden),  {experts.data(), DType::i32, rows, desc.k, desc.k},
          matrix(weights, rows, desc.k), gate_up.in(*kernel.layout),
          down.in(*kernel.layout),       matrix(y, rows, desc.hidden)};
}

std::vector<double> Problem<MoeMlp>::tolerances() const {
  // Errors of the first product pass through the activation (slope below 1.2) and, gated, a factor. With int8
  // and bf16 an intermediate value on the edge between two codes may fall to either side: one such step is
  // allowed for.
  std::vector<double> out;
  const int64_t inner = desc.gate_up_linear().n;
  const bool squared = desc.gated || desc.activation == ActivationKind::relu2;
  const double width = std::sqrt(static_cast<double>(desc.width));
  for (int64_t t = 0; t < rows; ++t) {
    const double norm = norm_of(x.data() + t * desc.hidden, desc.hidden);
    std::vector<double> rounding(static_cast<size_t>(desc.hidden)), step(rounding);
    for (int64_t j = 0; j < desc.k; ++j) {
      const int64_t e = experts[static_cast<size_t>(t * desc.k + j)];
      double product = 0;  // |x| |w|, of which inner values are a part like 1 / sqrt(hidden)
      for (int64_t i = 0; i < inner; ++i)
        product = std::max(product, norm * gate_up.norms()[static_cast<size_t>(e * inner + i)]);
      const double deviation = product / std::sqrt(static_cast<double>(desc.hidden)), largest = 4 * deviation;
      const double size = squared ? largest * largest : largest;
      const double error = 32 * kEps * product * (squared ? largest : 1) + 8 * kEps * size * width;
      const double code = 3 * (squared ? deviation * deviation : deviation) / 127;
      for (int64_t i = 0; i < desc.hidden; ++i) {
        const double scale = std::abs(weights[static_cast<size_t>(t * desc.k + j)]) *
                             down.norms()[static_cast<size_t>(e * desc.hidden + i)];
        rounding[static_cast<size_t>(i)] += scale * error;
        step[static_cast<size_t>(i)] = std::max(step[static_cast<size_t>(i)], scale * code / width);
      }
    }
    for (size_t i = 0; i < rounding.size(); ++i)
      out.push_back(rounding[i] + (desc.activations != Activations::f32 ? step[i] : 0));
  }
  return out;
}

// ---- embed

Problem<Embed>::Problem(const Embed::Desc& d, int64_t m, uint32_t seed)
    : desc(d),
      rows(m),
      table(random_floats(d.positions * d.hidden, seed)),
      y(static_cast<size_t>(m * d.hidden)),
      weight(d.weight, d.vocab, d.hidden, 1, seed + 1) {
  std::mt19937 engine(seed + 2);
  for (int64_t t = 0; t < m; ++t) {
    ids.push_back(static_cast<int32_t>(engine() % static_cast<uint32_t>(d.vocab)));
    const int64_t positions_left = std::max<int64_t>(1, d.positions - d.position_offset);
    positions.push_back(static_cast<int32_t>(engine() % static_cast<uint32_t>(positions_left)));
  }
}

Embed::Args Problem<Embed>::args(const Kernel<Embed>& kernel) {
  std::fill(y.begin(), y.end(), NAN);
  return {ids.data(), positions.data(), weight.in(*kernel.layout), table.data(),
          matrix(y, rows, desc.hidden)};
}

// ---- add_norm

Problem<AddNorm>::Problem(const AddNorm::Desc& d, int64_t m, uint32_t seed)
    : desc(d),
      rows(m),
      h_in(random_floats(m * d.dim, seed)),
      branch(random_floats(m * d.dim, seed + 1)),
      y(static_cast<size_t>(m * d.dim)),
      branch_weight(random_floats(d.dim, seed + 2)),
      branch_bias(random_floats(d.branch_norm == NormKind::layer ? d.dim : 0, seed + 3)),
      output_weight(random_floats(d.dim, seed + 4)),
      output_bias(random_floats(d.output_norm == NormKind::layer ? d.dim : 0, seed + 5)) {}

AddNorm::Args Problem<AddNorm>::args(const Kernel<AddNorm>&) {
  h = h_in;
  std::fill(y.begin(), y.end(), 0.0f);
  const auto or_null = [](std::vector<float>& v) { return v.empty() ? nullptr : v.data(); };
  return {matrix(h, rows, desc.dim), matrix(branch, rows, desc.dim),
          matrix(y, rows, desc.dim), desc.branch_norm == NormKind::none ? nullptr : or_null(branch_weight),
          or_null(branch_bias),      desc.output_norm == NormKind::none ? nullptr : or_null(output_weight),
          or_null(output_bias)};
}

std::vector<float> Problem<AddNorm>::outputs() {
  std::vector<float> out = h;
  out.insert(out.end(), y.begin(), y.end());
  return out;
}

std::vector<double> Problem<AddNorm>::tolerances() const {
  // Values are of the order of 1 before weights; the largest of a few thousand normal ones is below 6, its
  // norm's error a few roundings of it.
  const double unit = 32 * kEps * 6;
  std::vector<double> out(static_cast<size_t>(2 * rows * desc.dim));
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t column = i % static_cast<size_t>(desc.dim);
    const double branch_scale = desc.branch_norm == NormKind::none ? 1 : 1 + std::abs(branch_weight[column]);
    const double h_error = desc.branch ? unit * (1 + std::abs(desc.multiplier) * branch_scale) : 0;
    const bool is_y = i >= out.size() / 2;
    const double output_scale = desc.output_norm == NormKind::none ? 1 : 1 + std::abs(output_weight[column]);
    out[i] = is_y ? (desc.output ? (h_error + unit) * output_scale : 0) : h_error;
  }
  return out;
}

// ---- activation, scale_softcap

Problem<Activation>::Problem(const Activation::Desc& d, int64_t m, uint32_t seed)
    : desc(d),
      rows(m),
      x(random_floats(m * d.dim * (d.gated ? 2 : 1), seed, 4)),
      y(static_cast<size_t>(m * d.dim)) {}

Activation::Args Problem<Activation>::args(const Kernel<Activation>&) {
  std::fill(y.begin(), y.end(), NAN);
  return {matrix(x, rows, desc.dim * (desc.gated ? 2 : 1)), matrix(y, rows, desc.dim)};
}

std::vector<double> Problem<Activation>::tolerances() const {
  std::vector<double> out;
  const int64_t width = desc.dim * (desc.gated ? 2 : 1);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t i = 0; i < desc.dim; ++i) {
      const double v = std::abs(x[static_cast<size_t>(t * width + i)]);
      const double gate = desc.gated ? std::abs(x[static_cast<size_t>(t * width + desc.dim + i)]) : 1;
      out.push_back(12 * kEps * gate * (desc.kind == ActivationKind::relu2 ? v * v : v * (1 + v)));
    }
  }
  return out;
}

Problem<ScaleSoftcap>::Problem(const ScaleSoftcap::Desc& d, int64_t m, uint32_t seed)
    : desc(d), rows(m), x_in(random_floats(m * d.dim, seed, 20)) {}

ScaleSoftcap::Args Problem<ScaleSoftcap>::args(const Kernel<ScaleSoftcap>&) {
  x = x_in;
  return {matrix(x, rows, desc.dim)};
}

std::vector<double> Problem<ScaleSoftcap>::tolerances() const {
  std::vector<double> out;
  for (float v : x_in) out.push_back(8 * kEps * std::abs(v * desc.scale));
  return out;
}

// ---- sample

namespace {

constexpr Choice kChoices[] = {
    {.temperature = 0},
    {.temperature = 1},
    {.temperature = 0.8f, .top_p = 0.95f},
    {.top_k = 1, .temperature = 1},
    {.top_k = 40, .temperature = 0.7f},
    {.top_k = 1'000'000, .temperature = 1, .top_p = 0.5f},
    {.top_k = 50, .temperature = 1.5f, .top_p = 0.9f},
    {.temperature = 1, .min_p = 0.05f},
    {.top_k = 300, .temperature = 3, .top_p = 0.99f, .min_p = 0.02f},
    {.temperature = 1e-3f, .top_p = 0.9f},
    {.temperature = 100, .top_p = 0.3f},
    {.temperature = 1, .top_p = 1e-6f},
    {.top_k = 7, .temperature = 1e-44f, .min_p = 1},
};

/// Where top-p ends, in the middle of the share of the token there.
float middle_of_border(std::span<const float> logits, float largest, Choice choice) {
  const double wanted = static_cast<double>(choice.top_p);
  choice.top_p = 1, choice.min_p = 0;
  Candidates all;
  const double sum = candidates(logits, largest, choice, all);
  std::sort(all.begin(), all.end(), better);
  double held = 0;
  for (const auto& [weight, id] : all) {
    const auto w = static_cast<double>(weight);
    if (held + w >= wanted * sum) return static_cast<float>((held + w / 2) / sum);
    held += w;
  }
  return choice.top_p;
}

double middle_of_share(std::span<const float> logits, float largest, const Choice& choice) {
  Candidates kept;
  const double sum = candidates(logits, largest, choice, kept);
  double before = 0;
  for (const auto& [weight, id] : kept) {
    const auto w = static_cast<double>(weight);
    if (before + w > choice.place * sum) return (before + w / 2) / sum;
    before += w;
  }
  return choice.place;
}

}  // namespace

Problem<Sample>::Problem(const Sample::Desc& d, int64_t m, uint32_t seed)
    : desc(d),
      rows(m),
      limit(d.dim - d.dim / 9),
      x(random_floats(m * d.dim, seed, 3)),
      seen_in(static_cast<size_t>(m * d.dim)),
      biases(static_cast<size_t>(m * kMostBiases)),
      tokens(static_cast<size_t>(m)),
      logprobs(static_cast<size_t>(m)) {
  std::mt19937 engine(seed + 1);
  std::uniform_real_distribution<double> uniform;
  // Counts of some tokens, and biases of which the last may be infinite.
  const auto give_past = [&](Choice& choice) {
    choice.slot = static_cast<int32_t>(m) - 1 - choice.row;
    const std::span slot_seen(seen_in.data() + choice.slot * d.dim, static_cast<size_t>(d.dim));
    for (Seen& s : slot_seen) s = engine() % 3 == 0 ? engine() % 5 | (engine() % 2 ? kInPrompt : 0) : 0;
    if (engine() % 4 > 0) choice.repetition_penalty = 1.3f;
    if (engine() % 2 == 0) choice.presence_penalty = 0.7f, choice.frequency_penalty = 0.1f;
    const std::span slot_biases(biases.data() + choice.slot * kMostBiases, size_t{kMostBiases});
    choice.biases = static_cast<int32_t>(engine() % (std::min<uint64_t>(kMostBiases, limit / 2) + 1));
    for (size_t i = 0; i < slot_biases.size(); ++i)  // beyond those that apply too
      slot_biases[i] = {static_cast<int32_t>(2 * i), static_cast<float>(engine() % 16) - 8};
    if (choice.biases > 1 && engine() % 2 == 0)
      slot_biases[static_cast<size_t>(choice.biases) - 1] = {0, -INFINITY};
  };
  const auto last = static_cast<size_t>(limit) - 1;
  for (int64_t r = 0; r < m; ++r) {
    const std::span<float> row(x.data() + r * d.dim, static_cast<size_t>(d.dim));
    std::fill(row.begin() + limit, row.end(), 1000.0f);  // never chosen
    Choice choice = kChoices[engine() % std::size(kChoices)];
    choice.row = static_cast<int32_t>(r);
    choice.place = uniform(engine);
    switch (engine() % 12) {
      case 0:  // ties
        for (float& v : row.first(last + 1)) v = std::round(v);
        break;
      case 1:
        std::fill(row.begin(), row.begin() + limit, -0.5f);
        break;
      case 2:
        row[engine() % (last + 1)] = NAN;
        break;
      case 3:
        row[last] = INFINITY;
        break;
      case 4:  // masked but for a few
        for (size_t i = 0; i < last; i += 1 + (engine() % 3 != 0)) row[i] = -INFINITY;
        break;
      case 5:
        std::fill(row.begin(), row.begin() + limit, -INFINITY);
        break;
      case 6:
        choice.row = -1;
        break;
      default:
        break;
    }
    if (choice.row >= 0 && engine() % 2 == 0) give_past(choice);
    if (engine() % 2 == 0) choice.logprobs = static_cast<int32_t>(engine() % (Logprobs::kMost + 1));
    std::vector<float> logits(row.begin(), row.begin() + limit);
    if (choice.slot >= 0) {
      for (size_t id = 0; id < logits.size(); ++id)
        logits[id] = penalised(logits[id], seen_in[static_cast<size_t>(choice.slot * d.dim) + id], choice);
      for (int32_t i = 0; i < choice.biases; ++i) {
        const Bias& bias = biases[static_cast<size_t>(choice.slot * kMostBiases + i)];
        logits[static_cast<size_t>(bias.id)] += bias.value;
      }
    }
    const Largest largest = largest_logit(logits);
    if (largest.place >= 0 && choice.temperature > 0) {
      if (choice.top_p < 1) choice.top_p = middle_of_border(logits, largest.value, choice);
      choice.place = middle_of_share(logits, largest.value, choice);
    }
    choices.push_back(choice);
  }
}

Sample::Args Problem<Sample>::args(const Kernel<Sample>&) {
  std::fill(tokens.begin(), tokens.end(), -7);
  std::fill(logprobs.begin(), logprobs.end(), Logprobs{.rank = -7});
  seen = seen_in;
  return {.x = matrix(x, rows, desc.dim),
          .limit = limit,
          .choices = choices.data(),
          .count = rows,
          .out = tokens.data(),
          .seen = seen.data(),
          .biases = biases.data(),
          .logprobs = logprobs.data()};
}

std::vector<float> Problem<Sample>::outputs() const {
  std::vector<float> out(tokens.begin(), tokens.end());
  for (size_t i = 0; i < seen.size(); ++i) out.push_back(static_cast<float>(seen[i] - seen_in[i]));
  const auto finite = [](float logprob) { return std::max(logprob, -1e6f); };
  for (const Logprobs& l : logprobs) {
    out.insert(out.end(), {static_cast<float>(l.rank), static_cast<float>(l.count), finite(l.chosen)});
    out.insert(out.end(), std::begin(l.ids), std::begin(l.ids) + l.count);
    for (int32_t i = 0; i < l.count; ++i) out.push_back(finite(l.values[i]));
  }
  return out;
}

std::vector<double> Problem<Sample>::tolerances() const {
  std::vector<double> out(tokens.size() + seen.size(), 0.0);
  constexpr double kLogprob = 2e-6 * 10;  // a few roundings of values of up to some tens
  for (const Logprobs& l : logprobs) {
    out.insert(out.end(), {0.0, 0.0, kLogprob});
    out.insert(out.end(), static_cast<size_t>(l.count), 0.0);
    out.insert(out.end(), static_cast<size_t>(l.count), kLogprob);
  }
  return out;
}

// ---- rope_kv

Problem<RopeKv>::Problem(const RopeKv::Desc& d, std::span<const ProblemSequence> batch, uint32_t seed)
    : desc(d), cache(d.kv_heads, d.d_qk, d.d_v, d.kv, d.page_tokens, batch, seed), rows(cache.rows()) {
  const int64_t width = d.heads * d.d_qk + d.kv_heads * (d.d_qk + d.d_v);
  qkv_in = random_floats(rows * width, seed + 1);
  table = random_floats(rows * std::max<int64_t>(d.rope_dims, 1), seed + 2);
  for (float& v : table) v = std::sin(v);
  q_norm = random_floats(d.heads * d.d_qk, seed + 3);
  k_norm = random_floats(d.kv_heads * d.d_qk, seed + 4);
}

RopeKv::Args Problem<RopeKv>::args(const Kernel<RopeKv>&) {
  qkv = qkv_in;
  cache.clear();
  const int64_t width = desc.heads * desc.d_qk + desc.kv_heads * (desc.d_qk + desc.d_v);
  return {matrix(qkv, rows, width),
          matrix(table, rows, desc.rope_dims),
          q_norm.data(),
          k_norm.data(),
          cache.sequences(),
          cache.cache()};
}

std::vector<float> Problem<RopeKv>::outputs() {
  std::vector<float> out = qkv;
  const std::vector<float> pages = cache.contents();
  out.insert(out.end(), pages.begin(), pages.end());
  return out;
}

std::vector<double> Problem<RopeKv>::tolerances() {
  const double value = 64 * kEps * 10;  // of values of the order of 1 to 10
  std::vector<double> out(qkv_in.size(), value);
  const std::vector<double> pages = cache.tolerances(value);
  out.insert(out.end(), pages.begin(), pages.end());
  return out;
}

// ---- attention

Problem<Attention>::Problem(const Attention::Desc& d, std::span<const ProblemSequence> sequences, uint32_t s)
    : desc(d),
      cache(d.kv_heads, d.d_qk, d.d_v, d.kv, d.page_tokens, sequences, s),
      rows(cache.rows()),
      batch(sequences.begin(), sequences.end()),
      seed(s),
      q(random_floats(rows * d.heads * d.d_qk, s + 1)),
      out(static_cast<size_t>(rows * d.heads * d.d_v)),
      sinks(random_floats(d.heads, s + 2)),
      slopes(static_cast<size_t>(d.heads)) {
  for (int64_t h = 0; h < d.heads; ++h)
    slopes[static_cast<size_t>(h)] =
        std::exp2(-8.0f * static_cast<float>(h + 1) / static_cast<float>(d.heads));
}

void Problem<Attention>::fill_cache(const Kernel<RopeKv>& kernel, const Launch& launch) {
  const RopeKv::Desc write{.heads = 0,
                           .kv_heads = desc.kv_heads,
                           .d_qk = desc.d_qk,
                           .d_v = desc.d_v,
                           .kv = desc.kv,
                           .page_tokens = desc.page_tokens};
  for (size_t i = 0; i < batch.size(); ++i) {
    const int32_t context = batch[i].first_position + batch[i].rows;
    std::vector<float> kv =
        random_floats(context * desc.kv_heads * (desc.d_qk + desc.d_v), seed + 10 + static_cast<uint32_t>(i));
    const SequenceRows all{0, context, 0, static_cast<int32_t>(i)};
    RopeKv::Args args{.qkv = matrix(kv, context, desc.kv_heads * (desc.d_qk + desc.d_v)),
                      .sequences = {&all, 1},
                      .cache = cache.cache()};
    kernel.run(write, args, launch);
  }
}

Attention::Args Problem<Attention>::args(const Kernel<Attention>&) {
  std::fill(out.begin(), out.end(), NAN);
  return {matrix(q, rows, desc.heads * desc.d_qk),
          matrix(out, rows, desc.heads * desc.d_v),
          cache.sequences(),
          cache.cache(),
          sinks.data(),
          slopes.data()};
}

std::vector<double> Problem<Attention>::tolerances() const {
  // An error e in every score changes each weight by a factor of 1 +- e, so outputs by 2 e of the largest
  // value.
  const double longest_key = std::sqrt(static_cast<double>(desc.d_qk)) * 2, largest_value = 5;
  std::vector<double> tolerance;
  for (const SequenceRows& s : cache.sequences()) {
    for (int64_t i = 0; i < s.rows * desc.heads; ++i) {
      const double norm = norm_of(q.data() + (s.first_row * desc.heads + i) * desc.d_qk, desc.d_qk);
      const double distance = desc.alibi ? s.first_position + s.rows : 0;
      const double score =
          4 * kEps * (std::abs(desc.scale) * norm * longest_key + desc.softcap + distance + 4);
      // Each weight rounded by half a step: an average of values of the order of 1 moves by no more than a
      // step.
      const double rounding = desc.rounded ? kv_eps(desc.kv) : 0;
      tolerance.insert(tolerance.end(), static_cast<size_t>(desc.d_v), 2 * score * largest_value + rounding);
    }
  }
  return tolerance;
}

}  // namespace sluice::ops
