// GGUF vocabularies against the vectors of llama.cpp, and the fields that contradict each other.
#include "text/gguf_vocab.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>

#include "base/check.h"
#include "base/file.h"
#include "text/detokenizer.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/vocab.h"

namespace sluice::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The metadata of a trusted GGUF file, as far as vocabularies need it. (Outside files are read by room
// `model`.)
class MetadataReader {
 public:
  explicit MetadataReader(std::span<const std::byte> bytes) : in_(bytes) {
    take<uint32_t>();                                     // magic
    SLUICE_CHECK(take<uint32_t>() >= 2, "GGUF version");  // version 1 has other sizes
    take<uint64_t>();                                     // tensors
    const auto count = take<uint64_t>();
    for (uint64_t i = 0; i < count; ++i) {
      const std::string key(string());
      values_[key] = value(take<uint32_t>());
    }
  }

  GgufVocab vocab() const {
    GgufVocab v;
    v.model = text("tokenizer.ggml.model");
    v.pre = text("tokenizer.ggml.pre");
    v.general_name = text("general.name");
    if (const Value* tokens = find("tokenizer.ggml.tokens")) v.tokens = tokens->strings;
    if (const Value* merges = find("tokenizer.ggml.merges")) v.merges = merges->strings;
    if (const Value* scores = find("tokenizer.ggml.scores")) v.scores = scores->floats;
    if (const Value* types = find("tokenizer.ggml.token_type")) v.token_types = types->ints;
    if (const Value* map = find("tokenizer.ggml.precompiled_charsmap")) v.precompiled_charsmap = map->raw;
    v.bos_id = number<uint32_t>("bos_token_id");
    v.eos_id = number<uint32_t>("eos_token_id");
    v.eot_id = number<uint32_t>("eot_token_id");
    v.unk_id = number<uint32_t>("unknown_token_id");
    v.sep_id = number<uint32_t>("seperator_token_id");
    v.pad_id = number<uint32_t>("padding_token_id");
    v.add_bos = number<bool>("add_bos_token");
    v.add_eos = number<bool>("add_eos_token");
    v.add_space_prefix = number<bool>("add_space_prefix");
    v.remove_extra_whitespaces = number<bool>("remove_extra_whitespaces");
    return v;
  }

 private:
  struct Value {
    uint64_t number = 0;
    std::string_view raw;
    std::vector<std::string_view> strings;
    std::vector<float> floats;
    std::vector<int32_t> ints;
  };

  template <typename T>
  T take() {
    T out;
    std::memcpy(&out, in_.data(), sizeof out);
    in_ = in_.subspan(sizeof out);
    return out;
  }
  std::string_view raw(size_t size) {
    const std::string_view out(reinterpret_cast<const char*>(in_.data()), size);
    in_ = in_.subspan(size);
    return out;
  }
  std::string_view string() { return raw(take<uint64_t>()); }

  static size_t size_of(uint32_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kSizes[type];
  }
  Value value(uint32_t type) {
    Value v;
    if (type == 8) {
      v.raw = string();
    } else if (type == 9) {
      const auto element = take<uint32_t>();
      const auto count = take<uint64_t>();
      if (element == 8) {
        for (uint64_t i = 0; i < count; ++i) v.strings.push_back(string());
      } else {
        v.raw = raw(count * size_of(element));
        if (element == 6) v.floats.resize(count);
        if (element == 6) std::memcpy(v.floats.data(), v.raw.data(), v.raw.size());
        if (element == 5) v.ints.resize(count);
        if (element == 5) std::memcpy(v.ints.data(), v.raw.data(), v.raw.size());
      }
    } else {
      const std::string_view bytes = raw(size_of(type));
      std::memcpy(&v.number, bytes.data(), bytes.size());
    }
    return v;
  }

  const Value* find(const std::string& key) const {
    const auto it = values_.find(key);
    return it == values_.end() ? nullptr : &it->second;
  }
  std::string_view text(const std::string& key) const {
    const Value* v = find(key);
    return v ? v->raw : std::string_view();
  }
  template <typename T>
  std::optional<T> number(const std::string& key) const {
    const Value* v = find("tokenizer.ggml." + key);
    return v ? std::optional<T>(static_cast<T>(v->number)) : std::nullopt;
  }

  std::span<const std::byte> in_;
  std::map<std::string, Value> values_;
};

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> out;
  size_t done = 0;
  for (size_t at = text.find(separator); at != std::string::npos; at = text.find(separator, done)) {
    out.push_back(text.substr(done, at - done));
    done = at + separator.size();
  }
  out.push_back(text.substr(done));
  return out;
}

std::vector<int32_t> parse_ids(const std::string& line) {
  std::vector<int32_t> ids;
  for (const std::string& word : split(line, " ")) {
    if (!word.empty()) ids.push_back(std::stoi(word));
  }
  return ids;
}

class GgufVectors : public testing::TestWithParam<const char*> {};

TEST_P(GgufVectors, EncodeAndDecode) {
  const std::string base =
      std::string(SLUICE_SOURCE_DIR) + "/../shared/testdata/tokenizers/ggml-vocab-" + GetParam() + ".gguf";
  if (!is_regular_file(base)) GTEST_SKIP() << "no vocabulary at " << base;
  auto file = MappedFile::open(base);
  ASSERT_TRUE(file.ok());
  auto tokenizer = make_gguf_tokenizer(MetadataReader(file->bytes()).vocab());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  if (!is_regular_file(base + ".inp")) GTEST_SKIP() << GetParam() << " comes without vectors";

  const auto texts = split(*read_text_file(base + ".inp"), "\n__ggml_vocab_test__\n");
  const auto lines = split(*read_text_file(base + ".out"), "\n");
  ASSERT_GE(lines.size(), texts.size() - 1);
  for (size_t i = 0; i + 1 < texts.size(); ++i) {
    SCOPED_TRACE(texts[i]);
    auto ids = tokenizer->encode(texts[i], {.add_special = false});
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, parse_ids(lines[i]));
    if (std::string_view(GetParam()) == "bert-bge") continue;  // lower case and lost spaces do not come back
    EXPECT_EQ(*tokenizer->decode(*ids), texts[i]);
    Detokenizer stream(*tokenizer);
    std::string streamed;
    for (const int32_t id : *ids) streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.flush(), texts[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(LlamaCpp, GgufVectors,
                         testing::Values("bert-bge", "deepseek-coder", "deepseek-llm", "gpt-2", "gpt-neox",
                                         "llama-spm", "mpt", "phi-3", "starcoder"),
                         [](const auto& row) {
                           std::string name = row.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

GgufVocab tiny_llama() {
  GgufVocab v;
  v.model = "llama";
  v.tokens = {"<unk>", "<s>", "</s>", "\xE2\x96\x81", "a", "b", "ab"};
  v.scores = {0, 0, 0, -1, -2, -3, -1};
  v.token_types = {2, 3, 3, 1, 1, 1, 1};
  return v;
}

GgufVocab tiny_gpt2() {
  GgufVocab v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  v.tokens = {"a", "b", "ab", "<|im_end|>"};
  v.token_types = {1, 1, 1, 3};
  v.merges = {"a b"};
  return v;
}

TEST(GgufVocab, SpecialTokensAndDefaults) {
  auto llama = make_gguf_tokenizer(tiny_llama());
  ASSERT_TRUE(llama.ok()) << llama.status().message();
  EXPECT_THAT(*llama->encode("ab"), ElementsAre(1, 3, 6));  // BOS and a space in front are llama's habit
  EXPECT_THAT(*llama->encode("<s>ab", {.parse_special = true}), ElementsAre(1, 1, 3, 6));
  EXPECT_THAT(*llama->encode("c", {.add_special = false}), ElementsAre(3, 0));
  EXPECT_EQ(llama->eos_id(), 2);

  GgufVocab v = tiny_gpt2();
  v.eos_id = 0;
  auto gpt2 = make_gguf_tokenizer(v);
  ASSERT_TRUE(gpt2.ok()) << gpt2.status().message();
  EXPECT_THAT(*gpt2->encode("abab"), ElementsAre(2, 2));
  EXPECT_THAT(gpt2->end_ids(),
              ElementsAre(0, 3));  // <|im_end|> ends a turn although the file does not say so
}

TEST(GgufVocab, RefusesByField) {
  const auto refuses = [](GgufVocab v, const char* message) {
    const auto made = make_gguf_tokenizer(v);
    ASSERT_FALSE(made.ok()) << message;
    EXPECT_THAT(made.status().message(), HasSubstr(message));
  };
  const auto llama = [&](auto change, const char* message) {
    GgufVocab v = tiny_llama();
    change(v);
    refuses(v, message);
  };
  const auto gpt2 = [&](auto change, const char* message) {
    GgufVocab v = tiny_gpt2();
    change(v);
    refuses(v, message);
  };
  llama([](auto& v) { v.model = "none"; }, "no tokenizer");
  llama([](auto& v) { v.model = "rwkv"; }, "\"rwkv\" is not known");
  llama([](auto& v) { v.tokens.clear(); }, "tokens is empty");
  llama([](auto& v) { v.scores.pop_back(); }, "scores has 6 entries");
  llama([](auto& v) { v.token_types.push_back(1); }, "token_type has 8 entries");
  llama([](auto& v) { v.scores[4] = std::numeric_limits<float>::quiet_NaN(); }, "scores[4] is not finite");
  llama([](auto& v) { v.token_types[4] = 7; }, "token_type[4] is 7");
  llama([](auto& v) { v.token_types[4] = -1; }, "token_type[4] is -1");
  llama([](auto& v) { v.tokens[5] = "a"; }, "token \"a\" has ids 4 and 5");
  llama([](auto& v) { v.eos_id = 7; }, "eos_token_id is 7");
  llama([](auto& v) { v.bos_id = 0xFFFFFFFF; }, "bos_token_id is 4294967295");
  gpt2([](auto& v) { v.pre = "klingon"; }, "\"klingon\" is not known");
  gpt2([](auto& v) { v.merges.clear(); }, "merges is missing");
  gpt2([](auto& v) { v.merges = {"a c"}; }, "\"c\", which the vocabulary lacks");
  gpt2([](auto& v) { v.merges = {"b a"}; }, "\"ba\", which the vocabulary lacks");
  gpt2([](auto& v) { v.merges = {"ab"}; }, "not two tokens");
  gpt2([](auto& v) { v.add_bos = true; }, "bos_token_id is missing");
  const std::string huge(Vocab::kMaxTokenBytes + 1, 'x');
  gpt2([&](auto& v) { v.tokens[0] = huge; }, "the limit is");
  GgufVocab t5 = tiny_llama();
  t5.model = "t5";
  for (const std::string_view map : {std::string_view("\x01"), std::string_view("\xFF\xFF\xFF\xFF")}) {
    t5.precompiled_charsmap = map;
    refuses(t5, "precompiled_charsmap");
  }
}

}  // namespace
}  // namespace sluice::text
