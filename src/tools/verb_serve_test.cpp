// The server as a process: where its options come from, how it ends, and what evaluation tools read from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <deque>
#include <thread>

#include "base/testing/python.h"
#include "serve/testing/client.h"
#include "serve/testing/tiny_server.h"
#include "tools/testing/binary.h"

namespace sluice::tools {
namespace {

using serve::testing::Client;
using serve::testing::post_bytes;
using serve::testing::Response;
using serve::testing::tiny_model;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::Process;
using testing::run_binary;
using testing::ScratchDir;

using Words = std::vector<std::string>;

class ServerProcess {
 public:
  explicit ServerProcess(
      Words arguments, const std::function<void()>& prepare = [] {})
      : process_(with_verb(std::move(arguments)), {}, prepare) {
    const std::string url = "http://127.0.0.1:";
    for (int i = 0; i < 3000 && port_ == 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      const std::string err = process_.err();
      const size_t at = err.find(url);
      if (at != std::string::npos && err.find("/v1", at) != std::string::npos)
        port_ = std::stoi(err.substr(at + url.size()));
    }
    EXPECT_NE(port_, 0) << process_.err();
  }
  ~ServerProcess() {
    if (!waited_) stop(SIGKILL);
  }

  int port() const { return port_; }
  pid_t pid() const { return process_.pid(); }
  Client client() const { return Client(port_); }
  void signal(int number) const { ::kill(process_.pid(), number); }
  Outcome wait() {
    waited_ = true;
    return process_.wait();
  }
  Outcome stop(int number) {
    signal(number);
    return wait();
  }

 private:
  static Words with_verb(Words arguments) {
    arguments.insert(arguments.begin(), "serve");
    return arguments;
  }

  Process process_;
  int port_ = 0;
  bool waited_ = false;
};

std::string model_name(const ServerProcess& server, const std::string& headers) {
  return server.client().get("/v1/models", headers).json()["data"][0]["id"];
}

TEST(Config, TheCommandLineGoesBeforeTheEnvironmentBeforeTheFile) {
  const ScratchDir dir;
  const std::string config = dir / "serve.json";
  std::ofstream(config) << dump_json({{"model", tiny_model(256)},
                                      {"device", "null"},
                                      {"port", 0},
                                      {"served-model-name", "file"},
                                      {"enable_tokenizer_info_endpoint", true},
                                      {"any_model", false},
                                      {"api_key", {"first", "second"}}});
  const std::string key = "X-Api-Key: second\r\n";
  {
    const ServerProcess server({"--config", config});
    EXPECT_EQ(server.client().get("/v1/models").status, 401);
    EXPECT_EQ(model_name(server, key), "file");
    EXPECT_EQ(server.client().get("/tokenizer_info", key).status, 200);
    std::ostringstream line;
    line << std::ifstream(fmt::format("/proc/{}/cmdline", server.pid())).rdbuf();
    EXPECT_THAT(line.str(), Not(HasSubstr("second"))) << "keys of a file do not show among the processes";
  }
  const auto environment = [&] {
    ::setenv("SLUICE_CONFIG", config.c_str(), 1);
    ::setenv("SLUICE_SERVED_MODEL_NAME", "environment", 1);
    ::setenv("SLUICE_API_KEY", "third", 1);
    ::setenv("SLUICE_ANY_MODEL", "", 1);  // as if it were not there
  };
  const ServerProcess server({}, environment);
  EXPECT_EQ(server.client().get("/v1/models", key).status, 401);
  EXPECT_EQ(model_name(server, "X-Api-Key: third\r\n"), "environment");
  EXPECT_EQ(model_name(ServerProcess({"--served_model_name=flag"}, environment), "X-Api-Key: third\r\n"),
            "flag");
}

TEST(Config, AKubernetesServiceOfTheSameNameSetsNothing) {
  const ScratchDir dir;
  const std::string config = dir / "serve.json";
  std::ofstream(config) << dump_json({{"model", tiny_model(256)}, {"device", "null"}, {"port", 0}});
  ServerProcess server({"--config", config}, [] {
    ::setenv("SLUICE_SERVICE_HOST", "10.0.0.1", 1);
    ::setenv("SLUICE_SERVICE_PORT", "8000", 1);
    ::setenv("SLUICE_PORT", "tcp://10.0.0.1:8000", 1);
    ::setenv("SLUICE_PORT_8000_TCP", "tcp://10.0.0.1:8000", 1);
    ::setenv("SLUICE_PORT_8000_TCP_ADDR", "10.0.0.1", 1);
  });
  EXPECT_EQ(server.client().get("/health").status, 200);
  EXPECT_THAT(server.stop(SIGTERM).err, HasSubstr("Kubernetes Service called sluice: it is ignored"));
}

TEST(Config, WhatIsWrongInItIsNamedWithItsPlace) {
  const ScratchDir dir;
  const auto refusal = [&](
                           const std::string& config, const std::function<void()>& prepare = [] {}) {
    std::ofstream(dir / "serve.json") << config;
    const Outcome o = run_binary({"serve", "nowhere", "--config", dir / "serve.json"}, {}, prepare);
    EXPECT_EQ(o.code, 2) << config;
    return o.err;
  };
  EXPECT_THAT(refusal(R"({"prot": 1})"), HasSubstr("\"prot\" is no option; did you mean port?"));
  EXPECT_THAT(refusal(R"({"config": "x"})"), HasSubstr("\"config\" is no option"));
  EXPECT_THAT(refusal(R"({"port": 99999})"), HasSubstr("(set in " + (dir / "serve.json") + ")"));
  EXPECT_THAT(refusal(R"({"port": {}})"), HasSubstr("port: expected a text"));
  EXPECT_THAT(refusal(R"({"port": [1, 2]})"), HasSubstr("--port"));
  EXPECT_THAT(refusal("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(refusal("{}", [] { ::setenv("SLUICE_PORT", "http://10.0.0.1:8000", 1); }),
              HasSubstr("(set in the environment)"));
  EXPECT_THAT(run_binary({"serve", "nowhere", "--config", "/nowhere.json"}).err, HasSubstr("/nowhere.json"));
}

TEST(Config, WhatCannotWorkEndsBeforeTheModelIsRead) {
  const ServerProcess running({tiny_model(256), "--device", "null", "--port", "0"});
  const struct {
    Words words;
    const char* named;
  } kCases[] = {
      {{"--port", std::to_string(running.port())}, "choose another --port"},
      {{"--host", "nowhere"}, "--host nowhere"},
      {{"--api_key_file", "/nowhere"}, "/nowhere"},
      {{"--access_log", "/nowhere/log"}, "--access_log"},
      {{"--prot", "1"}, "did you mean --port?"},
      {{"--tool_call_parser", "xml"}, "--tool_call_parser"},
      {{"--max_body_bytes", "0"}, "--max_body_bytes"},
  };
  for (const auto& c : kCases) {
    Words words = {"serve", "/no/such/model", "--port", "0"};
    if (c.words[0] == "--port") words.resize(2);
    words.insert(words.end(), c.words.begin(), c.words.end());
    const Outcome o = run_binary(words);
    EXPECT_EQ(o.code, 2) << c.named;
    EXPECT_THAT(o.err, HasSubstr(c.named));
    EXPECT_THAT(o.err, Not(HasSubstr("/no/such/model")));
  }
}

// A server whose one stream, which somebody reads, would go on for long.
class Loaded {
 public:
  explicit Loaded(const std::string& shutdown_timeout)
      : server_({tiny_model(1 << 20), "--device", "null", "--port", "0", "--max_model_len", "1000000",
                 "--kv_tokens", "2000000", "--stream_buffer_bytes", "1000000000", "--shutdown_timeout",
                 shutdown_timeout}),
        stream_(server_.client()) {
    stream_.send(post_bytes("/v1/completions", R"({"prompt":"a","max_tokens":900000,"stream":true})"));
    EXPECT_TRUE(stream_.receive_until("data: "));
    reader_ = std::thread([this] { answer_ = stream_.receive(); });
  }
  ~Loaded() {
    if (reader_.joinable()) reader_.join();
  }
  ServerProcess& server() { return server_; }
  const Response& answer() {
    reader_.join();
    return answer_;
  }

 private:
  ServerProcess server_;
  Client stream_;
  Response answer_;
  std::thread reader_;
};

TEST(Signals, TheFirstDrainsWithADeadline) {
  Loaded loaded("0.7");
  loaded.server().signal(SIGTERM);
  // The listener stays, so that probes and clients are told.
  Response refused;
  for (int i = 0; i < 50 && refused.status != 503; ++i)
    refused = loaded.server().client().post("/v1/completions", R"({"prompt":"a","max_tokens":1})");
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("shutting down"));
  const Outcome o = loaded.server().wait();
  EXPECT_EQ(o.code, 0) << o.err;
  const auto events = loaded.answer().events();
  ASSERT_GT(events.size(), 2u);
  EXPECT_THAT(events[events.size() - 2], HasSubstr("shutting down"));
  EXPECT_EQ(events.back(), "[DONE]");
}

TEST(Signals, TheSecondEndsItAtOnce) {
  for (const int number : {SIGTERM, SIGINT}) {
    Loaded loaded("60");
    loaded.server().signal(number);
    while (loaded.server().client().get("/readyz").status == 200) {
    }
    EXPECT_EQ(loaded.server().stop(number).code, 128 + number);
  }
}

TEST(Signals, IdleItEndsAtOnce) {
  ServerProcess server({tiny_model(256), "--device", "null", "--port", "0"});
  EXPECT_EQ(server.stop(SIGTERM).code, 0);
}

TEST(Signals, AProcessThatWasKilledLeavesItsPortFree) {
  std::string port;
  for (int i = 0; i < 2; ++i) {
    ServerProcess server({tiny_model(256), "--device", "null", "--port", i == 0 ? "0" : port});
    port = std::to_string(server.port());
    Client kept = server.client();
    EXPECT_EQ(kept.get("/health").status, 200);
    EXPECT_EQ(server.stop(SIGKILL).signal, SIGKILL);
  }
}

TEST(Signals, AProcessThatWasStoppedGoesOn) {
  Loaded loaded("0.1");
  loaded.server().signal(SIGSTOP);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  loaded.server().signal(SIGCONT);
  EXPECT_EQ(loaded.server().client().get("/livez").status, 200);
  EXPECT_EQ(loaded.server().client().post("/v1/completions", R"({"prompt":"a","max_tokens":1})").status, 200);
  EXPECT_EQ(loaded.server().stop(SIGTERM).code, 0);
  EXPECT_EQ(loaded.answer().events().back(), "[DONE]");
}

// The wall clock jumps by an hour, forth and back: no timer notices.
TEST(Clocks, ThatJumpEndNothing) {
  std::string library;
  for (const char* path : {"/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
                           "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"}) {
    if (std::filesystem::exists(path)) library = path;
  }
  if (library.empty()) GTEST_SKIP() << "needs libfaketime";
  const ScratchDir dir;
  const std::string offset = dir / "offset";
  const auto jump = [&](const char* to) { std::ofstream(offset) << to << "\n"; };
  jump("+0");
  ServerProcess server({tiny_model(256), "--device", "null", "--port", "0", "--null_step_ms", "20"}, [&] {
    ::setenv("LD_PRELOAD", library.c_str(), 1);
    ::setenv("FAKETIME_TIMESTAMP_FILE", offset.c_str(), 1);
    ::setenv("FAKETIME_NO_CACHE", "1", 1);
    ::setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
  });
  const auto created = [&] {
    const Response r = server.client().post("/v1/completions", R"({"prompt":"a","max_tokens":1})");
    EXPECT_EQ(r.status, 200) << r.body;
    return r.json()["created"].get<int64_t>();
  };
  const int64_t before = created();
  Client stream = server.client();
  stream.send(post_bytes("/v1/completions", R"({"prompt":"a","max_tokens":50,"timeout":60,"stream":true})"));
  ASSERT_TRUE(stream.receive_until("data: "));
  jump("+1h");
  EXPECT_GT(created(), before + 3000) << "the clock has jumped";
  jump("-1h");
  EXPECT_LT(created(), before - 3000);
  EXPECT_EQ(server.client().get("/livez").status, 200);
  const auto events = stream.receive().events();
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_THAT(events[events.size() - 2], HasSubstr("\"length\""));
  EXPECT_EQ(server.stop(SIGTERM).code, 0);
}

TEST(Signals, AnEngineWhoseFileIsCutShortEndsItWithASentence) {
  const ScratchDir dir;
  const std::string engine = dir / "engine";
  ASSERT_EQ(run_binary({"optimize", "--model_dir", tiny_model(256), "--output_dir", engine}).code, 0);
  ServerProcess server({engine, "--port", "0"});
  for (const auto& block : std::filesystem::directory_iterator(engine + "/blocks"))
    std::filesystem::resize_file(block.path(), 0);
  EXPECT_EQ(server.client().post("/v1/completions", R"({"prompt":"a","max_tokens":1})").status, 0);
  const Outcome o = server.wait();
  EXPECT_EQ(o.code, 2) << o.signal;
  EXPECT_THAT(o.err, HasSubstr("cut short or could not be read while in use: restore it"));
}

TEST(Descriptors, ThatRunOutAreWaitedForAndNotSpunOn) {
  ServerProcess server({tiny_model(256), "--device", "null", "--port", "0"}, [] {
    const rlimit few{40, 40};
    ::setrlimit(RLIMIT_NOFILE, &few);
  });
  const auto cpu = [&] {
    std::ostringstream text;
    text << std::ifstream(fmt::format("/proc/{}/stat", server.pid())).rdbuf();
    std::istringstream fields(text.str().substr(text.str().rfind(')') + 2));
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    int64_t user = 0, system = 0;
    fields >> user >> system;
    return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  };
  std::deque<Client> idle;
  for (int i = 0; i < 60; ++i) idle.push_back(server.client());  // the last ones wait in the backlog
  EXPECT_EQ(idle.front().get("/health").status, 200);
  const auto open = std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", server.pid()));
  EXPECT_LE(std::distance(begin(open), end(open)), 36) << "some are left to files and drivers";
  const double before = cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(cpu() - before, 0.2);
  for (int i = 0; i < 40; ++i) idle.pop_front();
  EXPECT_EQ(idle.back().get("/health").status, 200) << "they are served when others have gone";
  EXPECT_EQ(server.stop(SIGTERM).code, 0);
}

// What is logged must not go to whoever's connection got the number of a stream that was closed.
TEST(Descriptors, OfClosedStandardStreamsAreNotReused) {
  int port = 0;
  {
    const ServerProcess taken({tiny_model(256), "--device", "null", "--port", "0"});
    port = taken.port();
  }
  const Process server({"serve", tiny_model(256), "--device", "null", "--port", std::to_string(port)}, {},
                       [] {
                         for (const int fd : {0, 1, 2}) ::close(fd);
                       });
  const auto link = [&](int fd) {
    std::error_code none;
    return std::filesystem::read_symlink(fmt::format("/proc/{}/fd/{}", server.pid(), fd), none).string();
  };
  for (int i = 0; i < 3000 && link(STDERR_FILENO) != "/dev/null"; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  for (const int fd : {0, 1, 2}) EXPECT_EQ(link(fd), "/dev/null");
  ::kill(server.pid(), SIGKILL);
}

TEST(Evaluation, LogLikelihoodsAreTheReferences) {
  const std::string fixture = std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures/llama";
  if (!std::filesystem::exists(fixture)) GTEST_SKIP() << "needs the reference fixture " << fixture;
  if (std::system("command -v python3 > /dev/null") != 0) GTEST_SKIP() << "needs python3";
  const ServerProcess server({fixture, "--port", "0", "--activations", "float", "--threads", "1"});
  EXPECT_EQ(std::system(fmt::format("python3 {}/tests/lm_eval_shape.py http://127.0.0.1:{} {}",
                                    SLUICE_SOURCE_DIR, server.port(), fixture)
                            .c_str()),
            0);
}

// lm-eval itself, and its runs of transformers.
TEST(Evaluation, LmEvalGetsWhatTransformersGives) {
  const std::string fixture = std::string(SLUICE_SOURCE_DIR) + "/../shared/fixtures/llama";
  if (!std::filesystem::exists(fixture)) GTEST_SKIP() << "needs the reference fixture " << fixture;
  for (const char* package : {"lm_eval", "torch", "transformers", "aiohttp"}) {
    if (const std::string why = test_python_lacks(package); !why.empty()) GTEST_SKIP() << why;
  }
  const ScratchDir dir;
  const ServerProcess server(
      {fixture, "--port", "0", "--activations", "float", "--threads", "1", "--any_model"});
  EXPECT_EQ(std::system(fmt::format("{} {}/tests/lm_eval_test.py http://127.0.0.1:{} {} {}", test_python(),
                                    SLUICE_SOURCE_DIR, server.port(), fixture, dir.path())
                            .c_str()),
            0);
}

}  // namespace
}  // namespace sluice::tools
