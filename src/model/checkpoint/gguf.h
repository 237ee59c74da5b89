// GGUF files, versions 2 and 3, little endian: header, metadata, tensor table; single or split into parts.
// Layout: the GGUF specification of ggml (docs/gguf.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "model/checkpoint/gguf_metadata.h"
#include "tensor/dtype.h"

namespace sluice::model {

struct GgufTensor {
  std::string name;
  std::string dtype_name;       // as ggml spells it: "Q4_K"
  std::optional<DType> dtype;   // absent for types that ggml has and we do not compute with
  std::vector<uint64_t> shape;  // row-major, slowest dimension first (the file has the reverse)
  uint64_t offset = 0;          // of the first byte, from the start of its file
  uint64_t bytes = 0;
  uint32_t part = 0;  // index of its file in a split model
};

/// What one GGUF file says.
struct GgufHeader {
  uint32_t version = 3;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file
};

/// Parses and checks everything but the tensors' data. `file` is the whole file; `origin` names it in
/// messages. Memory used is bounded by a small multiple of file.size(), time by n log n of it.
Result<GgufHeader> parse_gguf(std::span<const std::byte> file, const std::string& origin);

/// What tensor offsets are multiples of: general.alignment, 32 without it.
Result<uint64_t> gguf_alignment(const GgufMetadata& metadata);

/// An open model: one file, or the parts of a split one (`name-00001-of-0000N.gguf`, given the first).
struct GgufFile {
  GgufMetadata metadata;            // of the first part; the later ones repeat only the split's own keys
  std::vector<GgufTensor> tensors;  // of all parts
  std::vector<File> parts;  // tensor bytes are read with parts[tensor.part].read_at(tensor.offset, ...)

  static Result<GgufFile> open(const std::string& path);
};

/// A tensor to be written.
struct GgufTensorData {
  std::string name;
  DType dtype = DType::f32;     // one that has a ggml number
  std::vector<uint64_t> shape;  // row-major, 1 to 4 dimensions
  std::span<const std::byte> data;
};

/// The bytes of a version 3 file with these contents; no tensors makes a metadata-only (vocabulary) file.
/// Refuses what parse_gguf would refuse.
Result<std::string> serialize_gguf(const GgufMetadata& metadata,
                                   std::span<const GgufTensorData> tensors = {});

/// The same, written atomically to `path`.
Status write_gguf(const std::string& path, const GgufMetadata& metadata,
                  std::span<const GgufTensorData> tensors = {});

}  // namespace sluice::model
