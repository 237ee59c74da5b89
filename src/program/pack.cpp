#include "program/pack.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "base/parallel.h"
#include "ops/problem.h"
#include "quant/format.h"

namespace sluice::program {
namespace {

constexpr int64_t kBandBytes = 1 << 20;

// One role's share of a packed matrix.
struct Share {
  const model::Weight* source;
  int64_t first_source_row;  // of this copy
  int64_t first_row;         // in the packed matrix
  int64_t rows;
};

Result<std::vector<Share>> shares(const model::Model& model, const WeightInfo& weight, int64_t copy) {
  std::vector<Share> out;
  int64_t row = 0;
  for (const std::string& role : weight.roles) {
    const model::Weight* source = model.find(role);
    SLUICE_CHECK(source != nullptr, "{} has no source for {}", weight.name, role);
    const int64_t rows = weight.k == 1 ? source->n * source->k : source->n / weight.copies;
    out.push_back({source, copy * rows, row, rows});
    row += rows;
  }
  SLUICE_CHECK(row == weight.n, "{}: {} rows of {}", weight.name, row, weight.n);
  return out;
}

Status check_finite(const model::Model& model, const model::Weight& source, int64_t row, int64_t rows,
                    const std::byte* data) {
  const uint64_t bytes = row_bytes(source.dtype, static_cast<uint64_t>(source.k));
  for (int64_t r = 0; r < rows; ++r) {
    if (const auto bad =
            quant::find_non_finite(source.dtype, data + static_cast<uint64_t>(r) * bytes, source.k)) {
      return corrupt(
          "{}: {} (tensor {}): row {}, element {} is NaN or infinite; the checkpoint is damaged, get it "
          "again",
          model.checkpoint.path(), source.role, source.parts.front().tensor->name, row + r, *bad);
    }
  }
  return {};
}

// Rows of a weight that no checkpoint holds: the same kRandomRows again and again, made once for each type
// and length, since making a number takes longer than packing it.
void random_rows(int64_t k, int64_t row, int64_t rows, DType dtype, std::vector<std::byte>& out) {
  constexpr int64_t kRandomRows = 256;
  static std::mutex mutex;
  static std::map<std::pair<DType, int64_t>, ops::Bytes> made;
  const std::byte* source = nullptr;
  {
    const std::lock_guard lock(mutex);
    auto it = made.find({dtype, k});
    if (it == made.end()) {
      it = made.emplace(std::pair{dtype, k}, ops::random_weight(dtype, kRandomRows, k, 1)).first;
    }
    source = it->second.data();
  }
  const uint64_t bytes = row_bytes(dtype, static_cast<uint64_t>(k));
  out.resize(static_cast<uint64_t>(rows) * bytes);
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(out.data() + static_cast<uint64_t>(r) * bytes,
                source + static_cast<uint64_t>((row + r) % kRandomRows) * bytes, bytes);
  }
}

// Source rows as the packed type, row-major.
Status read_as(const model::Model& model, const model::Weight& source, int64_t row, int64_t rows, DType dtype,
               std::vector<std::byte>& out) {
  const uint64_t from = row_bytes(source.dtype, static_cast<uint64_t>(source.k));
  const uint64_t to = row_bytes(dtype, static_cast<uint64_t>(source.k));
  if (source.parts.empty()) {
    random_rows(source.k, row, rows, dtype, out);
    return {};
  }
  std::vector<std::byte> raw(static_cast<uint64_t>(rows) * from);
  SLUICE_TRY(model::read_rows(model, source, row, rows, raw));
  SLUICE_TRY(check_finite(model, source, row, rows, raw.data()));
  if (dtype == source.dtype) {
    out = std::move(raw);
    return {};
  }
  out.resize(static_cast<uint64_t>(rows) * to);
  std::vector<float> floats(static_cast<size_t>(source.k));
  for (int64_t r = 0; r < rows; ++r) {
    quant::dequantize_row(source.dtype, raw.data() + static_cast<uint64_t>(r) * from, floats.data(),
                          source.k);
    quant::quantize_row(dtype, floats.data(), out.data() + static_cast<uint64_t>(r) * to, source.k);
  }
  return {};
}

Status pack_vector(const model::Model& model, const WeightInfo& weight, std::span<std::byte> dst) {
  SLUICE_ASSIGN(const auto parts, shares(model, weight, 0));
  for (const Share& part : parts) {
    const std::span<float> out(reinterpret_cast<float*>(dst.data()) + part.first_row,
                               static_cast<size_t>(part.rows));
    if (part.source->parts.empty()) {  // norms and biases that change nothing
      std::fill(out.begin(), out.end(), part.source->role.ends_with(".bias") ? 0.0f : 1.0f);
      continue;
    }
    SLUICE_TRY(model::read_rows_f32(model, *part.source, 0, part.source->n, out));
    SLUICE_TRY(check_finite(
        model,
        {.role = part.source->role, .n = 1, .k = part.rows, .dtype = DType::f32, .parts = part.source->parts},
        0, 1, reinterpret_cast<const std::byte*>(out.data())));
  }
  return {};
}

}  // namespace

Status pack_weight(const model::Model& model, const WeightInfo& weight, int64_t copy,
                   std::span<std::byte> dst, int threads) {
  SLUICE_CHECK(dst.size() * static_cast<uint64_t>(weight.copies) == weight.bytes, "{}", weight.name);
  if (weight.k == 1) return pack_vector(model, weight, dst);
  SLUICE_ASSIGN(const auto parts, shares(model, weight, copy));

  // Bands begin at multiples of the layout's tile in the packed matrix, whatever the roles' boundaries.
  const int64_t tile = weight.layout->row_tile;
  const int64_t bytes = static_cast<int64_t>(row_bytes(weight.dtype, static_cast<uint64_t>(weight.k)));
  bool transposed = false;
  for (const Share& p : parts) transposed |= !p.source->parts.empty() && p.source->parts.front().transpose;
  const int64_t band = transposed ? weight.n : std::max<int64_t>(1, kBandBytes / bytes / tile) * tile;
  return parallel_for((weight.n + band - 1) / band, threads, [&](int64_t b) -> Status {
    const int64_t begin = b * band, end = std::min(weight.n, begin + band);
    std::vector<std::byte> rows(static_cast<size_t>((end - begin) * bytes)), piece;
    for (const Share& p : parts) {
      const int64_t from = std::max(begin, p.first_row), to = std::min(end, p.first_row + p.rows);
      if (from >= to) continue;
      SLUICE_TRY(
          read_as(model, *p.source, p.first_source_row + from - p.first_row, to - from, weight.dtype, piece));
      std::memcpy(rows.data() + (from - begin) * bytes, piece.data(), piece.size());
    }
    weight.layout->pack(weight.dtype, weight.n, weight.k, begin, end - begin, rows.data(), dst.data());
    return {};
  });
}

}  // namespace sluice::program
