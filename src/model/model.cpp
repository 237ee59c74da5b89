#include "model/model.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "model/bind.h"
#include "model/build_spec.h"
#include "model/config.h"
#include "model/shape.h"
#include "quant/format.h"

namespace sluice::model {
namespace {

// Rows [row, row + rows) of one part, untransposed: runs of consecutive source rows are read at once.
Status read_straight(const Checkpoint& checkpoint, const WeightPart& part, int64_t k, int64_t row,
                     int64_t rows, std::span<std::byte> out) {
  const uint64_t bytes = row_bytes(*part.tensor->dtype, static_cast<uint64_t>(k));
  const RowPick& p = part.pick;
  while (rows > 0) {
    const int64_t run = std::min(rows, p.length - row % p.length);
    const int64_t source = p.offset + row / p.length * p.stride + row % p.length;
    const uint64_t n = static_cast<uint64_t>(run) * bytes;
    SLUICE_TRY(checkpoint.read(*part.tensor, static_cast<uint64_t>(source) * bytes, out.first(n)));
    out = out.subspan(n);
    row += run;
    rows -= run;
  }
  return {};
}

// The tensor is (k, all rows) and its elements are plain: gathers columns, a band of source rows at a time.
Status read_transposed(const Checkpoint& checkpoint, const WeightPart& part, int64_t k, int64_t row,
                       int64_t rows, std::span<std::byte> out) {
  const uint64_t elem = info(*part.tensor->dtype).block_bytes;
  const uint64_t line = static_cast<uint64_t>(part.tensor->shape[1]) * elem;
  const int64_t band = std::max<int64_t>(1, static_cast<int64_t>((uint64_t{8} << 20) / line));
  std::vector<std::byte> lines(static_cast<size_t>(band) * line);
  const RowPick& p = part.pick;
  for (int64_t c0 = 0; c0 < k; c0 += band) {
    const int64_t count = std::min(band, k - c0);
    const auto chunk = std::span(lines).first(static_cast<size_t>(count) * line);
    SLUICE_TRY(checkpoint.read(*part.tensor, static_cast<uint64_t>(c0) * line, chunk));
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t source = p.offset + (row + r) / p.length * p.stride + (row + r) % p.length;
      for (int64_t c = 0; c < count; ++c) {
        std::memcpy(out.data() + static_cast<uint64_t>(r * k + c0 + c) * elem,
                    chunk.data() + static_cast<uint64_t>(c) * line + static_cast<uint64_t>(source) * elem,
                    elem);
      }
    }
  }
  return {};
}

}  // namespace

const Weight* Model::find(std::string_view role) const {
  const auto it = std::lower_bound(weights.begin(), weights.end(), role,
                                   [](const Weight& w, std::string_view r) { return w.role < r; });
  return it != weights.end() && it->role == role ? &*it : nullptr;
}

Result<Model> load_model(const std::string& path) {
  if (path.starts_with(kShapePrefix)) return model_of_shape(path);
  SLUICE_ASSIGN(Checkpoint checkpoint, Checkpoint::open(path));
  SLUICE_ASSIGN(Config config, read_config(checkpoint));
  SLUICE_ASSIGN(Spec spec, build_spec(config, checkpoint));
  Model model{
      std::move(checkpoint), std::move(config.values), std::move(config.document), std::move(spec), {}};
  SLUICE_ASSIGN(model.weights, bind_weights(model.spec, model.document, model.checkpoint, config.origin));
  return model;
}

Status read_rows(const Model& model, const Weight& weight, int64_t row, int64_t rows,
                 std::span<std::byte> out) {
  const uint64_t bytes = row_bytes(weight.dtype, static_cast<uint64_t>(weight.k));
  SLUICE_CHECK(
      row >= 0 && rows >= 0 && row + rows <= weight.n && out.size() == static_cast<uint64_t>(rows) * bytes,
      "{}: rows {}+{} of {}", weight.role, row, rows, weight.n);
  for (const WeightPart& part : weight.parts) {
    const int64_t have = part.pick.rows();
    if (row >= have) {
      row -= have;
      continue;
    }
    const int64_t n = std::min(rows, have - row);
    const auto target = out.first(static_cast<uint64_t>(n) * bytes);
    SLUICE_TRY(part.transpose ? read_transposed(model.checkpoint, part, weight.k, row, n, target)
                              : read_straight(model.checkpoint, part, weight.k, row, n, target));
    out = out.subspan(target.size());
    rows -= n;
    row = 0;
    if (rows == 0) break;
  }
  return {};
}

Status read_rows_f32(const Model& model, const Weight& weight, int64_t row, int64_t rows,
                     std::span<float> out) {
  const uint64_t bytes = row_bytes(weight.dtype, static_cast<uint64_t>(weight.k));
  std::vector<std::byte> raw(static_cast<uint64_t>(rows) * bytes);
  SLUICE_TRY(read_rows(model, weight, row, rows, raw));
  for (int64_t r = 0; r < rows; ++r) {
    quant::dequantize_row(weight.dtype, raw.data() + static_cast<uint64_t>(r) * bytes,
                          out.data() + r * weight.k, weight.k);
  }
  if (weight.parts.front().plus_one) {
    for (float& v : out) v += 1;
  }
  return {};
}

}  // namespace sluice::model
