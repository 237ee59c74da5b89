// JSON written straight into a buffer: what every token of every stream goes through.
#pragma once

#include <string>
#include <string_view>

namespace sluice::serve {

/// Appends `text`, which must be valid UTF-8, as a JSON string with its quotes.
inline void append_json_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        out.push_back(kHex[c >> 4]);
        out.push_back(kHex[c & 15]);
    }
  }
  out.append(text.substr(plain));
  out.push_back('"');
}

/// Letters that bring `size` bytes to a multiple of 32, at least one.
inline std::string padding(size_t size) {
  constexpr size_t kStep = 32;
  std::string out(kStep - size % kStep, ' ');
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>('a' + (size + i * 7) % 26);
  return out;
}

}  // namespace sluice::serve
