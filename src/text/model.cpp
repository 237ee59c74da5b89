#include "text/model.h"

#include <fmt/format.h>

#include <charconv>

namespace sluice::text {

std::optional<ByteTokens> ByteTokens::find(const Vocab& vocab) {
  ByteTokens tokens;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto id = vocab.find(fmt::format("<0x{:02X}>", byte));
    if (!id) return std::nullopt;
    tokens.ids.push_back(*id);
  }
  return tokens;
}

std::optional<uint8_t> parse_byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return byte;
}

}  // namespace sluice::text
