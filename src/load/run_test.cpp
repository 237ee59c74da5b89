// The load tool against a server that says what the test tells it to.
#include "load/run.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <list>
#include <thread>

#include "load/fetch.h"

namespace sluice::load {
namespace {

using ::testing::HasSubstr;

/// Answers each request, numbered as it comes, with the bytes of `script`. None, or such that say so, close
/// the connection.
class ScriptedServer {
 public:
  using Script = std::function<std::string(int number, const std::string& request)>;

  explicit ScriptedServer(Script script) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 128) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      ADD_FAILURE() << "cannot listen";
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept(); });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    for (std::thread& t : threads_) t.join();
    ::close(listener_);
  }

  Target target() const { return {"127.0.0.1", std::to_string(port_), ""}; }
  int connections() const { return connections_; }

 private:
  void accept() {
    while (true) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      ++connections_;
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    std::string buffer;
    while (const auto request = receive(fd, buffer)) {
      const std::string reply = script_(numbers_++, *request);
      if (reply.empty() || ::send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
      if (reply.find("Connection: close") != std::string::npos) break;
    }
    ::close(fd);
  }

  static std::optional<std::string> receive(int fd, std::string& buffer) {
    while (true) {
      const size_t end = buffer.find("\r\n\r\n"), field = buffer.find("Content-Length: ");
      if (end != std::string::npos) {
        const size_t body = field < end ? std::stoul(buffer.substr(field + 16)) : 0;
        if (buffer.size() >= end + 4 + body) {
          std::string out = buffer.substr(0, end + 4 + body);
          buffer.erase(0, out.size());
          return out;
        }
      }
      char piece[4096];
      const ssize_t n = ::recv(fd, piece, sizeof(piece), 0);
      if (n <= 0) return std::nullopt;
      buffer.append(piece, static_cast<size_t>(n));
    }
  }

  Script script_;
  int listener_ = -1, port_ = 0;
  std::atomic<int> numbers_{0}, connections_{0};
  std::thread acceptor_;
  std::list<std::thread> threads_;
};

std::string chunked(const std::string& body) {
  return fmt::format("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                     body.size(), body);
}

std::string sized(int status, const std::string& body) {
  return fmt::format("HTTP/1.1 {} Said\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body);
}

const std::string kGood =
    "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

RunOptions options(const ScriptedServer& server, size_t prompts) {
  RunOptions o{.target = server.target(), .endpoint = "/v1/completions", .num_prompts = prompts};
  o.timeout = 30;
  return o;
}

RunResult run_on(const RunOptions& o) {
  const auto workload = random_workload({.input_len = 4, .output_len = 2});
  auto result = run(o, *workload);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return result.ok() ? *std::move(result) : RunResult();
}

TEST(Run, MeasuresEachRequestAndKeepsItsConnections) {
  const ScriptedServer server([](int, const std::string& request) {
    EXPECT_THAT(request, HasSubstr("POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:"));
    EXPECT_THAT(request, HasSubstr("\"stream\":true"));
    return chunked(kGood);
  });
  RunOptions o = options(server, 40);
  o.max_concurrency = 4;
  const RunResult result = run_on(o);
  ASSERT_EQ(result.outcomes.size(), 40u);
  for (const Outcome& outcome : result.outcomes) {
    EXPECT_TRUE(outcome.ok()) << outcome.failure << ": " << outcome.detail;
    EXPECT_EQ(outcome.prompt_tokens, 3);
    EXPECT_EQ(outcome.output_tokens, 2);
    EXPECT_EQ(outcome.gaps.size(), 1u);
    EXPECT_GT(outcome.first, 0);
    EXPECT_GE(outcome.latency, outcome.first);
  }
  EXPECT_LE(server.connections(), 5) << "four, and the one that looked whether the server is there";
  EXPECT_GT(result.seconds, 0);
}

TEST(Run, TellsFailuresApart) {
  const std::vector<std::string> replies = {
      chunked(kGood),
      sized(429, R"({"error":{"message":"the queue is full"}})"),
      sized(500, "not JSON"),
      chunked("data: {\"error\":{\"message\":\"lost\"}}\n\ndata: [DONE]\n\n"),
      chunked("data: {\"choices\":[{\"text\":\"a\"}]}\n\n"),
      chunked("data: nonsense\n\n"),
      chunked("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"),
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "SSH-2.0-hello\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\n" + chunked(kGood),
      "",
  };
  const ScriptedServer server(
      [&](int number, const std::string&) { return replies[static_cast<size_t>(number) % replies.size()]; });
  RunOptions o = options(server, replies.size());
  o.max_concurrency = 1;
  const RunResult result = run_on(o);
  std::vector<std::string> kinds;
  for (const Outcome& outcome : result.outcomes) kinds.push_back(outcome.failure);
  EXPECT_EQ(kinds, (std::vector<std::string>{"", "HTTP 429", "HTTP 500", "error in the stream",
                                             "malformed reply", "malformed reply", "no output",
                                             "malformed reply", "malformed reply", "", "connection lost"}));
  EXPECT_EQ(result.outcomes[1].detail, "the queue is full");
  EXPECT_EQ(result.outcomes[2].detail, "not JSON");
  EXPECT_EQ(result.outcomes[3].detail, "lost");
}

TEST(Run, ReadsRepliesThatEndWithTheirConnection) {
  const ScriptedServer server(
      [](int, const std::string&) { return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + kGood; });
  const RunResult result = run_on(options(server, 3));
  ASSERT_EQ(result.outcomes.size(), 3u);
  for (const Outcome& outcome : result.outcomes) EXPECT_TRUE(outcome.ok()) << outcome.failure;
}

TEST(Run, GivesUpARequestThatTakesTooLong) {
  const ScriptedServer server([](int, const std::string&) {
    return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + kGood.substr(0, kGood.find("[DONE]"));
  });
  RunOptions o = options(server, 1);
  o.timeout = 0.2;
  const RunResult result = run_on(o);
  ASSERT_EQ(result.outcomes.size(), 1u);
  EXPECT_EQ(result.outcomes[0].failure, "timeout");
  EXPECT_EQ(result.outcomes[0].output_tokens, 2) << "what had come is known";
}

TEST(Run, StopsWhenItIsTold) {
  std::atomic<int> seen{0};
  const ScriptedServer server([&](int, const std::string&) -> std::string {
    // One reply is whole, the next never ends.
    return seen++ == 0 ? chunked(kGood) : "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  });
  RunOptions o = options(server, 100);
  o.max_concurrency = 2;
  o.stop = [&] { return seen >= 3; };
  const RunResult result = run_on(o);
  EXPECT_EQ(result.outcomes.size(), 1u);
  EXPECT_EQ(result.unfinished, 2u);
}

TEST(Run, SaysThatNobodyListens) {
  Target gone;
  {
    const ScriptedServer server([](int, const std::string&) { return ""; });
    gone = server.target();
  }
  const auto result = run({.target = gone, .endpoint = "/"}, *random_workload({}));
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("cannot connect to 127.0.0.1:"));
}

TEST(FirstModel, IsWhatTheServerLists) {
  std::string body = R"({"object":"list","data":[{"id":"m-1"},{"id":"m-2"}]})";
  const ScriptedServer server([&](int, const std::string& request) {
    EXPECT_THAT(request, HasSubstr("GET /v1/models HTTP/1.1"));
    return sized(200, body);
  });
  EXPECT_EQ(*first_model(options(server, 1)), "m-1");
  for (const char* none : {"{}", "[]", R"({"data":[]})", R"({"data":[{"id":3}]})", "x"}) {
    body = none;
    EXPECT_EQ(*first_model(options(server, 1)), "") << none;
  }
}

}  // namespace
}  // namespace sluice::load
