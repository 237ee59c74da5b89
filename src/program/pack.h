// From a checkpoint's tensors to the bytes that kernels read.
#pragma once

#include <span>

#include "model/model.h"
#include "program/program.h"

namespace sluice::program {

/// One copy (expert) of a weight, and where it goes: weight.bytes / weight.copies bytes.
struct Packing {
  const WeightInfo* weight;
  int64_t copy;
  std::span<std::byte> to;
};

/// Packs weights into their places: reads the rows of their roles, converts them to a weight's type where the
/// checkpoint has another, and lays them out. Bands of rows of all of them are read and packed in parallel on
/// `threads` threads; beside the places it needs a few MiB a thread, or one tensor where that is stored
/// transposed. A weight without parts (model_of_shape) is random. NaN or infinity in a weight is refused,
/// naming the tensor and the element.
Status pack_weights(const model::Model& model, std::span<const Packing> packings, int threads);

inline Status pack_weight(const model::Model& model, const WeightInfo& weight, int64_t copy,
                          std::span<std::byte> to, int threads) {
  const Packing packing{&weight, copy, to};
  return pack_weights(model, {&packing, 1}, threads);
}

}  // namespace sluice::program
