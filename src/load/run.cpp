#include "load/run.h"

#include <sys/resource.h>

#include <algorithm>
#include <set>

#include "load/fetch.h"

namespace sluice::load {
namespace {

constexpr auto kWatch = std::chrono::milliseconds(100);
constexpr size_t kMaxEvent = size_t{16} << 20;    // bytes of one event of a stream
constexpr size_t kMaxRefusal = size_t{64} << 10;  // bytes kept of a reply that is an error
constexpr size_t kMaxDetail = 300;
constexpr uint64_t kOtherFiles = 64;  // descriptors for all but connections

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

Clock::duration duration_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// As many connections as are wanted, or how many there can be.
Status allow_connections(size_t wanted) {
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return {};
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (wanted + kOtherFiles <= files.rlim_cur) return {};
  return invalid_argument(
      "{} requests at once need more than the {} descriptors of this process (ulimit -n); "
      "choose a smaller --max_concurrency",
      wanted, files.rlim_cur);
}

std::string post_of(const RunOptions& o, std::string_view body) {
  return request_head(o.target, "POST", o.endpoint, o.headers) +
         fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
}

/// What a reply to one request turns out to be.
class Reply {
 public:
  explicit Reply(Clock::time_point sent) : sent_(sent) {}

  bool take(int status, std::string_view bytes) {
    status_ = status;
    if (status != 200) {
      refusal_.append(bytes.substr(0, kMaxRefusal - std::min(kMaxRefusal, refusal_.size())));
      return true;
    }
    events_.feed(bytes);
    const auto now = Clock::now();
    while (const auto data = events_.next()) {
      if (*data == "[DONE]") {
        ended_ = true;
      } else if (!take_event(*data, now)) {
        return false;
      }
    }
    events_.compact();
    if (events_.pending() <= kMaxEvent) return true;
    fault_ = {"malformed reply", "an event of the stream has no end"};
    return false;
  }

  void finish(std::optional<Fault> fault, Outcome& out) {
    out.latency = seconds_between(sent_, Clock::now());
    out.first = seconds_between(sent_, first_.value_or(sent_));
    out.gaps = std::move(gaps_);
    out.prompt_tokens = usage_.prompt_tokens.value_or(0);
    out.cached_tokens = usage_.cached_tokens.value_or(0);
    out.output_tokens = usage_.output_tokens.value_or(static_cast<int>(chunks_));
    if (fault_) fault = fault_;
    if (!fault) fault = judge();
    if (!fault) return;
    out.failure = std::move(fault->kind);
    out.detail = fault->detail.substr(0, kMaxDetail);
  }

 private:
  bool take_event(std::string_view data, Clock::time_point now) {
    const std::optional<Chunk> chunk = read_chunk(data);
    if (!chunk) fault_ = {"malformed reply", "an event of the stream is no JSON object"};
    if (chunk && chunk->error) fault_ = {"error in the stream", *chunk->error};
    if (fault_) return false;
    if (chunk->prompt_tokens) usage_.prompt_tokens = chunk->prompt_tokens;
    if (chunk->cached_tokens) usage_.cached_tokens = chunk->cached_tokens;
    if (chunk->output_tokens) usage_.output_tokens = chunk->output_tokens;
    if (!chunk->has_output) return true;
    ++chunks_;
    if (first_) {
      gaps_.push_back(static_cast<float>(seconds_between(last_, now)));
    } else {
      first_ = now;
    }
    last_ = now;
    return true;
  }

  // Of a reply that came whole.
  std::optional<Fault> judge() const {
    if (status_ != 200) {
      const auto said = read_chunk(refusal_);
      return Fault{fmt::format("HTTP {}", status_), said && said->error ? *said->error : refusal_};
    }
    if (!ended_) return Fault{"malformed reply", "the stream ended without [DONE]"};
    if (!first_) return Fault{"no output", "the stream brought no text"};
    return std::nullopt;
  }

  Clock::time_point sent_, last_;
  std::optional<Clock::time_point> first_;
  int status_ = 0;
  bool ended_ = false;
  size_t chunks_ = 0;
  EventSplitter events_;
  std::vector<float> gaps_;
  Chunk usage_;
  std::string refusal_;
  std::optional<Fault> fault_;
};

class Runner {
 public:
  Runner(asio::io_context& context, const tcp::endpoint& server, const RunOptions& options,
         const Workload& workload)
      : context_(context), server_(server), options_(options), workload_(workload) {}

  RunResult run() {
    asio::co_spawn(
        context_, [this] { return dispatch(); }, asio::detached);
    watch();
    context_.run();
    result_.seconds = seconds_between(began_, ended_);
    return std::move(result_);
  }

 private:
  /// A connection and what it is doing.
  struct Line {
    Client client;
    Clock::time_point deadline = Clock::time_point::max();
  };

  // Sends each request when it is due and a connection is free.
  asio::awaitable<void> dispatch() {
    Arrivals arrivals(options_.request_rate, options_.burstiness, options_.seed);
    const size_t most = options_.max_concurrency > 0 ? options_.max_concurrency : options_.num_prompts;
    error_code ec;
    for (size_t i = 0; i < options_.num_prompts && !stopped_; ++i) {
      bell_.expires_at(began_ + duration_of(arrivals.next()));
      while (!stopped_ && bell_.expiry() > Clock::now()) {
        co_await bell_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      }
      while (!stopped_ && busy_.size() >= most) co_await ring();
      if (!stopped_) begin(options_.first_prompt + i);
    }
    while (!busy_.empty()) co_await ring();
    done_ = true;
    watcher_.cancel();
  }

  // Waits until a request ends, or all are stopped.
  asio::awaitable<void> ring() {
    error_code ec;
    waiting_ = true;
    bell_.expires_at(Clock::time_point::max());
    co_await bell_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    waiting_ = false;
  }

  void begin(size_t index) {
    std::shared_ptr<Line> line;
    if (idle_.empty()) {
      line = std::make_shared<Line>(Line{Client(context_, server_)});
    } else {
      line = std::move(idle_.back());
      idle_.pop_back();
    }
    busy_.insert(line);
    asio::co_spawn(
        context_, [this, line, index] { return ask(line, index); }, asio::detached);
  }

  asio::awaitable<void> ask(std::shared_ptr<Line> line, size_t index) {
    const std::string request = post_of(options_, request_body(options_.request, workload_.job(index)));
    const auto sent = Clock::now();
    line->deadline = sent + duration_of(options_.timeout);
    Reply reply(sent);
    Client::Piece piece = [&reply](int status, std::string_view bytes) { return reply.take(status, bytes); };
    std::optional<Fault> fault = co_await line->client.exchange(request, std::move(piece));
    line->deadline = Clock::time_point::max();
    if (stopped_ && fault && fault->kind == kStopped) {
      ++result_.unfinished;
    } else {
      Outcome& outcome = result_.outcomes.emplace_back();
      outcome.sent = seconds_between(began_, sent);
      reply.finish(std::move(fault), outcome);
    }
    ended_ = Clock::now();
    busy_.erase(line);
    idle_.push_back(std::move(line));
    if (waiting_) bell_.cancel();
  }

  void watch() {
    watcher_.expires_after(kWatch);
    watcher_.async_wait([this](error_code) {
      if (done_) return;
      if (options_.progress) options_.progress(result_.outcomes.size());
      if (!stopped_ && options_.stop && options_.stop()) stop();
      const auto now = Clock::now();
      for (const auto& line : busy_) {
        if (now < line->deadline) continue;
        line->deadline = Clock::time_point::max();
        line->client.abort({"timeout", "the reply did not end within --timeout"});
      }
      watch();
    });
  }

  void stop() {
    stopped_ = true;
    for (const auto& line : busy_) line->client.abort({kStopped, ""});
    bell_.cancel();
  }

  static constexpr const char* kStopped = "stopped";

  asio::io_context& context_;
  const tcp::endpoint& server_;
  const RunOptions& options_;
  const Workload& workload_;
  asio::steady_timer bell_{context_}, watcher_{context_};
  std::set<std::shared_ptr<Line>> busy_;
  std::vector<std::shared_ptr<Line>> idle_;
  bool waiting_ = false, stopped_ = false, done_ = false;
  const Clock::time_point began_ = Clock::now();
  Clock::time_point ended_ = began_;
  RunResult result_;
};

}  // namespace

Result<RunResult> run(const RunOptions& options, const Workload& workload) {
  const size_t most = options.max_concurrency > 0 ? std::min(options.max_concurrency, options.num_prompts)
                                                  : options.num_prompts;
  SLUICE_TRY(allow_connections(most));
  asio::io_context context(1);
  SLUICE_ASSIGN(const tcp::endpoint server, find_server(context, options.target));
  return Runner(context, server, options, workload).run();
}

Result<std::string> first_model(const RunOptions& options) {
  SLUICE_ASSIGN(const std::string body, fetch(options.target, "/v1/models", options.headers));
  const auto json = parse_json(body, "/v1/models");
  if (!json.ok() || !json->is_object() || !json->contains("data")) return std::string();
  const Json& data = (*json)["data"];
  if (!data.is_array() || data.empty() || !data[0].is_object() || !data[0].contains("id"))
    return std::string();
  return data[0]["id"].is_string() ? data[0]["id"].get<std::string>() : std::string();
}

}  // namespace sluice::load
