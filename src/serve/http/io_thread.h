// One I/O thread: its event loop, its mailbox and the connections that live on it.
#pragma once

#include <set>
#include <thread>

#include "http/asio.h"
#include "serve/http/mailbox.h"
#include "serve/http/server.h"

namespace sluice::serve {

class Connection;

/// What all connections share.
struct Shared {
  ServerOptions options;
  Handlers handlers;
  asio::thread_pool pool;
  std::atomic<bool> draining{false};
  std::atomic<int> connections{0}, requests{0};
  std::atomic<uint64_t> accepted{0}, refused{0};

  Shared(const ServerOptions& o, Handlers h)
      : options(o), handlers(std::move(h)), pool(static_cast<size_t>(o.handler_threads)) {}
};

class IoThread {
 public:
  explicit IoThread(std::shared_ptr<Shared> shared);
  /// Waits for its connections to end: stop() them first.
  ~IoThread();
  /// Closes every connection; when it returns, none begins another request.
  void stop();

  asio::io_context& context() { return context_; }
  const std::shared_ptr<Mailbox>& mailbox() { return mailbox_; }
  Shared& shared() { return *shared_; }

  /// Begins to serve a socket of this thread's context; from any thread.
  void adopt(tcp::socket socket);
  /// Of the thread alone:
  void add(Connection* connection) { connections_.insert(connection); }
  void remove(Connection* connection) { connections_.erase(connection); }

 private:
  void sweep();

  std::shared_ptr<Shared> shared_;
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  asio::steady_timer sweeper_{context_};
  std::shared_ptr<Mailbox> mailbox_;
  std::set<Connection*> connections_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::serve
