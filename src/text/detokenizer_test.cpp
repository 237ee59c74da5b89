#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tiny_tokenizers.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Text bytes as ids of the tiny byte-level tokenizer, one a byte.
std::vector<int32_t> by_byte(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

std::string stream(Detokenizer& detokenizer, const std::vector<int32_t>& ids) {
  std::string out;
  for (const int32_t id : ids) {
    const std::string delta = detokenizer.push(id);
    EXPECT_TRUE(is_valid_utf8(delta));
    out += delta;
  }
  return out + detokenizer.flush();
}

TEST(Detokenizer, CharactersComeWhole) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  Detokenizer detokenizer(tokenizer);
  const std::vector<int32_t> llama = by_byte("🦙");
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(detokenizer.push(llama[i]), "");
  EXPECT_EQ(detokenizer.push(llama[3]), "🦙");
  EXPECT_EQ(detokenizer.push(0xF0), "");
  EXPECT_EQ(detokenizer.push('x'), "�x");  // cannot become a character any more: given at once
  EXPECT_EQ(detokenizer.push(0xFF), "�");
  EXPECT_EQ(detokenizer.push(0xE2), "");
  EXPECT_EQ(detokenizer.flush(), "�");
}

TEST(Detokenizer, ARealReplacementCharacterDoesNotStall) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  const int32_t id = *tokenizer.token_to_id("�");
  Detokenizer detokenizer(tokenizer);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(detokenizer.push(id), "�");
}

TEST(Detokenizer, EqualsDecodeForRandomIds) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  std::mt19937 rng(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids(rng() % 12);
    for (int32_t& id : ids) id = static_cast<int32_t>(rng() % static_cast<unsigned>(tokenizer.vocab_size()));
    for (const bool skip : {false, true}) {
      Detokenizer detokenizer(tokenizer, {.skip_special = skip});
      ASSERT_EQ(stream(detokenizer, ids), *tokenizer.decode(ids, skip));
    }
  }
}

TEST(Detokenizer, EveryCutOfAText) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  const std::vector<std::string> texts = {"hello wo",
                                          "👩‍👩‍👧‍👦 🇩🇪",
                                          "𠀀שלום",
                                          "नमस्ते e\u0301",
                                          "\r\n   \t\t",
                                          "�\u2028",
                                          std::string("a\0b", 3)};
  for (const std::string& text : texts) {
    const auto ids = *tokenizer.encode(text);
    for (size_t cut = 0; cut <= ids.size(); ++cut) {
      // The prompt ends at the cut: what it leaves unfinished is completed by the answer.
      Detokenizer detokenizer(tokenizer, {.context = std::span(ids).first(cut)});
      Detokenizer prompt(tokenizer);
      std::string whole;
      for (size_t i = 0; i < cut; ++i) whole += prompt.push(ids[i]);
      whole += stream(detokenizer, {ids.begin() + static_cast<ptrdiff_t>(cut), ids.end()});
      EXPECT_EQ(whole, text) << cut;
    }
  }
}

TEST(Detokenizer, SpecialTokensAreShownOnDemand) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  const int32_t end = *tokenizer.token_to_id("</s>");
  Detokenizer hidden(tokenizer);
  EXPECT_EQ(hidden.push(end), "");
  Detokenizer shown(tokenizer, {.skip_special = false});
  EXPECT_EQ(shown.push(end), "</s>");
  EXPECT_EQ(shown.push(-1), "");
  EXPECT_EQ(shown.push(1 << 30), "");
}

class ByteFallback : public testing::Test {
 protected:
  int32_t byte(int value) const { return 3 + value; }
  int32_t piece(std::string_view text) const { return *tokenizer_.token_to_id(text); }
  Tokenizer tokenizer_ = tiny::make(tiny::byte_fallback_json());
};

TEST_F(ByteFallback, TheSpaceGoesOnlyAtTheStart) {
  Detokenizer start(tokenizer_);
  EXPECT_EQ(start.push(piece("▁Hi")), "Hi");
  EXPECT_EQ(start.push(piece("▁Hi")), " Hi");
  const int32_t context[] = {piece("▁Hi")};
  Detokenizer going_on(tokenizer_, {.context = context});
  EXPECT_EQ(going_on.push(piece("▁Hi")), " Hi");
}

TEST_F(ByteFallback, OneReplacementForEachBrokenByte) {
  EXPECT_EQ(*tokenizer_.decode(std::vector{byte(0xF0), byte(0x9F), piece("H")}), "��H");
  Detokenizer detokenizer(tokenizer_);
  EXPECT_EQ(detokenizer.push(byte(0xF0)), "");
  EXPECT_EQ(detokenizer.push(byte(0x9F)), "");
  EXPECT_EQ(detokenizer.push(piece("H")), "��H");
}

TEST_F(ByteFallback, AStreamKeepsTheWholeCharactersOfABrokenRun) {
  const std::vector<int32_t> ids = {byte(0xC3), byte(0xA9), byte(0xFF)};
  EXPECT_EQ(*tokenizer_.decode(ids), "���");  // what Hugging Face does
  Detokenizer detokenizer(tokenizer_);
  EXPECT_EQ(detokenizer.push(ids[0]), "");
  EXPECT_EQ(detokenizer.push(ids[1]), "é");
  EXPECT_EQ(detokenizer.push(ids[2]), "�");
}

TEST_F(ByteFallback, TokenBytesAreWhatATokenAdds) {
  EXPECT_EQ(tokenizer_.token_bytes(byte(0xE2)), "\xE2");
  EXPECT_EQ(tokenizer_.token_bytes(piece("▁Hi")), " Hi");
  EXPECT_EQ(tokenizer_.token_bytes(piece("<s>")), "<s>");
  const Tokenizer level = tiny::make(tiny::byte_level_json());
  EXPECT_EQ(level.token_bytes(*level.token_to_id("Ġwo")), " wo");
  EXPECT_EQ(level.token_bytes(0x80), "\x80");
}

}  // namespace
}  // namespace sluice::text
