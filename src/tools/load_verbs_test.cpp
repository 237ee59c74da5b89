// bench serve and monitor as users run them: the binary, against a server that computes nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "base/file.h"
#include "serve/testing/tiny_server.h"
#include "tools/server_figures.h"
#include "tools/testing/binary.h"

namespace sluice::tools {
namespace {

using serve::testing::TinyServer;
using serve::testing::TinyServerOptions;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Process;
using testing::run_binary;
using testing::ScratchDir;

std::string url_of(const TinyServer& server) { return fmt::format("http://127.0.0.1:{}", server.port()); }

TinyServer& server() {
  static TinyServer shared;
  return shared;
}

// `arguments` of bench serve against `to`, with the fields of its JSON.
Json bench(const TinyServer& to, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"bench", "serve", "--url", url_of(to), "--json"});
  const Outcome ran = run_binary(arguments);
  EXPECT_EQ(ran.code, 0) << ran.err;
  auto json = parse_json(ran.out, "output");
  EXPECT_TRUE(json.ok()) << json.status().message() << "\n" << ran.out;
  return json.ok() ? *json : Json::object();
}

TEST(BenchServe, MeasuresCompletionsAndChats) {
  for (const char* backend : {"openai", "openai-chat"}) {
    const Json json = bench(server(), {"--backend", backend, "--num_prompts", "30", "--max_concurrency", "5",
                                       "--random_input_len", "6", "--random_output_len", "9", "--goodput",
                                       "ttft:60000,e2el:60000", "--metric_percentiles", "50,99"});
    EXPECT_EQ(json["model"], "tiny");
    EXPECT_EQ(json["completed"], 30);
    EXPECT_EQ(json["failed"], 0);
    EXPECT_EQ(json["total_output_tokens"], 30 * 9);
    EXPECT_GT(json["total_input_tokens"].get<int>(), 30 * 6);
    EXPECT_LE(json["max_concurrent_requests"].get<int>(), 5);
    EXPECT_EQ(json["request_goodput"], json["request_throughput"]);
    EXPECT_GT(json["p50_ttft_ms"].get<double>(), 0);
    EXPECT_LE(json["p50_ttft_ms"].get<double>(), json["p99_e2el_ms"].get<double>());
  }
}

TEST(BenchServe, SendsADatasetAtItsRate) {
  const ScratchDir files;
  ASSERT_TRUE(write_file_atomically(files / "d.jsonl",
                                    "{\"prompt\":\"a b\",\"output_tokens\":3}\n{\"prompt\":\"c\"}\n")
                  .ok());
  const std::string page = files / "r.html", result = files / "r.json";
  const Json json =
      bench(server(), {"--dataset", files / "d.jsonl", "--num_prompts", "4", "--random-output-len=5",
                       "--request-rate", "20", "--burstiness", "1000", "--html", page, "--result_filename",
                       result, "--extra_body", R"({"temperature":0})"});
  EXPECT_EQ(json["total_output_tokens"], 3 + 5 + 3 + 5);
  EXPECT_GE(json["duration"].get<double>(), 0.12)
      << "the last of four is due three twentieths after the first";
  EXPECT_EQ(*read_json_file(result), json);
  EXPECT_THAT(*read_text_file(page), HasSubstr("<svg"));
}

TEST(BenchServe, CountsRefusalsByTheirKind) {
  const Outcome ran = run_binary(
      {"bench", "serve", "--url", url_of(server()), "--num_prompts", "3", "--extra_body", R"({"top_p":7})"});
  EXPECT_EQ(ran.code, 1) << "nothing was answered";
  EXPECT_THAT(ran.out, HasSubstr("failed: 3 times HTTP 400: top_p"));
}

TEST(BenchServe, PrintsWhatThereIsWhenInterrupted) {
  TinyServerOptions slow;
  slow.core.null_step = 0.01;
  TinyServer to(slow);
  Process run({"bench", "serve", "--url", url_of(to), "--json", "--num_prompts", "100000",
               "--max_concurrency", "2", "--random_input_len", "3", "--random_output_len", "8",
               "--ignore_eos"});
  for (int i = 0; i < 3000 && to.app().engine()->stats().generation_tokens < 40; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ::kill(run.pid(), SIGINT);
  const Outcome ran = run.wait();
  EXPECT_EQ(ran.code, 128 + SIGINT);
  const auto json = parse_json(ran.out, "output");
  ASSERT_TRUE(json.ok()) << ran.out << ran.err;
  EXPECT_GT((*json)["completed"].get<int>(), 0);
  EXPECT_LE((*json)["unfinished"].get<int>(), 2);
  EXPECT_EQ((*json)["failed"], 0);
  EXPECT_TRUE(to.becomes_idle()) << "the server sees that its client has gone";
}

TEST(BenchServe, RefusesWhatItCannotDo) {
  const auto refused = [](std::vector<std::string> arguments, const char* why) {
    arguments.insert(arguments.begin(), {"bench", "serve"});
    const Outcome ran = run_binary(arguments);
    EXPECT_EQ(ran.code, 2) << ran.out;
    EXPECT_THAT(ran.err, HasSubstr(why));
  };
  refused({"--url", "https://x"}, "TLS is not spoken here");
  refused({"--url", "http://127.0.0.1:1"}, "cannot connect to 127.0.0.1:1");
  refused({"--goodput", "ttft"}, "give milliseconds, like ttft:500");
  refused({"--goodput", "speed:3"}, "speed is not one of ttft, tpot, itl, e2el");
  refused({"--percentile_metrics", "ttft,x"}, "--percentile_metrics: x");
  refused({"--extra_body", "[1]"}, "--extra_body: give a JSON object");
  refused({"--header", "nothing"}, "NAME=VALUE");
  refused({"--dataset", "/nowhere.jsonl"}, "/nowhere.jsonl");
  refused({"--backend", "tgi"}, "--backend");
  EXPECT_THAT(run_binary({"bench", "serve", "--help"}).out, HasSubstr("--random_input_len"));
  EXPECT_THAT(run_binary({"help", "bench", "serve"}).out, HasSubstr("--random_input_len"));
  EXPECT_THAT(run_binary({"bench", "--help"}).out, HasSubstr("--context")) << "bench alone is another verb";
}

TEST(Monitor, ShowsAServerWithAndWithoutGpus) {
  bench(server(), {"--num_prompts", "2", "--random_input_len", "3", "--random_output_len", "5"});
  const Outcome ran = run_binary({"monitor", "--json", "--url", url_of(server())});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto json = parse_json(ran.out, "output");
  ASSERT_TRUE(json.ok()) << ran.out;
  EXPECT_TRUE((*json)["gpus"].is_array());
  EXPECT_GE((*json)["server"]["generation_tokens"].get<double>(), 10);
  EXPECT_EQ((*json)["server"]["waiting"], 0);
}

TEST(Monitor, SaysInOneSentenceThatThereIsNothingToSee) {
  const Outcome ran = run_binary({"monitor"});
  if (ran.code == 0) GTEST_SKIP() << "this machine has a GPU";
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, HasSubstr("NVML"));
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
}

TEST(ServerFigures, AreReadUnderEitherName) {
  const auto vllm = read_figures(
      "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{a=\"b c\"} 3\n"
      "vllm:num_requests_waiting{} 2\nvllm:kv_cache_usage_perc 0.25\nvllm:generation_tokens_total{x=\"1\"} "
      "1e3\n");
  ASSERT_TRUE(vllm.ok());
  EXPECT_EQ(vllm->running, 3);
  EXPECT_EQ(vllm->waiting, 2);
  EXPECT_EQ(vllm->kv_usage, 0.25);
  EXPECT_EQ(vllm->generation_tokens, 1000);
  EXPECT_EQ(read_figures("trtllm_num_requests_running_more 9\ntrtllm_num_requests_running 4\n")->running, 4);
  EXPECT_FALSE(read_figures("go_gc_seconds 1\n").ok());
}

}  // namespace
}  // namespace sluice::tools
