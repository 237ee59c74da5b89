#include <cstring>

#include "base/checked.h"
#include "model/checkpoint/gguf.h"
#include "model/checkpoint/quoted_name.h"

namespace sluice::model {
namespace {

constexpr uint32_t kVersion = 3;

class Writer {
 public:
  std::string take() { return std::move(out_); }

  template <typename T>
  void number(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    out_ += text;
  }
  void bytes(std::span<const std::byte> data) {
    out_.append(reinterpret_cast<const char*>(data.data()), data.size());
  }
  void align(uint64_t alignment) { out_.resize(round_up<uint64_t>(out_.size(), alignment), '\0'); }

  void value(const GgufValue& value) {
    number(static_cast<uint32_t>(value.type));
    std::visit([&](const auto& held) { body(value.type, held); }, value.data);
  }

 private:
  // A number narrows back to the width its type gives it.
  template <typename T>
  requires std::is_arithmetic_v<T>
  void body(GgufType type, T held) {
    visit_number_type(type, [&](auto zero) { number(static_cast<decltype(zero)>(held)); });
  }
  void body(GgufType, const std::string& text) { string(text); }
  void body(GgufType, const NumberArray& array) {
    number(static_cast<uint32_t>(array.type));
    number<uint64_t>(array.size());
    bytes(array.bytes);
  }
  void body(GgufType, const StringArray& array) {
    number(static_cast<uint32_t>(GgufType::string));
    number<uint64_t>(array.size());
    for (size_t i = 0; i < array.size(); ++i) string(array[i]);
  }

  std::string out_;
};

Status check_size(const GgufTensorData& tensor) {
  const DTypeInfo& type = info(tensor.dtype);
  std::optional<uint64_t> elems = 1;
  for (uint64_t dim : tensor.shape) elems = elems ? checked_mul<uint64_t>(*elems, dim) : elems;
  if (type.ggml_type < 0) {
    return unsupported("tensor {} has the type {}, which GGUF does not have", quoted_name(tensor.name),
                       type.name);
  }
  if (!elems || *elems % type.block_elems != 0 || row_bytes(tensor.dtype, *elems) != tensor.data.size()) {
    return invalid_argument("tensor {} has {} bytes, which its shape does not need", quoted_name(tensor.name),
                            tensor.data.size());
  }
  return {};
}

}  // namespace

Result<std::string> serialize_gguf(const GgufMetadata& metadata, std::span<const GgufTensorData> tensors) {
  SLUICE_ASSIGN(const uint64_t alignment, gguf_alignment(metadata));
  Writer out;
  out.bytes(std::as_bytes(std::span("GGUF", 4)));
  out.number(kVersion);
  out.number<uint64_t>(tensors.size());
  out.number<uint64_t>(metadata.entries().size());
  for (const auto& [key, value] : metadata.entries()) {
    out.string(key);
    out.value(value);
  }
  uint64_t offset = 0;
  for (const GgufTensorData& tensor : tensors) {
    SLUICE_TRY(check_size(tensor));
    out.string(tensor.name);
    out.number(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) out.number<uint64_t>(tensor.shape[i]);
    out.number(static_cast<uint32_t>(info(tensor.dtype).ggml_type));
    out.number(offset);
    offset += round_up<uint64_t>(tensor.data.size(), alignment);
  }
  for (const GgufTensorData& tensor : tensors) {
    out.align(alignment);
    out.bytes(tensor.data);
  }
  std::string file = out.take();
  // The reader is the judge of names, counts and alignment.
  SLUICE_ASSIGN(const GgufHeader check, parse_gguf(std::as_bytes(std::span(file)), "GGUF to be written"));
  return file;
}

Status write_gguf(const std::string& path, const GgufMetadata& metadata,
                  std::span<const GgufTensorData> tensors) {
  SLUICE_ASSIGN(const std::string file, serialize_gguf(metadata, tensors));
  return write_file_atomically(path, file);
}

}  // namespace sluice::model
