// The interpreter against Python's jinja2: recorded outcomes of many snippets, and, where Python has jinja2,
// real templates and random ones.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "text/chat_template.h"

namespace sluice::text {
namespace {

namespace fs = std::filesystem;

const std::string kFolder = std::string(SLUICE_SOURCE_DIR) + "/tests/jinja";

/// The moment at which reference.py stops the clock.
std::tm fixed_time() {
  std::tm t{};
  t.tm_year = 2026 - 1900;
  t.tm_mon = 6;
  t.tm_mday = 4;
  t.tm_hour = 15;
  t.tm_min = 9;
  t.tm_sec = 26;
  t.tm_wday = 6;
  t.tm_yday = 184;
  return t;
}

Json load(const std::string& path) {
  auto json = read_json_file(path);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? *json : Json::array();
}

/// Both give the same text, or both fail; raise_exception with the same words.
void expect_same_outcome(const std::string& source, const Result<std::string>& got, const Json& expected) {
  if (expected.contains("text")) {
    ASSERT_TRUE(got.ok()) << source << "\nfails: " << got.status().message()
                          << "\njinja2: " << expected["text"];
    EXPECT_EQ(*got, expected["text"].get<std::string>()) << source;
    return;
  }
  const auto error = expected["error"].get<std::string>();
  ASSERT_FALSE(got.ok()) << source << "\ngives: " << *got << "\njinja2: " << error;
  const std::string raised = "TemplateError: ";
  if (error.starts_with(raised)) {
    EXPECT_NE(got.status().message().find(error.substr(raised.size())), std::string::npos)
        << got.status().message();
  }
}

/// One template with several sets of variables, and what jinja2 makes of each.
void expect_same_outcomes(const Json& test_case, const Json& expected) {
  const auto source = test_case["template"].get<std::string>();
  const auto parsed = ChatTemplate::parse(source);
  ASSERT_EQ(test_case["variables"].size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto got =
        parsed.ok() ? parsed->render(test_case["variables"][i], {fixed_time()}) : parsed.status();
    expect_same_outcome(source, got, expected[i]);
  }
}

std::vector<Json> read_snippets() {
  const auto text = read_text_file(kFolder + "/snippets.txt");
  EXPECT_TRUE(text.ok()) << text.status().message();
  const Json variables = load(kFolder + "/variables.json");
  std::vector<Json> out;
  std::istringstream lines(text.ok() ? *text : "");
  const std::string line_break = "\u23ce";
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("# ")) continue;
    for (size_t at = line.find(line_break); at != std::string::npos; at = line.find(line_break, at + 1)) {
      line.replace(at, line_break.size(), "\n");
    }
    out.push_back({{"template", line}, {"variables", Json::array({variables})}});
  }
  return out;
}

TEST(Jinja, RendersSnippetsAsRecordedFromJinja2) {
  const auto snippets = read_snippets();
  const Json expected = load(kFolder + "/expected.json");
  ASSERT_EQ(snippets.size(), expected.size()) << "run tests/jinja/reference.py --record";
  for (size_t i = 0; i < snippets.size(); ++i) expect_same_outcomes(snippets[i], expected[i]);
}

/// Comparisons with a live jinja2. Skipped without one.
class JinjaReference : public testing::Test {
 protected:
  void SetUp() override {
    if (run("python3 -c 'import jinja2; assert jinja2.__version__ >= \"3.1\"' 2>/dev/null") != 0) {
      GTEST_SKIP() << "needs python3 with jinja2 3.1 (pip install jinja2) to compare with";
    }
    char pattern[] = "/tmp/sluice_jinja_XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  static int run(const std::string& command) { return std::system(command.c_str()); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  /// Renders the cases of `file` with both.
  void compare(const std::string& file) const {
    ASSERT_EQ(run("python3 '" + kFolder + "/reference.py' '" + file + "' '" + path("out.json") + "'"), 0);
    const Json cases = load(file);
    const Json expected = load(path("out.json"));
    ASSERT_EQ(cases.size(), expected.size());
    for (size_t i = 0; i < cases.size() && !HasFailure(); ++i) expect_same_outcomes(cases[i], expected[i]);
  }

  std::string folder_;
};

TEST_F(JinjaReference, SnippetsAreStillWhatJinja2Makes) {
  ASSERT_TRUE(write_file_atomically(path("cases.json"), dump_json(Json(read_snippets()))).ok());
  compare(path("cases.json"));
}

TEST_F(JinjaReference, RandomTemplates) {
  for (int seed = 1; seed <= 2; ++seed) {
    ASSERT_EQ(run("python3 '" + kFolder + "/generate.py' " + std::to_string(seed) + " 500 '" + kFolder +
                  "/variables.json' '" + path("cases.json") + "'"),
              0);
    compare(path("cases.json"));
  }
}

TEST_F(JinjaReference, RealTemplatesOnManyConversations) {
  const std::string templates = std::string(SLUICE_SOURCE_DIR) + "/../shared/testdata/chat_templates";
  if (!is_directory(templates)) GTEST_SKIP() << "needs the chat templates of " << templates;
  const Json matrix = load(kFolder + "/conversations.json");
  Json combinations = Json::array();
  for (const Json& messages : matrix["conversations"]) {
    for (Json variables : matrix["extras"]) {
      variables["messages"] = messages;
      combinations.push_back(variables);
      variables["bos_token"] = "<s>";
      variables["eos_token"] = "</s>";
      combinations.push_back(variables);
    }
  }
  Json cases = Json::array();
  for (const auto& file : fs::directory_iterator(templates)) {
    const auto source = read_text_file(file.path().string());
    ASSERT_TRUE(source.ok()) << source.status().message();
    cases.push_back({{"template", *source}, {"variables", combinations}});
  }
  ASSERT_TRUE(write_file_atomically(path("cases.json"), dump_json(cases)).ok());
  compare(path("cases.json"));
}

}  // namespace
}  // namespace sluice::text
