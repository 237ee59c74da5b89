// How the command line behaves: help, spelling, exit codes, and who gets which output.
#include "tools/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "serve/testing/tiny_server.h"
#include "tools/options.h"
#include "tools/testing/binary.h"

namespace sluice::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::run_binary;
using testing::ScratchDir;

TEST(Cli, HelpAndVersionGoToStdout) {
  for (const auto& words : std::vector<std::vector<std::string>>{{"--help"}, {"help"}, {"-h"}}) {
    const Outcome o = run_binary(words);
    EXPECT_EQ(o.code, 0);
    EXPECT_THAT(o.out, HasSubstr("optimize"));
    EXPECT_EQ(o.err, "");
  }
  EXPECT_THAT(run_binary({"--version"}).out, ::testing::MatchesRegex("sluice [0-9.]+\n"));
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"optimize", "--help"}, {"help", "optimize"}}) {
    const Outcome o = run_binary(words);
    EXPECT_EQ(o.code, 0);
    for (const char* option :
         {"--model_dir", "--output_dir", "--precision_config", "--batch_size", "--threads", "--json"})
      EXPECT_THAT(o.out, HasSubstr(option));
  }
}

TEST(Cli, BadUsageIsOneLineAndExitCode2) {
  const struct {
    std::vector<std::string> words;
    const char* message;
  } kCases[] = {
      {{"optimise"}, "unknown verb \"optimise\"; did you mean optimize?"},
      {{"xyzzy"}, "unknown verb \"xyzzy\"; sluice --help"},
      {{"optimize", "--modeldir", "x", "--output_dir", "y"},
       "unknown option --modeldir; did you mean --model_dir?"},
      {{"optimize", "--model-dri=x"}, "did you mean --model_dir?"},
      {{"optimize", "--output_dir", "y"}, "--model_dir is required"},
      {{"optimize", "--model_dir"}, "--model_dir"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "stray"}, "unexpected argument \"stray\""},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--threads", "many"}, "--threads"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--max_seq_len", "0"}, "--max_seq_len"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--activations", "int3"}, "--activations"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--precision", "fp7"}, "--precision"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--precision_config", "/nowhere"}, "/nowhere"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--kv_dtype", "q2"}, "--kv_dtype q2"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--device", "tpu"}, "--device tpu"},
      {{"optimize", "--model_dir", "x", "--output_dir", "y", "--isa", "sse9"}, "sse9"},
      {{"optimize", "--model_dir", "/nowhere", "--output_dir", "y"}, "/nowhere"},
      {{"run", "x", "--seed", "-1"}, "--seed: \"-1\" is not a number from 0"},
      {{"run", "x", "--seed", "18446744073709551616"}, "--seed: \"18446744073709551616\" is not a number"},
      {{"tokenize"}, "MODEL is required"},
      {{"tokenize", "/nowhere"}, "/nowhere: no such file"},
      {{"tokenize", "/dev/zero"}, "not a regular file"},
      {{"tokenize", "."}, "without a tokenizer"},
      {{"render", "--messages", "/nowhere"}, "/nowhere: no such file"},
  };
  for (const auto& c : kCases) {
    const Outcome o = run_binary(c.words);
    EXPECT_EQ(o.code, 2) << c.message;
    EXPECT_EQ(o.out, "") << c.message;
    EXPECT_TRUE(o.err.starts_with("error: ")) << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
    EXPECT_THAT(o.err, HasSubstr(c.message));
  }
  const Outcome nothing = run_binary({});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("usage"));
}

TEST(Cli, ResultsThatCannotBeWrittenAreAFailure) {
  const Outcome full =
      run_binary({"--help"}, {}, [] { ::dup2(::open("/dev/full", O_WRONLY), STDOUT_FILENO); });
  EXPECT_EQ(full.code, 2);
  EXPECT_THAT(full.err, HasSubstr("could not be written"));
  const Outcome closed = run_binary({"--help"}, {}, [] {
    int ends[2];
    if (::pipe(ends) != 0) ::_exit(1);
    ::close(ends[0]);
    ::dup2(ends[1], STDOUT_FILENO);
  });
  EXPECT_EQ(closed.signal, 0);
  EXPECT_EQ(closed.code, 2);
}

TEST(Cli, DashesAndUnderscoresAreOneInNamesAndKeptInValues) {
  CLI::App app;
  std::string text;
  bool flag = false;
  app.add_option("-p,--prompt_text", text);
  app.add_flag("--some_flag", flag);
  EXPECT_THAT(normalize_arguments(app, {"--prompt-text", "--a-b", "--some-flag", "x-y", "--prompt-text=c-d",
                                        "-p", "--e-f", "--", "--g-h"}),
              ElementsAre("--prompt_text", "--a-b", "--some_flag", "x-y", "--prompt_text=c-d", "-p", "--e-f",
                          "--", "--g-h"));
}

TEST(Options, IdsAreReadStrictly) {
  EXPECT_THAT(*parse_ids("1,2, 3", "--ids"), ElementsAre(1, 2, 3));
  EXPECT_THAT(*parse_ids(" [4] ", "--ids"), ElementsAre(4));
  EXPECT_THAT(*parse_ids("[]", "--ids"), ElementsAre());
  for (const char* bad : {"1,", ",1", "1 2", "-1", "1.5", "x", "4294967296", "[1", "1,,2"}) {
    const Status status = parse_ids(bad, "--ids").status();
    EXPECT_THAT(status.message(), HasSubstr("--ids")) << bad;
  }
}

TEST(Render, TemplatesAndMessages) {
  ScratchDir dir;
  std::ofstream(dir / "t.jinja")
      << "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
  std::ofstream(dir / "m.json") << R"({"messages": [{"role": "user", "content": "hi"}], "bos_token": "<s>"})";
  Outcome o = run_binary({"render", "--template", dir / "t.jinja", "--messages", dir / "m.json"});
  EXPECT_EQ(o.err, "");
  EXPECT_EQ(o.out, "<s><user>hi");
  o = run_binary({"render", "--template", dir / "t.jinja", "--messages", "-", "--json"},
                 R"([{"role": "user", "content": "hi"}])");
  const auto json = parse_json(o.out, "stdout");
  ASSERT_TRUE(json.ok()) << o.err;
  EXPECT_EQ((*json)["text"], "<user>hi");
  EXPECT_EQ(dump_json((*json)["from_input"].back()), "[6,8]");

  std::ofstream(dir / "bad.jinja") << "\n{% if %}";
  std::ofstream(dir / "raise.jinja") << "{{ raise_exception('no system role') }}";
  o = run_binary({"render", "--template", dir / "bad.jinja", "--messages", dir / "m.json"});
  EXPECT_EQ(o.code, 2);
  EXPECT_THAT(o.err, HasSubstr("line 2"));
  o = run_binary({"render", "--template", dir / "raise.jinja", "--messages", dir / "m.json"});
  EXPECT_EQ(o.code, 2);
  EXPECT_THAT(o.err, HasSubstr("no system role"));
}

TEST(Cli, TextsThatAreNotUtf8AreRefused) {
  ScratchDir dir;
  const std::string& model = serve::testing::tiny_model(256);
  std::ofstream(dir / "bad") << "he\xed\xa0\x80";
  const struct {
    std::vector<std::string> words;
    const char* input;
    std::string message;
  } kCases[] = {
      {{"tokenize", model}, "abc\xff", "stdin: not valid UTF-8 at byte 3 (0xff)"},
      {{"run", model}, "a\xc3", "stdin: not valid UTF-8 at byte 1 (0xc3)"},
      {{"run", model, "--prompt", "\x80"}, "", "--prompt: not valid UTF-8 at byte 0"},
      {{"run", model, "--prompt_file", dir / "bad"}, "", dir / "bad: not valid UTF-8 at byte 2"},
      {{"eval", model, "--text_file", dir / "bad"}, "", dir / "bad: not valid UTF-8 at byte 2"},
  };
  for (const auto& c : kCases) {
    const Outcome o = run_binary(c.words, c.input);
    EXPECT_EQ(o.code, 2) << c.message;
    EXPECT_EQ(o.out, "") << c.message;
    EXPECT_THAT(o.err, HasSubstr(c.message));
  }
}

TEST(Eval, BadPassagesAreRefusedByFileAndNumber) {
  ScratchDir dir;
  const std::string file = dir / "ids.json";
  for (const auto& [content, message] : {std::pair{"[]", "there are no passages"},
                                         {"[[1, 2], []]", "passage 1 is empty"},
                                         {"[[1], [2, 128]]", "passage 1: prompt token 128"},
                                         {"[[1, -1]]", "passage 0: prompt token -1"},
                                         {"[[1.5]]", "[0]"},
                                         {"[1]", "[0]"},
                                         {"5", "an array of id arrays"},
                                         {R"({"passages": [{}]})", "passages[0] has no \"ids\""}}) {
    std::ofstream(file) << content;
    const Outcome o = run_binary({"eval", serve::testing::tiny_model(256), "--ids_file", file, "--json"});
    EXPECT_EQ(o.code, 2) << content;
    EXPECT_EQ(o.out, "") << content;
    EXPECT_THAT(o.err, HasSubstr(file)) << content;
    EXPECT_THAT(o.err, HasSubstr(message)) << content;
  }
}

TEST(Tokenize, VocabularyOnlyFilesThereAndBack) {
  const std::string vocab =
      std::string(SLUICE_SOURCE_DIR) + "/../shared/testdata/tokenizers/ggml-vocab-gpt-2.gguf";
  if (!std::filesystem::exists(vocab)) GTEST_SKIP() << "needs " << vocab;
  Outcome o = run_binary({"tokenize", vocab}, "Hello world");
  EXPECT_EQ(o.err, "");
  EXPECT_EQ(o.out, "[15496,995]\n");
  o = run_binary({"tokenize", vocab, "--ids", "15496,995"});
  EXPECT_EQ(o.out, "Hello world");
  o = run_binary({"tokenize", vocab, "--json"}, "Hello world");
  EXPECT_EQ(o.out, "{\"ids\":[15496,995],\"tokens\":[\"Hello\",\"Ġworld\"]}\n");
  EXPECT_EQ(run_binary({"tokenize", vocab, "--ids", "99999999"}).code, 2);
  EXPECT_EQ(run_binary({"tokenize", vocab}, "").out, "[]\n");
}

}  // namespace
}  // namespace sluice::tools
