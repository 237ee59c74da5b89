// Reading of protocol buffers' wire format: fields one by one, every length checked.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace sluice::text {

/// One field of a message. `bytes` for length-delimited fields, else `number`.
struct ProtobufField {
  uint32_t number = 0;
  std::optional<std::string_view> bytes;
  uint64_t value = 0;

  float as_float() const {
    const auto bits = static_cast<uint32_t>(value);
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
  }
};

class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view message) : in_(message) {}

  bool done() const { return in_.empty(); }

  /// The next field; corrupt for a truncated one, a bad varint, field number 0 and groups.
  Result<ProtobufField> next() {
    SLUICE_ASSIGN(const uint64_t key, varint());
    ProtobufField field;
    field.number = static_cast<uint32_t>(key >> 3);
    if (field.number == 0 || key >> 3 > 0x1FFFFFFF) return corrupt("a field has an invalid number");
    switch (key & 7) {
      case 0: {
        SLUICE_ASSIGN(field.value, varint());
        return field;
      }
      case 1:
        return fixed(field, 8);
      case 5:
        return fixed(field, 4);
      case 2: {
        SLUICE_ASSIGN(const uint64_t size, varint());
        if (size > in_.size())
          return corrupt("field {} has {} bytes, {} are left", field.number, size, in_.size());
        field.bytes = in_.substr(0, size);
        in_.remove_prefix(size);
        return field;
      }
      default:
        return corrupt("field {} has wire type {}", field.number, key & 7);
    }
  }

 private:
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) return corrupt("the message is truncated");
      const auto byte = static_cast<uint8_t>(in_.front());
      in_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    return corrupt("a number has more than ten bytes");
  }
  Result<ProtobufField> fixed(ProtobufField field, size_t size) {
    if (in_.size() < size) return corrupt("the message is truncated");
    std::memcpy(&field.value, in_.data(), size);
    in_.remove_prefix(size);
    return field;
  }

  std::string_view in_;
};

}  // namespace sluice::text
