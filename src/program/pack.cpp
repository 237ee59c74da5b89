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
void random_rows(int64_t k, int64_t row, int64_t rows, DType dtype, std::byte* out) {
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
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(out + static_cast<uint64_t>(r) * bytes,
                source + static_cast<uint64_t>((row + r) % kRandomRows) * bytes, bytes);
  }
}

// What a thread reads into, kept from band to band: fresh memory costs more than packing.
struct Scratch {
  std::vector<std::byte> rows, raw;
  std::vector<float> floats;
};

// At least `bytes` of `buffer`.
std::span<std::byte> room_in(std::vector<std::byte>& buffer, uint64_t bytes) {
  if (buffer.size() < bytes) buffer.resize(bytes);
  return std::span(buffer).first(bytes);
}

// Source rows as the packed type, row-major, to `out`.
Status read_as(const model::Model& model, const model::Weight& source, int64_t row, int64_t rows, DType dtype,
               Scratch& scratch, std::span<std::byte> out) {
  if (source.parts.empty()) {
    random_rows(source.k, row, rows, dtype, out.data());
    return {};
  }
  const uint64_t from = row_bytes(source.dtype, static_cast<uint64_t>(source.k));
  const uint64_t to = row_bytes(dtype, static_cast<uint64_t>(source.k));
  const bool as_is = dtype == source.dtype;
  const std::span<std::byte> raw = as_is ? out : room_in(scratch.raw, static_cast<uint64_t>(rows) * from);
  SLUICE_TRY(model::read_rows(model, source, row, rows, raw));
  SLUICE_TRY(check_finite(model, source, row, rows, raw.data()));
  if (as_is) return {};
  scratch.floats.resize(static_cast<size_t>(source.k));
  for (int64_t r = 0; r < rows; ++r) {
    quant::dequantize_row(source.dtype, raw.data() + static_cast<uint64_t>(r) * from, scratch.floats.data(),
                          source.k);
    quant::quantize_row(dtype, scratch.floats.data(), out.data() + static_cast<uint64_t>(r) * to, source.k);
  }
  return {};
}

Status pack_vector(const model::Model& model, std::span<const Share> parts, std::span<std::byte> dst) {
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

// Rows [begin, end) of a packing.
struct Band {
  const Packing* packing;
  std::span<const Share> parts;  // of the packing
  int64_t begin, end;
};

// Bands begin at multiples of the layout's tile in the packed matrix, whatever the roles' boundaries.
void append_bands(const Packing& packing, std::span<const Share> parts, std::vector<Band>& bands) {
  const WeightInfo& weight = *packing.weight;
  SLUICE_CHECK(packing.to.size() * static_cast<uint64_t>(weight.copies) == weight.bytes, "{}", weight.name);
  bool whole = weight.k == 1;
  for (const Share& p : parts) whole |= !p.source->parts.empty() && p.source->parts.front().transpose;
  int64_t rows = weight.n;
  if (!whole) {
    const auto bytes = static_cast<int64_t>(row_bytes(weight.dtype, static_cast<uint64_t>(weight.k)));
    const int64_t tile = weight.layout->row_tile;
    rows = std::max<int64_t>(1, kBandBytes / bytes / tile) * tile;
  }
  for (int64_t begin = 0; begin < weight.n; begin += rows)
    bands.push_back({&packing, parts, begin, std::min(weight.n, begin + rows)});
}

Status pack_band(const model::Model& model, const Band& band, Scratch& scratch) {
  const auto& [weight, copy, to] = *band.packing;
  if (weight->k == 1) return pack_vector(model, band.parts, to);
  const uint64_t bytes = row_bytes(weight->dtype, static_cast<uint64_t>(weight->k));
  const std::span<std::byte> rows =
      room_in(scratch.rows, static_cast<uint64_t>(band.end - band.begin) * bytes);
  for (const Share& p : band.parts) {
    const int64_t begin = std::max(band.begin, p.first_row), end = std::min(band.end, p.first_row + p.rows);
    if (begin >= end) continue;
    SLUICE_TRY(read_as(model, *p.source, p.first_source_row + begin - p.first_row, end - begin, weight->dtype,
                       scratch,
                       rows.subspan(static_cast<uint64_t>(begin - band.begin) * bytes,
                                    static_cast<uint64_t>(end - begin) * bytes)));
  }
  weight->layout->pack(weight->dtype, weight->n, weight->k, band.begin, band.end - band.begin, rows.data(),
                       to.data());
  return {};
}

}  // namespace

Status pack_weights(const model::Model& model, std::span<const Packing> packings, int threads) {
  std::vector<std::vector<Share>> parts(packings.size());
  std::vector<Band> bands;
  for (size_t i = 0; i < packings.size(); ++i) {
    SLUICE_ASSIGN(parts[i], shares(model, *packings[i].weight, packings[i].copy));
    append_bands(packings[i], parts[i], bands);
  }
  std::vector<Scratch> scratch(static_cast<size_t>(std::max(threads, 1)));
  return parallel_for(static_cast<int64_t>(bands.size()), threads, [&](int64_t i, int worker) {
    return pack_band(model, bands[static_cast<size_t>(i)], scratch[static_cast<size_t>(worker)]);
  });
}

}  // namespace sluice::program
