// Requests that are huge, hostile or doomed, and a process that runs out of memory: each gets its answer, and
// nobody else notices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <new>
#include <optional>
#include <thread>

#include "base/memory_reserve.h"
#include "model/testing/poisoned_checkpoint.h"
#include "model/testing/temp_directory.h"
#include "serve/testing/tiny_server.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLUICE_OWN_NEW 0  // the sanitizer's operator new stays
#else
#define SLUICE_OWN_NEW 1
#endif

namespace {
// Allocations of this size and more fail, and one that comes when so many others have been made; not those of
// threads that are spared.
std::atomic<size_t> fail_from{std::numeric_limits<size_t>::max()};
std::atomic<int64_t> until_failure{0};
std::atomic<int64_t> allocated{0};  // and not freed
thread_local bool spared = false;

bool fails(size_t size) { return !spared && (size >= fail_from || --until_failure == 0); }
}  // namespace

#if SLUICE_OWN_NEW
// Not inlined: GCC would see free() where it expects delete.
[[gnu::noinline]] void* operator new(size_t size) {
  while (fails(size)) {
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
  }
  void* memory = std::malloc(std::max<size_t>(size, 1));
  if (memory == nullptr) throw std::bad_alloc();
  ++allocated;
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory != nullptr) --allocated;
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { operator delete(memory); }
#endif

namespace sluice::serve::testing {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMillion = 1'000'000;

TEST(Faults, PromptsOfAMillionBytesAreReadOrRefused) {
  const std::string text(kMillion, 'a');
  const std::string completion = R"({"max_tokens":2,"prompt":")" + text + "\"}";
  const TinyServer small;
  const Response refused = small.post("/v1/completions", completion);
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("1000000"));
  TinyServerOptions o;
  o.max_seq_len = 1 << 20;
  const TinyServer large(o);
  const Response r = large.post("/v1/completions", completion);
  ASSERT_EQ(r.status, 200) << r.body.substr(0, 500);
  EXPECT_EQ(r.json()["usage"]["prompt_tokens"], kMillion);
  const Response chat = large.post(
      "/v1/chat/completions", R"({"max_tokens":2,"messages":[{"role":"user","content":")" + text + "\"}]}");
  EXPECT_EQ(chat.status, 200) << chat.body.substr(0, 500);
}

TEST(Faults, HostileSchemasAndPatternsAreRefusedWithinTheirBudgets) {
  const TinyServer server;
  const std::string schema = R"("response_format":{"type":"json_schema","json_schema":{"schema":)";
  for (const std::string& constraint : std::vector<std::string>{
           R"("guided_regex":"((a{1000}){1000}){1000}")",
           R"("guided_regex":"(((((((((a|b)*)*c)*)*d)*)*e)*)*f){999999}")",
           R"("guided_regex":"(?=a)b")",
           R"("guided_regex":"(a)\\1")",
           R"("guided_regex":")" + std::string(kMillion, '(') + "\"",
           R"("guided_grammar":"root ::= root \"a\"")",
           R"("guided_grammar":"root ::= nothing")",
           schema + R"({"type":"string","pattern":"(x{500}){500}y{999999}"}}})",
           schema + R"({"$ref":"http://127.0.0.1:1/schema.json"}}})",
           schema + R"({"$ref":"#"}}})",
           schema + R"({"type":"integer","minimum":5,"maximum":4}}})",
           schema + R"({"type":"array","uniqueItems":true}}})",
           schema + R"({"type":"string","minLength":1000000000}}})",
       }) {
    const Response r =
        server.post("/v1/chat/completions",
                    R"({"max_tokens":1,"messages":[{"role":"user","content":"a"}],)" + constraint + "}");
    EXPECT_EQ(r.status, 400) << constraint.substr(0, 100) << r.body;
  }
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"a","max_tokens":1})").status, 200);
}

TEST(Faults, AHundredAndTwentyEightChoicesEachEndOnce) {
  const TinyServer server;
  const Response r =
      server.post("/v1/completions", R"({"prompt":"hello","max_tokens":3,"n":128,"stream":true})");
  ASSERT_EQ(r.status, 200) << r.body;
  std::vector<int> ends(128), chunks(128);
  for (const std::string& event : r.events()) {
    if (event == "[DONE]") continue;
    const Json json = *parse_json(event, "event");
    const Json& choice = json["choices"][0];
    const auto index = choice["index"].get<size_t>();
    ++chunks.at(index);
    ends[index] += choice["finish_reason"].is_null() ? 0 : 1;
  }
  EXPECT_EQ(ends, std::vector<int>(128, 1));
  EXPECT_EQ(chunks, std::vector<int>(128, 3));
  EXPECT_TRUE(server.becomes_idle());
}

TEST(Faults, NanLogitsEndTheirRequestAlone) {
  const model::testing::TempDirectory dir;
  ASSERT_TRUE(model::testing::write_poisoned_checkpoint(dir.path()).ok());
  TinyServerOptions o;
  o.null = false;
  o.model = dir.path();
  const TinyServer server(o);
  Client good = server.client(), bad = server.client(), streamed = server.client();
  good.send(post_bytes("/v1/completions",
                       R"({"prompt":[1,2,3],"max_tokens":200,"temperature":0,"ignore_eos":true})"));
  bad.send(post_bytes("/v1/completions", R"({"prompt":[1,77,3],"max_tokens":200})"));
  streamed.send(post_bytes("/v1/completions", R"({"prompt":[1,77,3],"max_tokens":200,"stream":true})"));
  for (Client* client : {&bad, &streamed}) {
    const Response r = client->receive();
    EXPECT_EQ(r.status, 500) << r.body;
    EXPECT_THAT(r.body, HasSubstr("NaN"));
    EXPECT_EQ(r.headers.at("x-should-retry"), "false");
  }
  const Response r = good.receive();
  ASSERT_EQ(r.status, 200) << r.body;
  EXPECT_EQ(r.json()["usage"]["completion_tokens"], 200);
  EXPECT_TRUE(server.becomes_idle());
}

TEST(Faults, WantOfMemoryEndsWhatNeededIt) {
  if (!SLUICE_OWN_NEW) GTEST_SKIP() << "sanitizers bring an operator new of their own";
  const TinyServer server;
  const std::string large =
      post_bytes("/v1/completions", R"({"max_tokens":2,"prompt":")" + std::string(kMillion, 'a') + "\"}");
  spared = true;
  // Where the body is read, on the I/O thread, and where it is worked on.
  for (const size_t limit : {size_t{500'000}, size_t{3'000'000}}) {
    Client stream = server.client(), doomed = server.client();
    // Short enough that what waits for its reader meanwhile stays below the limit.
    stream.send(post_bytes("/v1/completions", R"({"prompt":"a","max_tokens":600,"stream":true})"));
    EXPECT_TRUE(stream.receive_until("data: "));
    fail_from = limit;
    doomed.send(large);
    const int status = doomed.receive().status;
    fail_from = std::numeric_limits<size_t>::max();
    EXPECT_EQ(status, 503);
    fill_memory_reserve();  // as the server does, but at once
    EXPECT_EQ(stream.receive().events().size(), 601u);
    EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"a","max_tokens":3})").status, 200);
  }
  spared = false;
  EXPECT_TRUE(server.becomes_idle());
}

bool lacks_memory(const Response& r) { return r.body.find("out of memory") != std::string::npos; }

// Asks again and again for the same stream, until it is told to stop.
class Bystander {
 public:
  explicit Bystander(const TinyServer& server) {
    thread_ = std::thread([this, &server] {
      spared = true;
      std::string first;
      while (!stop_) {
        const Response r =
            server.post("/v1/completions", R"({"prompt":"who","max_tokens":500,"stream":true})");
        if (r.status == 503) continue;  // the reserve is not whole: nothing is begun
        std::string text;
        for (const std::string& event : r.events()) {
          if (event != "[DONE]")
            text += parse_json(event, "event")->value("/choices/0/text"_json_pointer, "");
        }
        if (first.empty()) first = text;
        if (lacks_memory(r)) {
          ++ended_;
        } else {
          ++(text == first && text.size() == 500 ? undisturbed_ : disturbed_);
        }
      }
    });
  }
  ~Bystander() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int undisturbed() const { return undisturbed_; }
  int disturbed() const { return disturbed_; }
  /// Streams that wanted for memory themselves.
  int ended() const { return ended_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> undisturbed_{0}, disturbed_{0}, ended_{0};
  std::thread thread_;
};

// Whether it is a whole answer, or one that says that there is no memory.
bool is_answer(const Response& r) {
  if (r.status == 0) return false;
  const bool stream = r.headers.at("content-type").starts_with("text/event-stream");
  const std::string last = stream ? r.events().back() : "";
  if (stream && last != "[DONE]" && last.find("\"response.") == std::string::npos) return false;
  if (lacks_memory(r)) return r.status == 503 || (r.status == 200 && stream);
  return r.status == 200 && (r.body.find("\"length\"") != std::string::npos ||
                             r.body.find("\"max_output_tokens\"") != std::string::npos);
}

TEST(Faults, OneAllocationThatFailsCostsItsRequestAtMost) {
  if (!SLUICE_OWN_NEW) GTEST_SKIP() << "sanitizers bring an operator new of their own";
  TinyServerOptions o;
  o.core.null_step = 100e-6;
  TinyServer server(o);
  spared = true;
  const std::string chat = R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"stream":true,)";
  const std::pair<std::string, std::string> kRequests[] = {
      {"/v1/completions", R"({"prompt":"hello","max_tokens":4,"n":2,"logprobs":1,"echo":true,"stop":"zz"})"},
      {"/v1/chat/completions", chat + R"("logprobs":true})"},
      {"/v1/chat/completions", chat + R"("tools":[{"type":"function","function":{"name":"f"}}]})"},
      {"/v1/responses", R"({"input":"hi","max_output_tokens":4,"stream":true})"},
  };
  int failures = 0, refused = 0;
  std::optional<Client> client;
  // False once the request has been answered before so many allocations were made.
  const auto answers_without = [&](int allocation, const std::string& path, const std::string& body) {
    if (!client) {
      client.emplace(server.port());
      client->get("/health");
    }
    until_failure = allocation;
    const Response r = client->post(path, body);
    const bool failed = until_failure.exchange(0) <= 0 && allocation > 0;
    EXPECT_TRUE(is_answer(r)) << path << " without allocation " << allocation << ": " << r.status << " "
                              << r.body;
    failures += failed ? 1 : 0;
    refused += lacks_memory(r) ? 1 : 0;
    const auto connection = r.headers.find("connection");
    if (r.status == 0 || (connection != r.headers.end() && connection->second == "close")) client.reset();
    fill_memory_reserve();  // as the server does, but at once
    return failed;
  };
  const auto idle = [&] {
    client.reset();
    while (server.app().counts().connections > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return server.becomes_idle();
  };
  // A grammar that is compiled each time; and caches fill.
  for (int k = 1; !HasFailure(); k += 211) {
    const std::string tools =
        fmt::format(R"("tools":[{{"type":"function","function":{{"name":"f{}"}}}}]}})", k);
    if (!answers_without(k, "/v1/chat/completions", chat + tools)) break;
  }
  Bystander other(server);
  const auto walk = [&](int step) {
    for (const auto& [path, body] : kRequests) {
      for (int k = 1; !HasFailure() && answers_without(k, path, body); k += step) {
      }
    }
  };
  walk(1);
  other.stop();
  ASSERT_TRUE(idle());
  // What threads keep for their next use has its size by now; what a failure leaves behind would add up.
  const int64_t before = allocated;
  const int failures_before = failures;
  walk(7);
  ASSERT_TRUE(idle());
  EXPECT_LT(allocated - before, (failures - failures_before) / 4);
  EXPECT_GT(failures - failures_before, 200);
  EXPECT_EQ(other.disturbed(), 0);
  EXPECT_GT(other.undisturbed(), 0);
  EXPECT_GT(failures, 100);
  EXPECT_LE(refused + other.ended(), failures);
  spared = false;
}

TEST(Faults, MetricsAreWhatPrometheusReads) {
  if (std::system("command -v promtool > /dev/null") != 0)
    GTEST_SKIP() << "needs promtool: apt-get install prometheus";
  for (const MetricsCompat compat : {MetricsCompat::trtllm, MetricsCompat::both}) {
    TinyServerOptions o;
    o.serve.metrics_compat = compat;
    const TinyServer server(o);
    server.post("/v1/completions", R"({"prompt":"a","max_tokens":3})");
    const model::testing::TempDirectory dir;
    dir.write("metrics", server.get("/metrics").body);
    // 3: it parses, but a name is not in their style; of ours that is so for vLLM's alone.
    const int status = std::system(fmt::format("promtool check metrics < {0}/metrics > {0}/out 2>&1 && "
                                               "exit 0; [ $? = 3 ] && ! grep -v ^vllm: {0}/out",
                                               dir.path())
                                       .c_str());
    EXPECT_EQ(status, 0) << std::ifstream(dir / "out").rdbuf();
  }
}

}  // namespace
}  // namespace sluice::serve::testing
