// safetensors files: a JSON header that names tensors, then their bytes. The rules enforced are those of the
// format's own reference reader: no holes, no overlaps, no duplicate names, sizes that match exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "tensor/dtype.h"

namespace sluice::model {

/// The format's own limit on the header.
constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsTensor {
  std::string name;
  std::string dtype_name;       // as the format spells it: "BF16", "F8_E4M3"
  std::optional<DType> dtype;   // absent for types of the format that we do not compute with
  std::vector<uint64_t> shape;  // row-major; empty for a scalar
  uint64_t offset = 0;          // of the first byte, from the start of the file
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;       // in the order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

/// Parses the header. `prefix` is at least the first 8 + header length bytes of the file, `file_size` its
/// length; `origin` names it in messages.
Result<SafetensorsHeader> parse_safetensors(std::span<const std::byte> prefix, uint64_t file_size,
                                            const std::string& origin);

/// One file with its header; tensor bytes are read with file.read_at(tensor.offset, ...).
struct SafetensorsFile {
  File file;
  SafetensorsHeader header;

  static Result<SafetensorsFile> open(const std::string& path);
};

/// The files of a sharded model, from its `model.safetensors.index.json`.
struct SafetensorsIndex {
  std::vector<std::string> shards;             // plain file names, sorted
  std::map<std::string, uint32_t> weight_map;  // tensor -> index in `shards`
};

Result<SafetensorsIndex> parse_safetensors_index(std::string_view text, const std::string& origin);

/// A tensor to be written.
struct SafetensorsTensorData {
  std::string name;
  DType dtype = DType::f32;     // a plain type
  std::vector<uint64_t> shape;  // row-major
  std::span<const std::byte> data;
};

/// The bytes of a file with these tensors, in this order.
Result<std::string> serialize_safetensors(std::span<const SafetensorsTensorData> tensors,
                                          const std::map<std::string, std::string>& metadata = {});

/// The same, written atomically to `path`.
Status write_safetensors(const std::string& path, std::span<const SafetensorsTensorData> tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace sluice::model
