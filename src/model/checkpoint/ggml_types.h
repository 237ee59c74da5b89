// Every tensor type that GGUF files of today name, including those we only measure: an unneeded tensor of
// such a type must not keep a file from loading.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::model {

struct GgmlType {
  uint32_t number;  // in the file
  std::string_view name;
  uint32_t block_elems;
  uint32_t block_bytes;
};

/// Null for numbers that were never given out, or were and have been withdrawn since.
const GgmlType* ggml_type(uint32_t number);

}  // namespace sluice::model
