// Element types. A block type packs `block_elems` consecutive elements of a row into `block_bytes` bytes; the
// bytes of the GGUF ones follow ggml's published block structures. To add a type: one line here, and its
// pack/unpack in quant/.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

//          name      block_elems block_bytes ggml_type  (-1: not a GGUF type)
#define SLUICE_DTYPES(X) \
  X(f32, 1, 4, 0)        \
  X(f16, 1, 2, 1)        \
  X(bf16, 1, 2, 30)      \
  X(i8, 1, 1, 24)        \
  X(i32, 1, 4, 26)       \
  X(i64, 1, 8, 27)       \
  X(u8, 1, 1, -1)        \
  X(q8_0, 32, 34, 8)     \
  X(q4_0, 32, 18, 2)     \
  X(q4_1, 32, 20, 3)     \
  X(q5_0, 32, 22, 6)     \
  X(q5_1, 32, 24, 7)     \
  X(q2_k, 256, 84, 10)   \
  X(q3_k, 256, 110, 11)  \
  X(q4_k, 256, 144, 12)  \
  X(q5_k, 256, 176, 13)  \
  X(q6_k, 256, 210, 14)  \
  X(iq4_nl, 32, 18, 20)  \
  X(iq4_xs, 256, 136, 23)

enum class DType : uint8_t {
#define X(name, elems, bytes, ggml) name,
  SLUICE_DTYPES(X)
#undef X
};

constexpr auto enum_names(DType) {
  return std::array{
#define X(name, elems, bytes, ggml) std::string_view(#name),
      SLUICE_DTYPES(X)
#undef X
  };
}

struct DTypeInfo {
  std::string_view name;
  uint32_t block_elems;  // elements in a block; 1 for plain types
  uint32_t block_bytes;
  int ggml_type;  // number of the type in GGUF files, -1 when it has none
};

/// Facts about a type; constant time.
const DTypeInfo& info(DType dtype);

inline std::string_view name(DType dtype) { return info(dtype).name; }
inline bool is_block_type(DType dtype) { return info(dtype).block_elems > 1; }

/// Bytes of a row of `elems` elements; `elems` must be a multiple of the block.
inline uint64_t row_bytes(DType dtype, uint64_t elems) {
  return elems / info(dtype).block_elems * info(dtype).block_bytes;
}

/// By name ("bf16", "q4_k"; case and the spellings "float32", "F16", "BF16" are accepted).
std::optional<DType> dtype_from_name(std::string_view name);
std::optional<DType> dtype_from_ggml(uint32_t ggml_type);

}  // namespace sluice
