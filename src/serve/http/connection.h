// One client connection: a coroutine that reads requests and writes replies, one after the other.
#pragma once

#include <exception>

#include "serve/http/io_thread.h"

namespace sluice::serve {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(IoThread& thread, tcp::socket socket);
  ~Connection();

  /// Runs the connection to its end.
  static void begin(std::shared_ptr<Connection> connection);
  /// Called a few times a second: ends what is overdue, and idle connections while the server drains.
  void check(Clock::time_point now);
  /// Ends the connection now.
  void close();

 private:
  template <typename T = void>
  using Task = asio::awaitable<T>;

  enum class Phase { idle, head, body, handling, writing };

  Task<> run();
  Task<bool> exchange();
  Task<bool> read_some();
  Task<std::optional<Head>> read_head();
  Task<std::optional<EdgeError>> read_body(const BodyFrame& frame, std::string& body);
  Task<Reply> handle(HttpRequest& request);
  Task<bool> write(std::string_view bytes, Source* source = nullptr);
  Task<bool> respond(const HttpRequest& request, HttpResponse response);
  Task<> refuse(EdgeError error);
  Task<bool> serve_source(const HttpRequest& request, std::unique_ptr<Source> source);
  Task<> linger();
  Task<> wait_for_wake();

  void fail(const std::exception_ptr& failure);
  void enter(Phase phase, double seconds);
  void watch();
  void stop_watching() { wanted_ = false; }
  void wake();
  std::string head_of(const HttpRequest& request, const HttpResponse& response, bool stream);
  void finish(const HttpRequest& request);

  IoThread& thread_;
  Shared& shared_;
  tcp::socket socket_;
  std::string peer_;
  std::string buffer_;  // read and not yet used
  Phase phase_ = Phase::idle;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool used_ = false;     // a request has come
  bool overdue_ = false;  // the deadline passed
  bool gone_ = false;     // the client closed or broke the connection
  bool watching_ = false, wanted_ = false;
  bool woken_ = false;
  asio::steady_timer bell_;
  // Of the exchange under way:
  int status_ = 0;
  uint64_t sent_ = 0;
  std::string summary_;
};

}  // namespace sluice::serve
