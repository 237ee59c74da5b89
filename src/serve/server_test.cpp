// The server against clients that are slow, rude, many or gone: each gets its answer, and nothing is left
// over.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "serve/testing/tiny_server.h"

namespace sluice::serve::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Never ends by itself within a test.
const std::string kEndless = R"({"prompt":"hello","max_tokens":60000,"stream":true})";
constexpr size_t kLarge = 1'000'000;
const std::string kEndlessWhole = R"({"prompt":"hello","max_tokens":60000})";

TinyServer& server() {
  static TinyServer shared;
  return shared;
}

size_t open_descriptors() {
  size_t count = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

TEST(Routes, UnknownPathsAndMethodsSayWhatTheyAre) {
  EXPECT_EQ(server().get("/nowhere").status, 404);
  EXPECT_EQ(server().get("/v1/../health").status, 400);
  EXPECT_EQ(server().get("/health/").status, 200);
  EXPECT_EQ(server().get("/%68ealth?x=%ff").status, 200);
  const Response wrong = server().get("/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_EQ(server().post("/health", "{}").status, 405);
  const Response model = server().get("/v1/models/other");
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(model.json()["error"]["code"], "model_not_found");
  EXPECT_EQ(server().get("/v1/models/tiny").json()["id"], "tiny");
  EXPECT_EQ(server().get("/models").json()["data"][0]["max_model_len"], 1 << 16);
  EXPECT_EQ(server().post("/v1/completions", R"({"model":"gpt-9","prompt":"x"})").json()["error"]["code"],
            "model_not_found");
  EXPECT_EQ(server().post("/v1/embeddings", R"({"input":"x"})").status, 400);
  const Response probe = server().get("/health_generate");
  EXPECT_EQ(probe.status, 200) << probe.body;
  EXPECT_EQ(probe.json()["state"], "ready");
  const std::string chat = R"({"messages":[{"role":"user","content":"hi"}]})";
  EXPECT_EQ(server().post("/apply-template", chat).json()["prompt"],
            server().post("/v1/chat/completions/render", chat).json()["prompt"]);
  EXPECT_EQ(server().get("/tokenizer_info").status, 404) << "off unless asked for";
  Client c = server().client();
  c.send("OPTIONS * HTTP/1.1\r\n\r\n");
  EXPECT_EQ(c.receive().status, 204);
  c.send("OPTIONS /tokenize HTTP/1.1\r\n\r\n");
  EXPECT_EQ(c.receive().headers.at("allow"), "POST, OPTIONS");
  c.send("HEAD /health HTTP/1.1\r\n\r\nGET /version HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(c.receive_until("\r\n\r\nHTTP/1.1 200"));
}

TEST(Routes, RequestIdsAreEchoedAndTypesChecked) {
  EXPECT_EQ(server().get("/health", "X-Request-ID: abc-1\r\n").headers.at("x-request-id"), "abc-1");
  EXPECT_NE(server().get("/health", "X-Request-ID: a b\r\n").headers.at("x-request-id"), "a b");
  EXPECT_FALSE(server().get("/health").headers.at("x-request-id").empty());
  Client c = server().client();
  c.send("POST /tokenize HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(c.receive().status, 415);
  EXPECT_EQ(server().post("/tokenize", "{}", "Content-Encoding: gzip\r\n").status, 415);
}

TEST(Connections, CarryStreamAfterStream) {
  const std::string stream = post_bytes("/v1/completions", R"({"prompt":"a","max_tokens":3,"stream":true})");
  std::vector<Client> clients;
  for (int i = 0; i < 16; ++i) clients.push_back(server().client());
  for (int round = 0; round < 20; ++round) {
    for (Client& c : clients) ASSERT_TRUE(c.send(stream));
    for (Client& c : clients) ASSERT_EQ(c.receive().events().back(), "[DONE]") << "round " << round;
  }
}

TEST(Connections, AreKeptPipelinedAndContinued) {
  Client c = server().client();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(c.post("/tokenize", R"({"prompt":"abc"})").json()["count"], 3);
  EXPECT_EQ(c.post("/tokenize", "{bad").status, 400) << "and the connection goes on";
  std::string many;
  for (int i = 1; i <= 10; ++i)
    many += post_bytes("/tokenize", R"({"prompt":")" + std::string(static_cast<size_t>(i), 'a') + R"("})");
  c.send(many);
  for (int i = 1; i <= 10; ++i) EXPECT_EQ(c.receive().json()["count"], i);
  for (int i = 0; i < 5; ++i) {
    const Response r = c.post("/v1/completions", R"({"prompt":"a","max_tokens":3,"stream":true})");
    EXPECT_EQ(r.events().size(), 4u) << "stream " << i << " of one connection";
  }
  // A request that comes while a stream is under way waits for its turn.
  c.send(post_bytes("/v1/completions", R"({"prompt":"a","max_tokens":200,"stream":true})"));
  ASSERT_TRUE(c.receive_until("data: "));
  c.send("GET /version HTTP/1.1\r\n\r\n");
  EXPECT_EQ(c.receive().events().back(), "[DONE]");
  EXPECT_EQ(c.receive().status, 200);
  c.send(
      "POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nExpect: "
      "100-continue\r\n\r\n");
  ASSERT_TRUE(c.receive_until("100 Continue"));
  c.send("d\r\n{\"prompt\":\"ab\r\n2\r\n\"}\r\n0\r\n\r\n");
  EXPECT_EQ(c.receive().json()["count"], 2);
  c.send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(c.receive().status, 200);
  EXPECT_TRUE(c.closed()) << "HTTP/1.0 without keep-alive";
}

TEST(Connections, ManyGenerationsOnOneConnectionLeaveItWhole) {
  Client c = server().client();
  for (int i = 0; i < 100; ++i) {
    const std::string stream = i % 2 == 0 ? "true" : "false";
    const Response r =
        c.post("/v1/completions", R"({"prompt":"hello","max_tokens":3,"stream":)" + stream + "}");
    ASSERT_EQ(r.status, 200) << i;
  }
}

TEST(Connections, MalformedRequestsAreAnsweredAndClosed) {
  for (const std::string bad :
       {"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "nonsense\r\n\r\n",
        "\x16\x03\x01 hello\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n"}) {
    Client c = server().client();
    c.send(bad);
    const Response r = c.receive();
    EXPECT_GE(r.status, 400) << bad;
    EXPECT_EQ(r.headers.at("connection"), "close");
    EXPECT_EQ(r.json()["error"].size(), 4u);
    EXPECT_TRUE(c.closed());
  }
  // Too large: refused by the header, without reading the body.
  Client c = server().client();
  c.send("POST /tokenize HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n");
  EXPECT_EQ(c.receive().status, 413);
  // A body that ends early makes no request.
  Client cut = server().client();
  cut.send("POST /tokenize HTTP/1.1\r\nContent-Length: 50\r\n\r\n{\"prompt\":\"a\"}");
  cut.half_close();
  EXPECT_EQ(cut.receive().status, 0);
}

// Other protocols, and what of HTTP is not used here.
TEST(Connections, GiveADefinedAnswerToWhateverComes) {
  const struct {
    std::string sent;
    int status;
    bool kept;
  } kCases[] = {
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, false},
      {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /version HTTP/1.1\r\n\r\n", 505, false},
      {"GET /version HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 200, true},
      {"GET /version HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 200, true},
      {"GET /version HTTP/1.1\r\nConnection: close\r\n\r\n", 200, false},
      {"TRACE /version HTTP/1.1\r\n\r\n", 405, true},
      {"PUT /v1/completions HTTP/1.1\r\n\r\n", 405, true},
      {"CONNECT example.com:443 HTTP/1.1\r\n\r\n", 400, false},
      {"GET //v1/models HTTP/1.1\r\n\r\n", 400, false},
      {"GET /v1/%6dodels/?x=%ff HTTP/1.1\r\n\r\n", 200, true},
      {"GET /" + std::string(8192, 'a') + " HTTP/1.1\r\n\r\n", 404, true},
      {"GET /version HTTP/1.1\r\nAuthorization: Bearer " + std::string(kLarge, 'k') + "\r\n\r\n", 431, false},
      // What follows a body is a request only if it looks like one.
      {post_bytes("/tokenize", R"({"prompt":"a"})") + "}", 200, true},
  };
  for (const auto& c : kCases) {
    Client client = server().client();
    client.send(c.sent);
    const std::string shown = c.sent.substr(0, 60);
    EXPECT_EQ(client.receive().status, c.status) << shown;
    if (c.kept && !c.sent.ends_with("}}")) {
      EXPECT_EQ(client.get("/version").status, 200) << shown;
    } else {
      client.send("\r\n\r\n");
      EXPECT_TRUE(client.closed()) << shown;
    }
  }
}

TEST(Connections, SlowSendersAreTimedOut) {
  TinyServerOptions o;
  o.serve.http.limits.header_timeout = o.serve.http.limits.body_timeout = 0.3;
  o.serve.http.limits.idle_timeout = 0.3;
  TinyServer slow(o);
  Client head = slow.client(), body = slow.client(), idle = slow.client();
  Client drops = slow.client();
  head.send("GET / HT");
  body.send("POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{");
  drops.send("GET /version HTTP/1.1\r\nA: ");
  for (int i = 0; i < 30; ++i) {  // byte by byte, for longer than it may take
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    drops.send("b");
  }
  EXPECT_EQ(drops.receive().status, 408);
  EXPECT_EQ(head.receive().status, 408);
  EXPECT_EQ(body.receive().status, 408);
  EXPECT_TRUE(head.closed() && body.closed());
  EXPECT_EQ(idle.receive().status, 0) << "closed without a word";
}

TEST(Connections, ManyIdleOnesStopNobodyAndThereIsABound) {
  TinyServerOptions o;
  o.serve.http.limits.max_connections = 1001;
  TinyServer bounded(o);
  std::vector<Client> idle;
  for (int i = 0; i < 1000; ++i) idle.push_back(bounded.client());
  Client last = bounded.client();
  EXPECT_EQ(last.post("/v1/completions", R"({"prompt":"a","max_tokens":3})").status, 200);
  Client above = bounded.client();
  const Response r = above.receive();
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.headers.at("retry-after"), "1");
  for (Client& c : idle) EXPECT_EQ(c.get("/health").status, 200);
}

TEST(Keys, AreAskedForWherePromised) {
  TinyServerOptions o;
  o.serve.api_keys = {"secret", "other"};
  TinyServer locked(o);
  const auto status = [&](const std::string& headers) { return locked.get("/v1/models", headers).status; };
  const Response none = locked.get("/v1/models");
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(none.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(none.json()["error"]["code"], "invalid_api_key");
  EXPECT_EQ(status("Authorization: Bearer secret\r\n"), 200);
  EXPECT_EQ(status("Authorization: bearer other\r\n"), 200);
  EXPECT_EQ(status("X-Api-Key: secret\r\n"), 200);
  for (const char* bad :
       {"Authorization: secret\r\n", "Authorization: Basic secret\r\n", "Authorization: Bearer \r\n",
        "Authorization: Bearer secretx\r\n", "Authorization: Bearer secre\r\n",
        "Authorization: Bearer secret\r\nX-Api-Key: other\r\n"})
    EXPECT_EQ(status(bad), 401) << bad;
  EXPECT_EQ(status("Authorization: Bearer secret\r\nAuthorization: Bearer secret\r\n"), 401);
  EXPECT_EQ(status("Authorization:\r\n"), 401);
  // Routing and keys see one path.
  EXPECT_EQ(locked.get("/%68ealth").status, 200);
  EXPECT_EQ(locked.get("/v1/%6dodels").status, 401);
  EXPECT_EQ(locked.get("/page/../v1/models").status, 400);
  EXPECT_EQ(locked.get("/page/%2e%2e/v1/models").status, 400);
  EXPECT_EQ(locked.get("/health").status, 200);
  EXPECT_EQ(locked.get("/nowhere").status, 401) << "nothing is told to strangers";
}

TEST(Clients, ThatGoAwayFreeEverythingTheyHeld) {
  const auto leave = [](Client& c, int how) {
    if (how == 0) c.half_close();
    if (how == 1) c.reset();
    // 2: closed by its destructor
  };
  for (const std::string& body : {kEndless, kEndlessWhole}) {
    for (int how = 0; how < 3; ++how) {
      {
        Client c = server().client();
        c.send(post_bytes("/v1/completions", body));
        if (body == kEndless) {
          ASSERT_TRUE(c.receive_until("data: "));
        }
        leave(c, how);
        if (how == 0) {
          EXPECT_TRUE(c.closed());
        }
      }
      ASSERT_TRUE(server().becomes_idle()) << body << how;
    }
  }
  EXPECT_THAT(server().get("/metrics").body, HasSubstr("finished_reason=\"abort\""));
}

TEST(Clients, ThatDoNotReadLoseTheirStreamAndStallNobody) {
  TinyServerOptions o;
  o.serve.stream_buffer_bytes = 64 << 10;
  TinyServer tight(o);
  Client lazy(tight.port(), 4096);
  lazy.send(post_bytes("/v1/completions", kEndless));
  ASSERT_TRUE(lazy.receive_until("data: "));
  ASSERT_EQ(tight.post("/v1/completions", R"({"prompt":"a","max_tokens":300,"stream":true})").events().size(),
            301u);
  // Its request ends though it never reads; when it does, it finds out.
  for (int i = 0; i < 6000 && tight.app().engine()->stats().counts.running > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(tight.app().engine()->stats().counts.running, 0);
  const auto events = lazy.receive().events();
  EXPECT_THAT(events[events.size() - 2], HasSubstr("read too slowly"));
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_THAT(tight.get("/metrics").body,
              HasSubstr("sluice_stream_stall_aborts_total{model_name=\"tiny\",engine=\"0\"} 1"));
}

TEST(Clients, TenThousandRequestsHalfOfThemAbandonedLeaveNothing) {
  server().becomes_idle();
  const size_t before = open_descriptors();
  std::vector<std::thread> threads;
  std::atomic<int> answered = 0;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 2500; ++i) {
        Client c = server().client();
        const bool leaves = random() % 2 == 0;
        c.send(
            post_bytes("/v1/completions", leaves ? kEndless : R"({"prompt":"hello","max_tokens":3,"n":2})"));
        if (!leaves) {
          answered += c.receive().status == 200 ? 1 : 0;
        } else if (random() % 2 == 0) {
          ASSERT_TRUE(c.receive_until("data: ")) << c.pending();
        }
        if (random() % 2 == 0) c.reset();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_GT(answered, 4000);
  ASSERT_TRUE(server().becomes_idle());
  EXPECT_EQ(server().post("/v1/completions", R"({"prompt":"hello","max_tokens":3})").status, 200);
  for (int i = 0; i < 6000 && open_descriptors() > before; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LE(open_descriptors(), before);
}

TEST(Clients, ThatGoAllAtOnceFreeEverythingAtOnce) {
  for (int round = 0; round < 3; ++round) {
    {
      std::vector<Client> all;
      for (int i = 0; i < 300; ++i) {
        all.push_back(server().client());
        all.back().send(post_bytes("/v1/completions", kEndless));
      }
      ASSERT_TRUE(all.front().receive_until("data: "));
    }
    ASSERT_TRUE(server().becomes_idle());
    EXPECT_EQ(server().post("/v1/completions", R"({"prompt":"hello","max_tokens":3})").status, 200);
  }
}

TEST(Clients, ThatComeAllAtOnceAreAllAnswered) {
  std::atomic<int> served = 0, refused = 0, other = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      std::vector<Client> clients;
      for (int i = 0; i < 500; ++i) {
        clients.push_back(server().client());
        clients.back().send(post_bytes("/v1/completions", R"({"prompt":"hello","max_tokens":3})"));
      }
      for (Client& c : clients) {
        const int status = c.receive().status;
        ++(status == 200 ? served : status == 429 || status == 503 ? refused : other);
      }
    });
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(server().get("/health").status, 200);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(other, 0);
  EXPECT_EQ(served + refused, 2000);
}

TEST(Metrics, DoNotGrowWithWhatClientsWrite) {
  TinyServerOptions o;
  o.serve.any_model = true;
  TinyServer counted(o);
  const auto lines = [&] {
    const std::string text = counted.get("/metrics").body;
    return std::count(text.begin(), text.end(), '\n');
  };
  Client c = counted.client();
  auto before = lines();
  for (int i = 0; i < 50; ++i) {
    if (i == 1) before = lines();
    c.get(fmt::format("/v1/models/m{}", i));
    c.post(fmt::format("/path{}", i), "{}");
    c.post("/v1/completions",
           fmt::format(R"({{"prompt":"a","max_tokens":1,"model":"m{0}","user":"u{0}"}})", i));
  }
  EXPECT_EQ(lines(), before);
}

TEST(Queue, IsBoundedAndSaysWhenToComeBack) {
  TinyServerOptions o;
  o.max_num_seqs = 1;
  o.core.max_waiting = 1;
  TinyServer small(o);
  Client runs = small.client(), waits = small.client();
  runs.send(post_bytes("/v1/completions", R"({"prompt":"hello","max_tokens":65000,"n":1})"));
  // Many at once: whatever the engine's pace, two of them at most are taken in.
  const Response r = small.post("/v1/completions", R"({"prompt":"hello","max_tokens":60000,"n":64})");
  EXPECT_EQ(r.status, 429) << r.body;
  EXPECT_EQ(r.headers.at("retry-after"), "1");
  EXPECT_EQ(r.headers.at("retry-after-ms"), "1000");
  EXPECT_EQ(r.json()["error"]["code"], "rate_limit_exceeded");
  // Those that were taken in and given up leave the queue when the engine gets to it.
  int status = 429;
  for (int i = 0; i < 6000 && status == 429; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    status = small.post("/v1/completions", R"({"prompt":"hello","max_tokens":60000,"timeout":0.05})").status;
  }
  EXPECT_EQ(status, 408);
  runs.reset();
  EXPECT_TRUE(small.becomes_idle());
}

// More than is taken in: the rest is refused at once, and what was taken comes to its end.
TEST(Queue, RefusalsWaitForNobody) {
  TinyServerOptions o;
  o.max_num_seqs = 2;
  o.core.max_waiting = 2;
  o.core.null_step = 0.01;
  TinyServer small(o);
  using Clock = std::chrono::steady_clock;
  std::vector<Client> taken;
  for (int i = 0; i < 4; ++i) {
    taken.push_back(small.client());
    taken.back().send(post_bytes("/v1/completions", R"({"prompt":"hello","max_tokens":150})"));
    const auto is_in = [&] {
      const sched::Counts counts = small.app().engine()->stats().counts;
      return counts.running == std::min(i + 1, 2) && counts.running + counts.waiting == i + 1;
    };
    for (int w = 0; w < 6000 && !is_in(); ++w) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::vector<double> waits;
  for (int i = 0; i < 20; ++i) {
    const auto asked = Clock::now();
    EXPECT_EQ(small.post("/v1/completions", R"({"prompt":"hello","max_tokens":9})").status, 429);
    waits.push_back(std::chrono::duration<double>(Clock::now() - asked).count());
  }
  std::sort(waits.begin(), waits.end());
  EXPECT_LT(waits[waits.size() / 2], 0.05);
  for (Client& c : taken) EXPECT_EQ(c.receive().status, 200);
}

TEST(Draining, RefusesNewRequestsAndLetsOldOnesEnd) {
  TinyServer going;
  Client stream = going.client();
  stream.send(post_bytes("/v1/completions", kEndless));
  ASSERT_TRUE(stream.receive_until("data: "));
  Client kept = going.client();
  EXPECT_EQ(kept.get("/health").status, 200);
  going.app().drain();
  const Response refused = going.post("/v1/completions", R"({"prompt":"x"})");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(going.get("/readyz").status, 503);
  EXPECT_EQ(going.get("/livez").status, 200);
  EXPECT_TRUE(kept.closed()) << "idle connections are closed";
  going.app().engine()->cancel_all();
  const auto events = stream.receive().events();
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_TRUE(going.becomes_idle());
}

// Steps take longer than the watchdog allows, but the server comes through.
TEST(Watchdog, FailsLivenessWhileAStepIsStuckAndNamesIt) {
  TinyServerOptions o;
  o.core.null_step = 0.5;
  o.serve.watchdog_seconds = 0.1;
  TinyServer stuck(o);
  EXPECT_EQ(stuck.get("/livez").status, 200) << "idle is not stuck";
  Client c = stuck.client();
  c.send(post_bytes("/v1/completions", R"({"prompt":"a","max_tokens":1})"));
  Response live;
  for (int i = 0; i < 400 && live.status != 503; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    live = stuck.get("/livez");
  }
  EXPECT_EQ(live.status, 503);
  EXPECT_THAT(live.body, HasSubstr("step 1 has been running"));
  EXPECT_EQ(stuck.get("/health").status, 503);
  EXPECT_EQ(c.receive().status, 200);
  EXPECT_EQ(stuck.get("/livez").status, 200);
}

TEST(Loading, IsAnsweredBeforeTheModelIsThere) {
  ServeOptions o;
  o.http.port = 0;
  auto app = App::start(o);
  ASSERT_TRUE(app.ok());
  EXPECT_EQ(Client((*app)->port()).get("/health").status, 503);
  EXPECT_EQ(Client((*app)->port()).get("/livez").status, 200);
  const Response r = Client((*app)->port()).post("/v1/completions", "{}");
  EXPECT_EQ(r.status, 503);
  EXPECT_THAT(r.body, HasSubstr("loading"));
  // The port is taken.
  ServeOptions same;
  same.http.port = (*app)->port();
  EXPECT_THAT(App::start(same).status().message(), HasSubstr("--port"));
  same.http.host = "nowhere";
  EXPECT_THAT(App::start(same).status().message(), HasSubstr("--host"));
}

// A log that is a pipe which nobody empties loses lines, and nobody waits for it, not even the end.
TEST(AccessLog, ThatTakesNothingCostsLinesAndNoTime) {
  const std::string path = tiny_model(256) + "/blocked.log";
  ::unlink(path.c_str());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  const auto began = std::chrono::steady_clock::now();
  {
    TinyServerOptions o;
    o.serve.access_log = path;
    TinyServer logged(o);
    Client c = logged.client();
    for (int i = 0; i < 6000; ++i) ASSERT_EQ(c.get("/version").status, 200);
    EXPECT_THAT(logged.get("/metrics").body,
                Not(HasSubstr("sluice_log_lines_dropped_total{model_name=\"tiny\","
                              "engine=\"0\"} 0\n")));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
  ::close(reader);
}

TEST(AccessLog, HasALineForEachRequestWithoutItsText) {
  const std::string path = tiny_model(256) + "/access.log";
  {
    TinyServerOptions o;
    o.serve.access_log = path;
    TinyServer logged(o);
    logged.post("/v1/completions", R"({"prompt":"secret words","max_tokens":2})", "X-Request-Id: mine\r\n");
    logged.get("/no%0Asuch%22path");
    logged.get("/no%22such");
  }
  std::ifstream file(path);
  std::string line;
  std::vector<Json> lines;
  while (std::getline(file, line)) lines.push_back(*parse_json(line, "log"));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["id"], "mine");
  EXPECT_EQ(lines[0]["status"], 200);
  EXPECT_EQ(lines[0]["completion_tokens"], 2);
  EXPECT_EQ(lines[0]["finish"], "length");
  EXPECT_EQ(dump_json(lines[0]).find("secret"), std::string::npos);
  EXPECT_EQ(lines[1]["status"], 400);
  EXPECT_EQ(lines[2]["path"], "/no\"such");
}

}  // namespace
}  // namespace sluice::serve::testing
