// Models: words in, their token ids out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/vocab.h"

namespace sluice::text {

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of the words, in order.
  virtual Status tokenize(const Words& words, std::vector<int32_t>& ids) const = 0;
  virtual size_t memory_bytes() const = 0;
};

/// The 256 tokens "<0x00>" ... "<0xFF>" that spell what a vocabulary has no other token for.
struct ByteTokens {
  std::vector<int32_t> ids;  // by byte

  /// The byte tokens of `vocab`; nothing unless all 256 are there.
  static std::optional<ByteTokens> find(const Vocab& vocab);
};

/// The byte that a token "<0xXX>" stands for.
std::optional<uint8_t> parse_byte_token(std::string_view token);

}  // namespace sluice::text
