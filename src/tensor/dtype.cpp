#include "tensor/dtype.h"

#include <array>
#include <cctype>
#include <string>
#include <utility>

namespace sluice {
namespace {

constexpr std::array kInfo = {
#define X(name, elems, bytes, ggml) DTypeInfo{#name, elems, bytes, ggml},
    SLUICE_DTYPES(X)
#undef X
};

constexpr std::pair<std::string_view, DType> kAliases[] = {
    {"float32", DType::f32}, {"fp32", DType::f32}, {"float", DType::f32},     {"float16", DType::f16},
    {"fp16", DType::f16},    {"half", DType::f16}, {"bfloat16", DType::bf16}, {"int8", DType::i8}};

}  // namespace

const DTypeInfo& info(DType dtype) { return kInfo[static_cast<size_t>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].name == lower) return static_cast<DType>(i);
  }
  for (const auto& [alias, dtype] : kAliases) {
    if (alias == lower) return dtype;
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_ggml(uint32_t ggml_type) {
  for (size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].ggml_type >= 0 && static_cast<uint32_t>(kInfo[i].ggml_type) == ggml_type)
      return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace sluice
