// UTF-8 as the tokenizers need it: strict decoding, and the replacement of broken bytes that Python's
// errors="replace" and Rust's from_utf8_lossy agree on (one U+FFFD for each maximal subpart, Unicode 15
// §3.9).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr char32_t kReplacementChar = 0xFFFD;

struct Utf8Char {
  char32_t code = kReplacementChar;
  /// Bytes read. For a broken sequence: the bytes that one U+FFFD replaces.
  uint32_t length = 0;
  bool valid = false;
  /// Broken only because the text ends: further bytes could complete the character.
  bool truncated = false;
};

/// The character that `text` (not empty) starts with.
Utf8Char decode_utf8(std::string_view text);

/// Appends the UTF-8 of a Unicode scalar value.
void append_utf8(std::string& out, char32_t code);
std::string to_utf8(char32_t code);

/// Where the first broken sequence begins.
std::optional<size_t> find_invalid_utf8(std::string_view text);
inline bool is_valid_utf8(std::string_view text) { return !find_invalid_utf8(text); }
/// `text` with broken bytes replaced; valid text is moved through.
std::string make_valid_utf8(std::string text);

/// Calls fn(code point, bytes of it) for each character of valid UTF-8.
template <typename Fn>
void for_each_char(std::string_view text, Fn fn) {
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const Utf8Char c = byte < 0x80 ? Utf8Char{byte, 1, true, false} : decode_utf8(text.substr(at));
    fn(c.code, text.substr(at, c.length));
    at += c.length;
  }
}

/// Bytes of the character that a lead byte of valid UTF-8 starts.
inline uint32_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Joins bytes that arrive in pieces into valid UTF-8, holding an unfinished character (at most 3 bytes)
/// back.
class Utf8Joiner {
 public:
  /// Appends to `out` the text that is certain now.
  void push(std::string_view bytes, std::string& out);
  /// The end: an unfinished character becomes one U+FFFD.
  void flush(std::string& out);

 private:
  std::string held_;
};

}  // namespace sluice::text
