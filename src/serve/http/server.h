// Listens, and gives each request to a handler. Connections live on a few I/O threads; handlers run on a pool
// of their own, so that a long tokenisation stalls no stream.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "http/head.h"
#include "http/message.h"

namespace sluice::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
  int io_threads = 1;
  int handler_threads = 2;
  HttpLimits limits;
};

/// A finished exchange, for the access log and metrics.
struct Exchange {
  const HttpRequest* request;
  int status = 0;      // 499: the client went away first
  uint64_t bytes = 0;  // of the reply
  double seconds = 0;
  std::string summary;  // Source::summary
};

/// What the server asks of its owner. All functions are called from several threads at once.
struct Handlers {
  /// Before the body is read: a response refuses the request.
  std::function<std::optional<HttpResponse>(const HttpRequest& request)> admit;
  /// The reply; runs on the handler pool, must not throw.
  std::function<Reply(HttpRequest& request)> handle;
  /// Whether handle() of this request is quick enough for an I/O thread (probes, metrics).
  std::function<bool(const HttpRequest& request)> is_quick;
  /// A response for what never became a request: malformed, too large, too slow.
  std::function<HttpResponse(const EdgeError& error)> refuse;
  /// An id for a request that came without one.
  std::function<std::string()> new_id;
  std::function<void(const Exchange& exchange)> done;
};

struct ServerCounts {
  int connections = 0;  // open
  int requests = 0;     // being answered
  uint64_t accepted = 0, refused_connections = 0;
};

class Server {
 public:
  /// Binds and listens: from here on connections are accepted. A port in use is refused here.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, Handlers handlers);
  /// Closes every connection.
  ~Server();

  int port() const;
  ServerCounts counts() const;

  /// From now on every reply closes its connection, and idle ones are closed. New ones are still accepted, so
  /// that probes and clients get an answer.
  void drain();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::serve
