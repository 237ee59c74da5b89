// From a checkpoint's tensors to the bytes that kernels read.
#pragma once

#include <functional>

#include "model/model.h"
#include "program/program.h"

namespace sluice::program {

/// Packs one copy (expert) of a weight into `dst`, which has weight.bytes / weight.copies bytes: reads the
/// rows of its roles, converts them to the weight's type where the checkpoint has another, and lays them out.
/// Rows are read and packed in parallel on `threads` threads; beside dst it needs a few MiB a thread, or one
/// tensor where that is stored transposed. A weight without parts (model_of_shape) is random. NaN or infinity
/// in a weight is refused, naming the tensor and the element.
Status pack_weight(const model::Model& model, const WeightInfo& weight, int64_t copy,
                   std::span<std::byte> dst, int threads);

}  // namespace sluice::program
