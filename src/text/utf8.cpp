#include "text/utf8.h"

#include <cstring>

namespace sluice::text {
namespace {

// The bytes that may follow a lead byte: how many, and the range of the first of them, which is what excludes
// overlong forms, surrogates and code points above U+10FFFF (Unicode 15, table 3-7).
struct Lead {
  uint8_t followers;
  uint8_t low;
  uint8_t high;
  uint8_t bits;  // of the code point in the lead byte
};

Lead classify(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF, static_cast<uint8_t>(byte & 0x1F)};
  if (byte == 0xE0) return {2, 0xA0, 0xBF, 0};
  if (byte == 0xED) return {2, 0x80, 0x9F, 0x0D};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF, static_cast<uint8_t>(byte & 0x0F)};
  if (byte == 0xF0) return {3, 0x90, 0xBF, 0};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF, static_cast<uint8_t>(byte & 0x07)};
  if (byte == 0xF4) return {3, 0x80, 0x8F, 4};
  return {0, 0, 0, 0};
}

// How many bytes of ASCII `text` starts with, eight at a time: most texts are little else.
size_t ascii_prefix(std::string_view text) {
  size_t at = 0;
  for (uint64_t word; at + sizeof word <= text.size(); at += sizeof word) {
    std::memcpy(&word, text.data() + at, sizeof word);
    if (word & 0x8080808080808080u) break;
  }
  while (at < text.size() && static_cast<uint8_t>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

Utf8Char decode_utf8(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {first, 1, true, false};
  const Lead lead = classify(first);
  if (lead.followers == 0) return {kReplacementChar, 1, false, false};
  char32_t code = lead.bits;
  for (uint32_t i = 1; i <= lead.followers; ++i) {
    if (i == text.size()) return {kReplacementChar, i, false, true};
    const auto byte = static_cast<uint8_t>(text[i]);
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {kReplacementChar, i, false, false};
    code = code << 6 | (byte & 0x3F);
  }
  return {code, lead.followers + 1u, true, false};
}

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
    return;
  }
  if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | code >> 6));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | code >> 18));
    out.push_back(static_cast<char>(0x80 | (code >> 12 & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
  }
  out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
}

std::string to_utf8(char32_t code) {
  std::string out;
  append_utf8(out, code);
  return out;
}

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    if (const size_t ascii = ascii_prefix(text.substr(at)); ascii > 0) {
      at += ascii;
      continue;
    }
    const Utf8Char c = decode_utf8(text.substr(at));
    if (!c.valid) return at;
    at += c.length;
  }
  return std::nullopt;
}

std::string make_valid_utf8(std::string text) {
  if (is_valid_utf8(text)) return text;
  std::string out;
  Utf8Joiner joiner;
  joiner.push(text, out);
  joiner.flush(out);
  return out;
}

void Utf8Joiner::push(std::string_view bytes, std::string& out) {
  std::string joined;
  if (!held_.empty()) {
    joined = std::move(held_);
    held_.clear();
    joined += bytes;
    bytes = joined;
  }
  while (!bytes.empty()) {
    const size_t ascii = ascii_prefix(bytes);
    out += bytes.substr(0, ascii);
    bytes.remove_prefix(ascii);
    if (bytes.empty()) return;
    const Utf8Char c = decode_utf8(bytes);
    if (c.truncated) {
      held_ = bytes;
      return;
    }
    out += c.valid ? bytes.substr(0, c.length) : kReplacement;
    bytes.remove_prefix(c.length);
  }
}

void Utf8Joiner::flush(std::string& out) {
  if (!held_.empty()) out += kReplacement;
  held_.clear();
}

}  // namespace sluice::text
