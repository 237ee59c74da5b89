#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace sluice::text {
namespace {

struct Alphabet {
  std::array<char[2], 256> utf8{};
  std::array<uint8_t, 256> length{};
  std::array<int16_t, 0x180> byte{};  // by code point; -1: none

  Alphabet() {
    byte.fill(-1);
    // Printable Latin-1 stands for itself; the other 68 bytes get U+0100 and up, in order.
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = printable ? b : next++;
      const std::string text = to_utf8(code);
      text.copy(utf8[b], 2);
      length[b] = static_cast<uint8_t>(text.size());
      byte[code] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet kAlphabet;
  return kAlphabet;
}

}  // namespace

std::string_view byte_level_char(uint8_t byte) {
  const Alphabet& a = alphabet();
  return {a.utf8[byte], a.length[byte]};
}

std::optional<uint8_t> byte_level_byte(char32_t c) {
  const Alphabet& a = alphabet();
  if (c >= a.byte.size() || a.byte[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(a.byte[c]);
}

void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char c : bytes) out += byte_level_char(static_cast<uint8_t>(c));
}

std::string byte_level_decode(std::string_view token) {
  std::string out;
  for (size_t at = 0; at < token.size();) {
    const Utf8Char c = decode_utf8(token.substr(at));
    const auto byte = c.valid ? byte_level_byte(c.code) : std::nullopt;
    if (!byte) return std::string(token);
    out.push_back(static_cast<char>(*byte));
    at += c.length;
  }
  return out;
}

}  // namespace sluice::text
