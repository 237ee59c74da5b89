#include "serve/http/connection.h"

#include <sys/socket.h>

#include <array>

#include "base/error.h"
#include "base/log.h"
#include "http/chunked.h"

namespace sluice::serve {
namespace {

constexpr size_t kPiece = 16 << 10;
constexpr size_t kMaxPipelined = 64 << 10;  // read ahead while a reply is under way
constexpr double kLingerSeconds = 2;

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

EdgeError no_memory() { return {503, "the server is out of memory"}; }

// Runs `work` on the pool and comes back to the thread of the coroutine.
template <typename Work>
asio::awaitable<void> run_on(asio::thread_pool& pool, Work work) {
  return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
      [&pool](auto handler, Work inner) {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        asio::post(pool, [shared, inner]() mutable {
          inner();
          const auto executor = asio::get_associated_executor(*shared);
          asio::post(executor, [shared]() mutable { std::move (*shared)(); });
        });
      },
      asio::use_awaitable, std::move(work));
}

}  // namespace

Connection::Connection(IoThread& thread, tcp::socket socket)
    : thread_(thread),
      shared_(thread.shared()),
      socket_(std::move(socket)),
      bell_(socket_.get_executor(), Clock::time_point::max()) {
  error_code ec;
  socket_.set_option(tcp::no_delay(true), ec);
  socket_.non_blocking(true, ec);
  const auto endpoint = socket_.remote_endpoint(ec);
  if (!ec) peer_ = fmt::format("{}:{}", endpoint.address().to_string(), endpoint.port());
  thread_.add(this);
}

Connection::~Connection() {
  thread_.remove(this);
  --shared_.connections;
}

void Connection::begin(std::shared_ptr<Connection> connection) {
  // One that fails, for want of memory most likely, ends alone.
  asio::co_spawn(
      connection->socket_.get_executor(), [connection]() { return connection->run(); },
      [connection](std::exception_ptr failure) {
        if (failure) connection->fail(failure);
      });
}

void Connection::close() {
  gone_ = true;
  error_code ec;
  socket_.close(ec);
  wake();
}

void Connection::fail(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    log_error("connection of {}: {}", peer_, e.what());
  }
  close();
}

void Connection::check(Clock::time_point now) {
  // A new one may be a probe's, whose request has not come yet.
  if (phase_ == Phase::idle && used_ && shared_.draining && buffer_.empty()) return close();
  if (now < deadline_ || overdue_) return;
  overdue_ = true;
  error_code ec;
  // A slow sender still gets an answer; who does not read gets none.
  phase_ == Phase::writing || phase_ == Phase::idle ? close() : static_cast<void>(socket_.cancel(ec));
}

void Connection::enter(Phase phase, double limit) {
  phase_ = phase;
  overdue_ = false;
  deadline_ = limit > 0 ? Clock::now() + seconds(limit) : Clock::time_point::max();
}

void Connection::wake() {
  woken_ = true;
  bell_.cancel();
}

Connection::Task<> Connection::wait_for_wake() {
  if (!woken_) {
    error_code ec;
    bell_.expires_at(Clock::time_point::max());
    co_await bell_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  woken_ = false;
}

// ---- reading
// --------------------------------------------------------------------------------------------------------------------

Connection::Task<bool> Connection::read_some() {
  std::array<char, kPiece> piece;
  error_code ec;
  const size_t n =
      co_await socket_.async_read_some(asio::buffer(piece), asio::redirect_error(asio::use_awaitable, ec));
  buffer_.append(piece.data(), n);
  co_return !ec;
}

// Nothing when the client has gone, or waited too long before it began.
Connection::Task<std::optional<Head>> Connection::read_head() {
  const HttpLimits& limits = shared_.options.limits;
  enter(Phase::idle, limits.idle_timeout);
  while (true) {
    while (buffer_.starts_with("\r\n")) buffer_.erase(0, 2);  // between requests; RFC 9112 section 2.2
    if (!buffer_.empty() && phase_ == Phase::idle) enter(Phase::head, limits.header_timeout);
    const HeadEnd end = find_head_end(buffer_, limits);
    if (end.error) co_return Head{{}, {}, end.error};
    if (end.bytes > 0) {
      Head head = parse_head(std::string_view(buffer_).substr(0, end.bytes), limits);
      buffer_.erase(0, end.bytes);
      co_return head;
    }
    const bool read = co_await read_some();
    if (read) continue;
    if (overdue_ && phase_ == Phase::head && !gone_)
      co_return Head{{}, {}, EdgeError{408, "the header did not come within --header_timeout"}};
    co_return std::nullopt;
  }
}

Connection::Task<std::optional<EdgeError>> Connection::read_body(const BodyFrame& frame, std::string& body) {
  const HttpLimits& limits = shared_.options.limits;
  enter(Phase::body, limits.body_timeout);
  ChunkDecoder decoder(limits.max_body_bytes);
  while (true) {
    if (frame.chunked) {
      std::string_view data = buffer_;
      const ChunkDecoder::State state = decoder.feed(data, body);
      buffer_.erase(0, buffer_.size() - data.size());
      if (state == ChunkDecoder::State::done) co_return std::nullopt;
      if (state == ChunkDecoder::State::malformed) co_return EdgeError{400, "malformed chunked body"};
      if (state == ChunkDecoder::State::too_large)
        co_return EdgeError{413, fmt::format("the body is above the limit of {} bytes (--max_body_bytes)",
                                             limits.max_body_bytes)};
    } else {
      const size_t take = std::min<size_t>(buffer_.size(), frame.length - body.size());
      body.append(buffer_, 0, take);
      buffer_.erase(0, take);
      if (body.size() == frame.length) co_return std::nullopt;
    }
    const bool read = co_await read_some();
    if (read) continue;
    if (overdue_ && !gone_) co_return EdgeError{408, "the body did not come within --body_timeout"};
    gone_ = true;
    co_return EdgeError{400, "the connection ended before the body did"};
  }
}

// While a reply is under way: sees the client go, and keeps what it sends ahead.
void Connection::watch() {
  wanted_ = true;
  if (watching_ || gone_ || buffer_.size() >= kMaxPipelined) return;
  watching_ = true;
  auto piece = std::make_shared<std::array<char, 2048>>();
  socket_.async_read_some(asio::buffer(*piece),
                          [this, self = shared_from_this(), piece](error_code ec, size_t n) {
                            watching_ = false;
                            buffer_.append(piece->data(), n);
                            if (ec && ec != asio::error::operation_aborted) gone_ = true;
                            if (!ec && wanted_) return watch();
                            wake();
                          });
}

// ---- writing
// --------------------------------------------------------------------------------------------------------------------

Connection::Task<bool> Connection::write(std::string_view bytes, Source* source) {
  bool blocked = false;
  while (!bytes.empty()) {
    error_code ec;
    const size_t n = socket_.write_some(asio::buffer(bytes.data(), bytes.size()), ec);
    bytes.remove_prefix(n);
    sent_ += n;
    if (ec == asio::error::would_block) {
      if (!std::exchange(blocked, true) && source != nullptr) source->blocked(true);
      enter(Phase::writing, shared_.options.limits.write_timeout);
      co_await socket_.async_wait(tcp::socket::wait_write, asio::redirect_error(asio::use_awaitable, ec));
    }
    if (ec) {
      gone_ = true;
      co_return false;
    }
  }
  if (blocked && source != nullptr) source->blocked(false);
  enter(Phase::handling, 0);
  co_return true;
}

std::string Connection::head_of(const HttpRequest& request, const HttpResponse& response, bool stream) {
  status_ = response.status;
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nx-request-id: {}\r\n", response.status,
                                 reason_phrase(response.status), request.id);
  const bool keep = request.keep_alive && !response.close && !shared_.draining;
  if (stream) {
    head +=
        "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
        "X-Accel-Buffering: no\r\n";
    if (request.chunked_reply) head += "Transfer-Encoding: chunked\r\n";
  } else if (response.status != 204 && response.status >= 200) {
    head += fmt::format("Content-Length: {}\r\n", response.body.size());
    if (!response.body.empty()) head += fmt::format("Content-Type: {}\r\n", response.content_type);
  }
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (!keep || (stream && !request.chunked_reply)) {
    head += "Connection: close\r\n";
  } else if (!request.chunked_reply) {
    head += "Connection: keep-alive\r\n";
  }
  return head + "\r\n";
}

// True when the connection can be kept.
Connection::Task<bool> Connection::respond(const HttpRequest& request, HttpResponse response) {
  std::string bytes = head_of(request, response, false);
  if (request.method != "HEAD") bytes += response.body;
  const bool keep = request.keep_alive && !response.close && !shared_.draining;
  const bool written = co_await write(bytes);
  co_return written&& keep;
}

Connection::Task<> Connection::refuse(EdgeError error) {
  HttpRequest request;
  request.id = shared_.handlers.new_id();
  request.keep_alive = false;
  HttpResponse response = shared_.handlers.refuse(error);
  response.close = true;
  co_await respond(request, std::move(response));
  co_await linger();
  request.client = peer_;
  request.arrival = Clock::now();
  finish(request);
}

// A client that is still sending would lose the answer to a reset: lets it finish, for a moment.
Connection::Task<> Connection::linger() {
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  enter(Phase::body, kLingerSeconds);
  for (size_t total = 0; total < (size_t{1} << 20) && !overdue_; total += buffer_.size()) {
    buffer_.clear();
    const bool read = co_await read_some();
    if (!read) break;
  }
}

Connection::Task<bool> Connection::serve_source(const HttpRequest& request, std::unique_ptr<Source> source) {
  bool streaming = false, keep = false;
  std::string out, framed;
  watch();
  while (!gone_) {
    out.clear();
    Source::Pulled pulled;
    try {
      pulled = source->pull(out);
    } catch (const std::bad_alloc&) {
      pulled = source->give_up(out);
    }
    if (pulled.whole) {
      keep = co_await respond(request, *std::move(pulled.whole));
      break;
    }
    if (!out.empty() || (pulled.done && !streaming)) {
      framed.clear();
      if (!std::exchange(streaming, true)) framed = head_of(request, HttpResponse(), true);
      if (request.chunked_reply && !out.empty()) {
        framed += fmt::format("{:x}\r\n", out.size());
        framed += out;
        framed += "\r\n";
      } else {
        framed += out;
      }
      if (pulled.done && request.chunked_reply) framed += "0\r\n\r\n";
      if (const bool written = co_await write(framed, source.get()); !written) break;
    } else if (pulled.done && request.chunked_reply) {
      if (const bool written = co_await write("0\r\n\r\n"); !written) break;
    }
    if (pulled.done) {
      keep = request.keep_alive && request.chunked_reply && !shared_.draining;
      break;
    }
    co_await wait_for_wake();
  }
  summary_ = source->summary();
  source.reset();
  stop_watching();
  if (watching_) {
    error_code ec;
    socket_.cancel(ec);
    while (watching_) co_await wait_for_wake();
  }
  if (gone_) status_ = 499;
  co_return keep && !gone_;
}

// ---- the exchange
// ---------------------------------------------------------------------------------------------------------------

void Connection::finish(const HttpRequest& request) {
  const double took = std::chrono::duration<double>(Clock::now() - request.arrival).count();
  shared_.handlers.done({&request, status_, sent_, took, std::move(summary_)});
  summary_.clear();
}

Connection::Task<Reply> Connection::handle(HttpRequest& request) {
  enter(Phase::handling, 0);
  if (gone_) co_return Reply();
  if (shared_.handlers.is_quick(request)) co_return shared_.handlers.handle(request);
  Reply reply;
  co_await run_on(shared_.pool, [&] { reply = shared_.handlers.handle(request); });
  co_return reply;
}

// One request and its reply. False when the connection has to end.
Connection::Task<bool> Connection::exchange() {
  std::optional<Head> head = co_await read_head();
  if (!head) co_return false;
  if (head->error) {
    co_await refuse(*head->error);
    co_return false;
  }
  used_ = true;
  HttpRequest& request = head->request;
  request.arrival = Clock::now();
  request.client = peer_;
  if (request.id.empty()) request.id = shared_.handlers.new_id();
  sent_ = 0;
  ++shared_.requests;
  struct Leave {
    std::atomic<int>& count;
    ~Leave() { --count; }
  } leave{shared_.requests};

  std::optional<HttpResponse> refusal = shared_.handlers.admit(request);
  if (refusal) {
    // The body is not read: nothing that follows on this connection could be told from it.
    if (request.has_body) refusal->close = true;
    const bool keep = co_await respond(request, *std::move(refusal));
    finish(request);
    if (!keep && request.has_body) co_await linger();
    co_return keep;
  }
  if (request.has_body) {
    if (request.expects_continue) {
      if (const bool written = co_await write("HTTP/1.1 100 Continue\r\n\r\n"); !written) co_return false;
    }
    std::optional<EdgeError> error;
    try {
      error = co_await read_body(head->body, request.body);
    } catch (const std::bad_alloc&) {
      error = no_memory();
    }
    if (error) {
      if (!gone_) co_await refuse(*error);
      co_return false;
    }
  }
  Reply reply = co_await handle(request);
  std::unique_ptr<Source> source;
  if (reply.start) {
    try {
      // Not within an awaited expression: GCC 12 destroys what a lambda there has captured twice, and the
      // connection's memory would go with its last weak pointer.
      source = reply.start(thread_.mailbox(), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->wake();
      });
    } catch (const std::bad_alloc&) {
      reply.response = shared_.handlers.refuse(no_memory());
    }
  }
  bool keep = false;
  if (source) {
    keep = co_await serve_source(request, std::move(source));
  } else {
    keep = co_await respond(request, std::move(reply.response));
  }
  finish(request);
  co_return keep;
}

Connection::Task<> Connection::run() {
  const auto self = shared_from_this();
  while (!gone_) {
    const bool keep = co_await exchange();
    if (!keep) break;
  }
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_both, ec);
  socket_.close(ec);
}

}  // namespace sluice::serve
