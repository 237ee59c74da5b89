#include "model/testing/loose_checkpoint.h"

#include "base/file.h"
#include "model/checkpoint/checkpoint.h"
#include "model/checkpoint/safetensors.h"
#include "quant/format.h"

namespace sluice::model::testing {

void LooseCheckpoint::rename(const std::string& from, const std::string& to) {
  std::map<std::string, LooseTensor> renamed;
  for (auto& [name, tensor] : tensors) {
    renamed.emplace(name.starts_with(from) ? to + name.substr(from.size()) : name, std::move(tensor));
  }
  tensors = std::move(renamed);
}

Result<LooseCheckpoint> read_loose(const std::string& directory) {
  LooseCheckpoint out;
  SLUICE_ASSIGN(out.config, read_json_file(join_path(directory, "config.json")));
  SLUICE_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(directory));
  for (const TensorInfo& info : checkpoint.tensors()) {
    SLUICE_ASSIGN(const TensorInfo* tensor, checkpoint.require(info.name));
    std::vector<std::byte> bytes(tensor->bytes);
    SLUICE_TRY(checkpoint.read(*tensor, 0, bytes));
    LooseTensor loose{tensor->shape, {}};
    size_t count = 1;
    for (uint64_t extent : loose.shape) count *= extent;
    loose.values.resize(count);
    quant::dequantize_row(*tensor->dtype, bytes.data(), loose.values.data(), static_cast<int64_t>(count));
    out.tensors.emplace(tensor->name, std::move(loose));
  }
  return out;
}

Status write_loose(const std::string& directory, const LooseCheckpoint& checkpoint) {
  SLUICE_TRY(write_file_atomically(join_path(directory, "config.json"), dump_json(checkpoint.config, 2)));
  std::vector<SafetensorsTensorData> data;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    data.push_back({name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
  }
  return write_safetensors(join_path(directory, "model.safetensors"), data);
}

}  // namespace sluice::model::testing
