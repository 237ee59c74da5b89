// Tokenizers of every kind against Hugging Face's `tokenizers` and Google's `sentencepiece`: a script writes
// tokenizers and what the packages make of random texts, this compares. Skipped where Python or the package
// is missing; SLUICE_PYTHON names the interpreter (default python3), SLUICE_REFERENCE_SEED other random
// texts.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "base/testing/python.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace sluice::text {
namespace {

std::string stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, {.skip_special = skip_special});
  std::string out;
  for (const int32_t id : ids) out += detokenizer.push(id);
  return out + detokenizer.flush();
}

void compare(const std::string& dir) {
  SCOPED_TRACE(dir);
  auto tokenizer = load_tokenizer(dir);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  auto cases = read_json_file(dir + "/cases.json");
  ASSERT_TRUE(cases.ok()) << cases.status().message();
  size_t failures = 0;
  for (const Json& c : (*cases)["encode"]) {
    const auto text = c["text"].get<std::string>();
    auto ids = tokenizer->encode(
        text, {.add_special = c["add_special"].get<bool>(), .parse_special = c["parse_special"].get<bool>()});
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    if (*ids == c["ids"].get<std::vector<int32_t>>()) continue;
    ADD_FAILURE() << "encode " << dump_json(c) << "\ngives " << dump_json(Json(*ids));
    if (++failures == 3) return;
  }
  for (const Json& c : (*cases)["decode"]) {
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    const bool skip_special = c["skip_special"].get<bool>();
    auto text = tokenizer->decode(ids, skip_special);
    ASSERT_TRUE(text.ok()) << text.status().message();
    const auto expected = c["text"].get<std::string>();
    // A stream keeps the whole characters of a run of byte tokens that breaks later (detokenizer.h).
    const bool broken = expected.find("\xEF\xBF\xBD") != std::string::npos;
    const std::string streamed = broken ? expected : stream(*tokenizer, ids, skip_special);
    if (*text == expected && streamed == expected) continue;
    ADD_FAILURE() << "decode " << dump_json(c) << "\ngives " << dump_json(Json(*text)) << "\nand as a stream "
                  << dump_json(Json(streamed));
    if (++failures == 3) return;
  }
}

TEST(TokenizersReference, RandomTextsAgree) {
  if (const std::string why = test_python_lacks("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const std::string out = testing::TempDir() + "sluice_tokenizers_reference";
  const char* seed = std::getenv("SLUICE_REFERENCE_SEED");
  const std::string command = test_python() + " " + SLUICE_SOURCE_DIR + "/tests/tokenizers_reference.py " +
                              out + " " + (seed != nullptr ? seed : "1") + " >/dev/null";
  std::filesystem::remove_all(out);
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(out)) {
    compare(entry.path().string());
    ++compared;
  }
  EXPECT_GE(compared, 70u);
  std::filesystem::remove_all(out);
}

}  // namespace
}  // namespace sluice::text
