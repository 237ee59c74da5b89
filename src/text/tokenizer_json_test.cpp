#include "text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <random>

#include "base/file.h"
#include "text/tiny_tokenizers.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TokenizerJson, ByteLevelTextsComeBack) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  EXPECT_EQ(tokenizer.encode("hello wo")->size(), 2u);
  std::mt19937 rng(1);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (size_t i = rng() % 12; i > 0; --i) {
      constexpr char32_t kPool[] = {'h',  'e',    'l',     'o',    ' ', '\n', 0,
                                    0xE9, 0x4F60, 0x1F999, 0xFFFD, '<', 's',  '>'};
      append_utf8(text, kPool[rng() % std::size(kPool)]);
    }
    if (rng() % 4 == 0) text += "<|user|><tool>";
    const bool parse = rng() % 2 == 0;
    const auto ids = *tokenizer.encode(text, {.parse_special = parse});
    ASSERT_EQ(*tokenizer.decode(ids), text);
  }
}

TEST(TokenizerJson, BrokenBytesAreReadAsReplacementCharacters) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  std::mt19937 rng(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text(rng() % 10, '\0');
    for (char& c : text) c = static_cast<char>(rng());
    ASSERT_EQ(*tokenizer.decode(*tokenizer.encode(text)), make_valid_utf8(text));
  }
}

TEST(TokenizerJson, WordsOfTheUserAreNeverSpecial) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  const int32_t start = *tokenizer.token_to_id("<s>");
  // A broken byte in front moves the range: three bytes take its place.
  const std::string text = "\xFF<s>a<s>b</s>";
  const TextRange user[] = {{4, 9}};
  const auto ids = *tokenizer.encode(text, {.parse_special = true, .literal = user});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), start), 1);
  EXPECT_EQ(ids.back(), *tokenizer.token_to_id("</s>"));
  EXPECT_EQ(*tokenizer.decode(ids), "�<s>a<s>b</s>");
}

TEST(TokenizerJson, LongRunsAreLinear) {
  const Tokenizer tokenizer = tiny::make(tiny::byte_level_json());
  for (const char c : {'a', ' ', '\n', '7'}) {
    const std::string text(4 << 20, c);
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*tokenizer.decode(*ids), text);
    // A second or two; a quadratic step would take hours.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(120));
  }
}

TEST(TokenizerJson, ConfigurationSaysWhatGoesAround) {
  Json json = tiny::byte_level_json();
  const std::string names = R"("bos_token": "<s>", "eos_token": {"content": "</s>"})";
  const Tokenizer plain = tiny::make(json, "{" + names + "}");
  EXPECT_EQ(plain.bos_id(), plain.token_to_id("<s>"));
  EXPECT_THAT(plain.end_ids(), ElementsAre(*plain.token_to_id("</s>")));
  EXPECT_THAT(*plain.encode("a"), ElementsAre('a'));
  const Tokenizer both = tiny::make(json, "{" + names + R"(, "add_bos_token": true, "add_eos_token": true})");
  EXPECT_THAT(*both.encode("a"), ElementsAre(*both.bos_id(), 'a', *both.eos_id()));

  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", Json::array({{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
      {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", Json::array({*plain.bos_id()})}}}}}};
  EXPECT_THAT(*tiny::make(json).encode("a"), ElementsAre(*plain.bos_id(), 'a'));
  EXPECT_THAT(*tiny::make(json, "{" + names + R"(, "add_bos_token": false})").encode("a"), ElementsAre('a'));
  EXPECT_THAT(
      *tiny::make(json, "{" + names + R"(, "add_bos_token": true})").encode("a", {.add_special = false}),
      ElementsAre('a'));
}

TEST(TokenizerJson, GapsBehindTheModelAreUnused) {
  Json json = tiny::byte_level_json();
  json["added_tokens"].push_back({{"id", 500}, {"content", "<far>"}, {"special", true}});
  const Tokenizer tokenizer = tiny::make(json);
  EXPECT_EQ(tokenizer.vocab_size(), 501);
  EXPECT_EQ(*tokenizer.decode(std::vector<int32_t>{'a', 400, 'b'}), "ab");
  EXPECT_EQ(tokenizer.token_bytes(400), "");
  EXPECT_FALSE(tokenizer.decode(std::vector<int32_t>{501}).ok());
  EXPECT_FALSE(tokenizer.decode(std::vector<int32_t>{-1}).ok());
}

struct Bad {
  const char* name;
  std::function<void(Json&)> change;
  const char* message;
};

Json sequence_of(int depth) {
  Json json = {{"type", "Fuse"}};
  for (int i = 0; i < depth; ++i) json = {{"type", "Sequence"}, {"decoders", Json::array({json})}};
  return json;
}

Json split(const char* kind, const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{kind, pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json unigram(Json vocab) { return {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", std::move(vocab)}}; }

const std::vector<Bad>& bad_inputs() {
  static const std::vector<Bad> kBad = {
      {"normalizer",
       [](Json& j) {
         j["normalizer"] = {{"type", "Klingon"}};
       },
       "normalizer.type \"Klingon\""},
      {"pre_tokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "UnicodeScripts"}};
       },
       "\"UnicodeScripts\""},
      {"nested",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({{{"type", "X"}}})}};
       },
       "pretokenizers[0].type \"X\""},
      {"post_processor",
       [](Json& j) {
         j["post_processor"] = {{"type", "X"}};
       },
       "post_processor.type \"X\""},
      {"decoder",
       [](Json& j) {
         j["decoder"] = {{"type", "CTC"}};
       },
       "decoder.type \"CTC\""},
      {"model", [](Json& j) { j["model"]["type"] = "X"; }, "model.type \"X\""},
      {"no type", [](Json& j) { j["decoder"] = Json::object(); }, "decoder.type is missing"},
      {"no model", [](Json& j) { j.erase("model"); }, "model is missing"},
      {"merge of one", [](Json& j) { j["model"]["merges"].push_back("a"); }, "is not two tokens"},
      {"merge of three", [](Json& j) { j["model"]["merges"].push_back("a a a"); }, "is not two tokens"},
      {"merge triple",
       [](Json& j) {
         j["model"]["merges"].push_back(Json::array({"a", "a", "a"}));
       },
       "pair of strings"},
      {"merge unknown", [](Json& j) { j["model"]["merges"].push_back("a b"); },
       "\"ab\", which the vocabulary lacks"},
      {"duplicate id", [](Json& j) { j["model"]["vocab"]["zz"] = 5; }, "id 5 is given to"},
      {"gap",
       [](Json& j) {
         j["model"]["vocab"].erase("h");
         j["model"]["merges"] = Json::array();
       },
       "none with id 104"},
      {"negative id", [](Json& j) { j["model"]["vocab"]["zz"] = -1; }, "\"zz\" is -1"},
      {"huge id", [](Json& j) { j["model"]["vocab"]["zz"] = int64_t{1} << 31; }, "outside [0,"},
      {"huger id", [](Json& j) { j["model"]["vocab"]["zz"] = UINT64_MAX; }, "outside [0,"},
      {"float id", [](Json& j) { j["model"]["vocab"]["zz"] = 1.5; }, "must be an integer"},
      {"colliding added token", [](Json& j) { j["added_tokens"][0]["id"] = 5; }, "id 5 is given to"},
      {"added token twice", [](Json& j) { j["added_tokens"][1]["id"] = j["added_tokens"][0]["id"]; },
       "given before"},
      {"empty added token", [](Json& j) { j["added_tokens"][0]["content"] = ""; }, "content is empty"},
      {"far added token", [](Json& j) { j["added_tokens"][0]["id"] = 1 << 23; }, "far beyond"},
      {"bad regex", [](Json& j) { j["pre_tokenizer"] = split("Regex", "(a"); }, "pre_tokenizer.pattern"},
      {"look-behind", [](Json& j) { j["pre_tokenizer"] = split("Regex", "(?<=a+)b"); }, "lookbehind"},
      {"huge regex", [](Json& j) { j["pre_tokenizer"] = split("Regex", std::string(1 << 20, 'a')); },
       "the limit is"},
      {"empty replace",
       [](Json& j) {
         j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", ""}}}, {"content", "x"}};
       },
       "pattern is empty"},
      {"behavior",
       [](Json& j) {
         j["pre_tokenizer"] = split("Regex", "a");
         j["pre_tokenizer"]["behavior"] = "X";
       },
       "\"X\""},
      {"empty replace",
       [](Json& j) {
         j["decoder"] = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", "x"}};
       },
       "pattern is empty"},
      {"deep sequence", [](Json& j) { j["decoder"] = sequence_of(100); }, "deep"},
      {"unigram empty", [](Json& j) { j["model"] = unigram(Json::array()); }, "vocab is empty"},
      {"unigram unk",
       [](Json& j) {
         j["model"] = unigram(Json::array({Json::array({"a", 0.0})}));
         j["model"]["unk_id"] = 1;
       },
       "unk_id is 1"},
      {"unigram score",
       [](Json& j) {
         j["model"] = unigram(Json::array({Json::array({"a", nullptr})}));
       },
       "its score"},
      {"unigram bytes",
       [](Json& j) {
         j["model"] = unigram(Json::array({Json::array({"a", 0.0})}));
         j["model"]["byte_fallback"] = true;
       },
       "<0x00>"},
      {"charsmap base64",
       [](Json& j) {
         j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "!!"}};
       },
       "base64"},
      {"charsmap short",
       [](Json& j) {
         j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}};
       },
       "states a trie"},
      {"unk token", [](Json& j) { j["model"]["unk_token"] = "<none>"; }, "not in the vocabulary"},
      {"template id",
       [](Json& j) {
         j["post_processor"] = {{"type", "BertProcessing"},
                                {"sep", Json::array({"x", 1 << 30})},
                                {"cls", Json::array({"x", 1})}};
       },
       "id in the vocabulary"},
      {"strip",
       [](Json& j) {
         j["decoder"] = {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}};
       },
       "one character"},
      {"wrong type", [](Json& j) { j["model"]["byte_fallback"] = "yes"; }, "must be true or false"},
  };
  return kBad;
}

TEST(TokenizerJson, RefusesBadInputByField) {
  for (const Bad& bad : bad_inputs()) {
    SCOPED_TRACE(bad.name);
    Json json = tiny::byte_level_json();
    if (std::string_view(bad.name).starts_with("unigram")) json["added_tokens"] = Json::array();
    bad.change(json);
    const std::string text = dump_json(json);
    const auto made = make_json_tokenizer({.tokenizer = text});
    ASSERT_FALSE(made.ok());
    EXPECT_THAT(made.status().message(), HasSubstr(bad.message));
    EXPECT_THAT(made.status().message(), HasSubstr("tokenizer.json"));
  }
}

TEST(TokenizerJson, EveryTruncationIsRefused) {
  Json json = tiny::byte_fallback_json();
  const std::string text = dump_json(json);
  for (size_t size = 0; size < text.size(); size += 37) {
    EXPECT_FALSE(make_json_tokenizer({.tokenizer = std::string_view(text).substr(0, size)}).ok());
  }
}

TEST(TokenizerJson, ACatastrophicPatternEndsInAnError) {
  Json json = tiny::byte_level_json();
  json["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers", Json::array({split("Regex", "(a|a)*[bc]"),
                                                          {{"type", "ByteLevel"}, {"use_regex", false}}})}};
  const Tokenizer tokenizer = tiny::make(json);
  const auto ids = tokenizer.encode(std::string(1000, 'a'));
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.status().code(), StatusCode::resource_exhausted);
}

TEST(LoadTokenizer, ChoosesTheFileAndRefusesOthers) {
  const std::string dir = testing::TempDir() + "sluice_load_tokenizer";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  const auto message = [&] { return load_tokenizer(dir).status().message(); };
  EXPECT_THAT(message(), HasSubstr("no tokenizer.json"));
  ASSERT_TRUE(write_file_atomically(dir + "/tekken.json", "{}").ok());
  EXPECT_THAT(message(), HasSubstr("tekken.json is not read"));
  ASSERT_TRUE(write_file_atomically(dir + "/tokenizer.model", tiny::sentencepiece_model()).ok());
  EXPECT_EQ(load_tokenizer(dir)->vocab_size(), 8);
  ASSERT_TRUE(write_file_atomically(dir + "/tokenizer.json", dump_json(tiny::byte_level_json())).ok());
  EXPECT_GT(load_tokenizer(dir)->vocab_size(), 256);
  ASSERT_TRUE(write_file_atomically(dir + "/tokenizer_config.json", R"({"add_bos_token": 1})").ok());
  EXPECT_THAT(message(), HasSubstr("tokenizer_config.json.add_bos_token"));
  // A link to nowhere is not passed over.
  std::filesystem::remove(dir + "/tokenizer_config.json");
  std::filesystem::create_symlink("nowhere", dir + "/tokenizer_config.json");
  EXPECT_THAT(message(), HasSubstr("tokenizer_config.json: no such file"));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace sluice::text
