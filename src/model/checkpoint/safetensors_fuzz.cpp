// Any bytes are either refused or tensors that lie inside the file; the first byte chooses header or index.
#include <cstdlib>

#include "model/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::model;
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  if (data[0] == 'i') {
    const auto index =
        parse_safetensors_index({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "fuzz");
    if (index.ok() && (index->shards.empty() || index->weight_map.empty())) std::abort();
    return 0;
  }
  const auto header = parse_safetensors(bytes, bytes.size(), "fuzz");
  if (!header.ok()) return 0;
  for (const SafetensorsTensor& tensor : header->tensors) {
    if (tensor.offset > bytes.size() || tensor.bytes > bytes.size() - tensor.offset) std::abort();
  }
  return 0;
}
