// GPT-2's alphabet: a printable character for each byte, so that a vocabulary of bytes can be written as
// text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::text {

/// The character that stands for `byte`, as UTF-8 of one or two bytes.
std::string_view byte_level_char(uint8_t byte);
/// The byte that a character stands for; nothing for a character outside the alphabet.
std::optional<uint8_t> byte_level_byte(char32_t c);

/// Appends each byte's character.
void append_byte_level(std::string& out, std::string_view bytes);
/// The bytes that a token spells; a token with a character outside the alphabet stands for its own UTF-8.
std::string byte_level_decode(std::string_view token);

}  // namespace sluice::text
