#include "text/sentencepiece_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/tiny_tokenizers.h"

namespace sluice::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SentencePiece, TinyModel) {
  auto tokenizer = make_sentencepiece_tokenizer(tiny::sentencepiece_model());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_THAT(*tokenizer->encode("ab  ab"), ElementsAre(1, 7, 3, 7));
  EXPECT_THAT(*tokenizer->encode("axxb", {.add_special = false}),
              ElementsAre(3, 4, 0, 5));  // one unk for a run
  EXPECT_EQ(*tokenizer->decode(std::vector<int32_t>{7, 3, 7}), "ab  ab");
  auto quiet = make_sentencepiece_tokenizer(tiny::sentencepiece_model(), R"({"add_bos_token": false})");
  ASSERT_TRUE(quiet.ok());
  EXPECT_THAT(*quiet->encode("ab"), ElementsAre(7));
}

TEST(SentencePiece, RefusesByName) {
  const std::string model = tiny::sentencepiece_model();
  const auto refuses = [](const std::string& bytes, const char* message) {
    const auto made = make_sentencepiece_tokenizer(bytes);
    ASSERT_FALSE(made.ok()) << message;
    EXPECT_THAT(made.status().message(), HasSubstr(message));
  };
  refuses("", "no pieces");
  refuses(model + tiny::field(2, "\x18\x03"), "model_type 3");
  refuses(model + tiny::field(3, std::string("\x28\x00", 2)), "escape_whitespaces");
  refuses(model + tiny::field(1, tiny::field(1, "a")), "token \"a\" has ids");
  refuses(model + tiny::field(1, ""), "is empty");
  refuses(model + tiny::field(3, tiny::field(2, "xx")), "precompiled_charsmap");
  refuses(model + std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), "bytes");
  refuses(model + "\x0B", "wire type 3");
  refuses(model + std::string(11, '\xFF'), "ten bytes");
}

TEST(SentencePiece, TruncationsNeverCrash) {
  const std::string model = tiny::sentencepiece_model();
  for (size_t size = 0; size < model.size(); ++size) {
    const auto made = make_sentencepiece_tokenizer(std::string_view(model).substr(0, size));
    if (!made.ok()) continue;
    EXPECT_TRUE(made->encode("a b").ok());
  }
}

}  // namespace
}  // namespace sluice::text
