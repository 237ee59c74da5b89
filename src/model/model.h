// A checkpoint understood: its tensors, the config that describes them, the Spec that follows and where each
// weight of the Spec lies.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "model/checkpoint/checkpoint.h"
#include "model/spec.h"

namespace sluice::model {

/// Rows of a source tensor that make up a weight: for c in [0, count): rows offset + c * stride + [0,
/// length).
struct RowPick {
  int64_t offset = 0;
  int64_t length = 0;
  int64_t stride = 0;
  int64_t count = 1;
  int64_t rows() const { return length * count; }
  bool operator==(const RowPick&) const = default;
};

/// One stretch of a weight's rows, found in a tensor of the checkpoint. A vector is a single column.
struct WeightPart {
  const TensorInfo* tensor = nullptr;
  RowPick pick;
  bool transpose = false;  // stored as (columns, rows)
  bool plus_one = false;   // add 1 to each element
};

/// A weight of the Spec by its role ("layers.3.attention.q", "layers.3.attention.q.bias", "embed"): (n, k) in
/// rows.
struct Weight {
  std::string role;
  int64_t n = 0;
  int64_t k = 0;
  DType dtype = DType::f32;  // as stored; all parts agree
  std::vector<WeightPart> parts;
};

/// A checkpoint whose Spec is built and whose every needed tensor has been found with the right shape and a
/// known type.
struct Model {
  Checkpoint checkpoint;
  Json config;    // config.json, or a GGUF's metadata under the same key names
  Json document;  // the arch document
  Spec spec;
  std::vector<Weight> weights;  // sorted by role

  const Weight* find(std::string_view role) const;
};

/// Opens a Hugging Face directory or a GGUF file, or gives the shape that `path` names (model/shape.h).
/// Whatever the config says is honoured or refused by name; config and tensors must agree. Reads no weight
/// data except a GGUF's rope tables.
Result<Model> load_model(const std::string& path);

/// Rows [row, row + rows) of a weight in its stored type, in plain row-major order. `out` has rows *
/// row_bytes(k) bytes.
Status read_rows(const Model& model, const Weight& weight, int64_t row, int64_t rows,
                 std::span<std::byte> out);

/// The same, dequantised to floats.
Status read_rows_f32(const Model& model, const Weight& weight, int64_t row, int64_t rows,
                     std::span<float> out);

}  // namespace sluice::model
