// One view of a checkpoint's tensors, whatever files they come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "model/checkpoint/gguf_metadata.h"
#include "tensor/dtype.h"

namespace sluice::model {

struct TensorInfo {
  std::string name;
  std::string dtype_name;       // as the file spells it: "BF16", "F8_E4M3", "Q4_K"
  std::optional<DType> dtype;   // absent when we do not compute with that type
  std::vector<uint64_t> shape;  // row-major as in PyTorch, [rows.., cols]; empty for a scalar
  uint64_t bytes = 0;
  uint32_t file = 0;    // index in the checkpoint's files
  uint64_t offset = 0;  // of the first byte, in that file
};

/// An open checkpoint. Cheap to move; const calls are safe from several threads.
class Checkpoint {
 public:
  enum class Kind { safetensors, gguf };

  /// `path` is a Hugging Face directory (model.safetensors, or shards with model.safetensors.index.json), a
  /// .safetensors file or a .gguf file (the first one of a split model). Tensors of types we cannot compute
  /// with are listed; they are refused by require() when something needs them.
  static Result<Checkpoint> open(const std::string& path);

  /// A checkpoint without tensors; `name` stands for its path in messages.
  static Checkpoint none(const std::string& name);

  Kind kind() const { return kind_; }
  const std::string& path() const { return path_; }
  /// The directory with config.json and tokenizer beside a safetensors checkpoint; for GGUF, of the file.
  const std::string& directory() const { return directory_; }
  /// GGUF metadata, null for safetensors.
  const GgufMetadata* gguf() const { return kind_ == Kind::gguf ? &metadata_ : nullptr; }

  /// In the order of the files: reading them so is sequential on disk.
  std::span<const TensorInfo> tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// The tensor, which has a dtype and no zero dimension; a sentence that names it otherwise.
  Result<const TensorInfo*> require(std::string_view name) const;

  /// Fills `out` with the bytes of `tensor` from `byte_offset`. `tensor` is one of tensors(); a range outside
  /// it is refused, a file that was cut short since it was opened is an error.
  Status read(const TensorInfo& tensor, uint64_t byte_offset, std::span<std::byte> out) const;

  /// The files that hold tensors.
  std::span<const File> files() const { return files_; }

 private:
  Checkpoint() = default;
  Status open_directory();
  Status open_shards(const std::string& index_path);
  Status add_safetensors(const std::string& path);
  Status open_gguf();
  void index_names();

  Kind kind_ = Kind::safetensors;
  std::string path_;
  std::string directory_;
  GgufMetadata metadata_;
  std::vector<File> files_;
  std::vector<TensorInfo> tensors_;
  std::vector<uint32_t> by_name_;  // indices of tensors_, sorted by name
};

}  // namespace sluice::model
