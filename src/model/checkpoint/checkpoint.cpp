#include "model/checkpoint/checkpoint.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>

#include "base/checked.h"
#include "model/checkpoint/gguf.h"
#include "model/checkpoint/quoted_name.h"
#include "model/checkpoint/safetensors.h"

namespace sluice::model {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// Why a directory has no weights we read, from what lies there instead.
Status no_weights(const std::string& directory) {
  std::string pickled, gguf;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    for (const char* suffix : {".bin", ".pt", ".pth", ".ckpt"}) {
      if (name.ends_with(suffix)) pickled = name;
    }
    if (name.ends_with(".gguf")) gguf = name;
  }
  if (error) return io_error("{}: cannot list the directory: {}", directory, error.message());
  if (!gguf.empty())
    return invalid_argument("{}: give the GGUF file itself, {}", directory, join_path(directory, gguf));
  if (!pickled.empty()) {
    return unsupported("{}: {} holds pickled weights, which are never opened; convert them to safetensors",
                       directory, pickled);
  }
  return not_found(
      "{}: neither {} nor {} is there; give a checkpoint directory, a .safetensors or a .gguf file",
      directory, kSingle, kIndex);
}

Result<bool> starts_with_gguf(const File& file) {
  std::array<std::byte, 4> magic{};
  if (file.size() < magic.size()) return false;
  SLUICE_TRY(file.read_at(0, magic));
  return std::ranges::equal(magic, std::as_bytes(std::span("GGUF", 4)));
}

template <typename Tensor>
TensorInfo uniform(Tensor&& tensor, uint32_t file) {
  return {std::move(tensor.name), std::move(tensor.dtype_name),
          tensor.dtype,           std::move(tensor.shape),
          tensor.bytes,           file,
          tensor.offset};
}

}  // namespace

Checkpoint Checkpoint::none(const std::string& name) {
  Checkpoint nothing;
  nothing.path_ = name;
  return nothing;
}

Result<Checkpoint> Checkpoint::open(const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.path_ = path;
  if (is_directory(path)) {
    checkpoint.directory_ = path;
    SLUICE_TRY(checkpoint.open_directory());
  } else {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    checkpoint.directory_ = parent.empty() ? "." : parent;
    SLUICE_ASSIGN(const File file, File::open(path));
    SLUICE_ASSIGN(const bool gguf, starts_with_gguf(file));
    SLUICE_TRY(gguf || path.ends_with(".gguf") ? checkpoint.open_gguf() : checkpoint.add_safetensors(path));
  }
  checkpoint.index_names();
  return checkpoint;
}

Status Checkpoint::open_directory() {
  // Where both lie there, the single file is taken, as by Hugging Face's library.
  if (const std::string single = join_path(path_, kSingle); exists(single)) return add_safetensors(single);
  if (const std::string index = join_path(path_, kIndex); exists(index)) return open_shards(index);
  return no_weights(path_);
}

Status Checkpoint::open_shards(const std::string& index_path) {
  SLUICE_ASSIGN(const std::string text, read_text_file(index_path, kMaxSafetensorsHeader));
  SLUICE_ASSIGN(const SafetensorsIndex index, parse_safetensors_index(text, index_path));
  for (const std::string& shard : index.shards) SLUICE_TRY(add_safetensors(join_path(path_, shard)));

  // Each tensor is where the index says and nowhere else: with as many tensors as the index has names, and
  // every one of them in the shard of its name, none can be missing or be there twice.
  for (const TensorInfo& tensor : tensors_) {
    const auto named = index.weight_map.find(tensor.name);
    if (named == index.weight_map.end()) {
      return corrupt("{}: tensor {} of {} is not in weight_map", index_path, quoted_name(tensor.name),
                     index.shards[tensor.file]);
    }
    if (named->second != tensor.file) {
      return corrupt("{}: tensor {} is in {}, weight_map says {}", index_path, quoted_name(tensor.name),
                     index.shards[tensor.file], index.shards[named->second]);
    }
  }
  if (tensors_.size() == index.weight_map.size()) return {};
  index_names();
  for (const auto& [name, shard] : index.weight_map) {
    if (find(name) == nullptr) {
      return corrupt("{}: tensor {} is not in {}, where weight_map says it is", index_path, quoted_name(name),
                     index.shards[shard]);
    }
  }
  return internal_error("{}: shards and weight_map differ in number only", index_path);
}

Status Checkpoint::add_safetensors(const std::string& path) {
  SLUICE_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
  const auto number = static_cast<uint32_t>(files_.size());
  for (SafetensorsTensor& tensor : file.header.tensors)
    tensors_.push_back(uniform(std::move(tensor), number));
  files_.push_back(std::move(file.file));
  return {};
}

Status Checkpoint::open_gguf() {
  kind_ = Kind::gguf;
  SLUICE_ASSIGN(GgufFile model, GgufFile::open(path_));
  metadata_ = std::move(model.metadata);
  files_ = std::move(model.parts);
  for (GgufTensor& tensor : model.tensors) tensors_.push_back(uniform(std::move(tensor), tensor.part));
  return {};
}

void Checkpoint::index_names() {
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::ranges::sort(by_name_, {}, [&](uint32_t i) -> std::string_view { return tensors_[i].name; });
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto name_of = [&](uint32_t i) -> std::string_view { return tensors_[i].name; };
  const auto it = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return it != by_name_.end() && tensors_[*it].name == name ? &tensors_[*it] : nullptr;
}

Result<const TensorInfo*> Checkpoint::require(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) return not_found("{}: tensor {} is missing", path_, quoted_name(name));
  const std::string& file = files_[tensor->file].path();
  if (!tensor->dtype) {
    return unsupported(
        "{}: tensor {} has dtype {}, which is not computed with; convert it to one of F32, F16, BF16", file,
        quoted_name(name), tensor->dtype_name);
  }
  if (tensor->bytes == 0) return corrupt("{}: tensor {} is empty", file, quoted_name(name));
  return tensor;
}

Status Checkpoint::read(const TensorInfo& tensor, uint64_t byte_offset, std::span<std::byte> out) const {
  const auto end = checked_add<uint64_t>(byte_offset, out.size());
  if (!end || *end > tensor.bytes || tensor.file >= files_.size()) {
    return invalid_argument("{}: bytes {} to {} of tensor {} asked for, which has {}", path_, byte_offset,
                            end.value_or(UINT64_MAX), quoted_name(tensor.name), tensor.bytes);
  }
  return files_[tensor.file].read_at(tensor.offset + byte_offset, out);
}

}  // namespace sluice::model
