// Any bytes are either refused or a file that can be written again and then reads the same.
#include <cstdlib>

#include "model/checkpoint/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::model;
  const auto header = parse_gguf(std::as_bytes(std::span(data, size)), "fuzz");
  if (!header.ok()) return 0;
  for (const GgufTensor& tensor : header->tensors) {
    if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
  }
  const auto written = serialize_gguf(header->metadata);
  if (!written.ok()) std::abort();
  const auto again = parse_gguf(std::as_bytes(std::span(*written)), "again");
  // By bytes: a NaN in the metadata is not equal to itself.
  if (!again.ok() || *serialize_gguf(again->metadata) != *written) std::abort();
  return 0;
}
