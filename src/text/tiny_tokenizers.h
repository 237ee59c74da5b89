// For tests: small tokenizers made in code, so that no test needs a file.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "text/byte_level.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"

namespace sluice::text::tiny {

/// A byte-level BPE as tokenizer.json: ids 0..255 are the bytes, then one token for each merge, then added
/// tokens.
inline Json byte_level_json() {
  Json vocab(Json::value_t::object);
  int id = 0;
  for (int byte = 0; byte < 256; ++byte)
    vocab[std::string(byte_level_char(static_cast<uint8_t>(byte)))] = id++;
  Json merges(Json::value_t::array);
  const std::vector<std::pair<const char*, const char*>> pairs = {
      {"h", "e"}, {"l", "l"},   {"he", "ll"}, {"hell", "o"}, {"Ġ", "w"}, {"Ġw", "o"}, {"Ġ", "Ġ"},
      {"a", "a"}, {"aa", "aa"}, {"Ã", "©"},   {"ð", "Ł"},    {"ðŁ", "¦"}};  // é whole; the llama U+1F999 all
                                                                            // but its last byte
  for (const auto& [left, right] : pairs) {
    vocab[std::string(left) + right] = id++;
    merges.push_back(Json::array({left, right}));
  }
  Json added(Json::value_t::array);
  for (const char* special : {"<s>", "</s>", "<|user|>"}) {
    added.push_back({{"id", id++}, {"content", special}, {"special", true}, {"normalized", false}});
  }
  added.push_back({{"id", id++}, {"content", "<tool>"}, {"special", false}, {"normalized", false}});
  added.push_back({{"id", id++}, {"content", "\xEF\xBF\xBD"}, {"special", false}, {"normalized", false}});
  Json out(Json::value_t::object);
  out["added_tokens"] = std::move(added);
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  out["post_processor"] = nullptr;
  out["decoder"] = {{"type", "ByteLevel"}};
  out["model"] = {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  return out;
}

/// Llama 2's shape: SentencePiece's spelling in a BPE with byte fallback. Ids: <unk> <s> </s> bytes, then
/// pieces.
inline Json byte_fallback_json() {
  Json vocab(Json::value_t::object);
  int id = 0;
  for (const char* special : {"<unk>", "<s>", "</s>"}) vocab[special] = id++;
  for (int byte = 0; byte < 256; ++byte) vocab[fmt::format("<0x{:02X}>", byte)] = id++;
  for (const char* piece : {"▁", "H", "i", "é", "▁H", "▁Hi", "�"}) vocab[piece] = id++;
  Json added(Json::value_t::array);
  for (int i = 0; i < 3; ++i) {
    const char* content[] = {"<unk>", "<s>", "</s>"};
    added.push_back({{"id", i}, {"content", content[i]}, {"special", true}, {"normalized", false}});
  }
  const auto replace = [](const char* from, const char* to) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
  };
  Json out(Json::value_t::object);
  out["added_tokens"] = std::move(added);
  out["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers", Json::array({{{"type", "Prepend"}, {"prepend", "▁"}}, replace(" ", "▁")})}};
  out["decoder"] = {
      {"type", "Sequence"},
      {"decoders", Json::array({replace("▁", " "),
                                {{"type", "ByteFallback"}},
                                {{"type", "Fuse"}},
                                {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}})}};
  out["model"] = {{"type", "BPE"},    {"unk_token", "<unk>"},      {"byte_fallback", true},
                  {"fuse_unk", true}, {"vocab", std::move(vocab)}, {"merges", Json::array({"▁ H", "▁H i"})}};
  return out;
}

inline Tokenizer make(const Json& tokenizer, const std::string& config = {}) {
  const std::string text = dump_json(tokenizer);
  auto made = make_json_tokenizer({.tokenizer = text, .tokenizer_config = config});
  SLUICE_CHECK(made.ok(), "{}", made.status().message());
  return std::move(made).value();
}

/// A length-delimited protocol buffer field.
inline std::string field(int number, const std::string& bytes) {
  SLUICE_CHECK(bytes.size() < 128 * 128, "size={}", bytes.size());
  std::string out(1, static_cast<char>(number << 3 | 2));
  if (bytes.size() >= 128) out.push_back(static_cast<char>(0x80 | (bytes.size() & 0x7F)));
  out.push_back(static_cast<char>(bytes.size() >= 128 ? bytes.size() >> 7 : bytes.size()));
  return out + bytes;
}

/// A SentencePiece model of type BPE: <unk> <s> </s> and four pieces.
inline std::string sentencepiece_model() {
  const auto piece = [](const std::string& text, float score, char type) {
    std::string bits(4, '\0');
    std::memcpy(bits.data(), &score, 4);
    return field(1, field(1, text) + "\x15" + bits + "\x18" + type);
  };
  std::string out = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  out += piece("▁", -3, 1) + piece("a", -4, 1) + piece("b", -5, 1) + piece("ab", -1, 1) + piece("▁ab", -2, 1);
  return out + field(2, std::string("\x18\x02")) +
         field(3, std::string("\x20\x00", 2));  // BPE; keep all spaces
}

}  // namespace sluice::text::tiny
