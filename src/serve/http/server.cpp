#include "serve/http/server.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <future>

#include "base/log.h"
#include "base/memory_reserve.h"
#include "serve/http/connection.h"

namespace sluice::serve {

namespace {
constexpr auto kSweep = std::chrono::milliseconds(100);

// What a handler throws, std::bad_alloc most likely, is its own loss: the loop goes on.
void run_loop(asio::io_context& context) {
  while (true) {
    try {
      context.run();
      return;
    } catch (const std::exception& e) {
      log_error("I/O thread: {}", e.what());
    }
  }
}
}  // namespace

IoThread::IoThread(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {
  mailbox_ = std::make_shared<Mailbox>([this] { asio::post(context_, [this] { mailbox_->drain(); }); });
  sweep();
  thread_ = std::thread([this] { run_loop(context_); });
}

void IoThread::stop() {
  std::promise<void> done;
  asio::post(context_, [this, &done] {
    stopping_ = true;
    for (Connection* connection : connections_) connection->close();
    sweeper_.cancel();
    done.set_value();
  });
  done.get_future().wait();
}

IoThread::~IoThread() {
  mailbox_->close();
  work_.reset();
  thread_.join();
}

void IoThread::adopt(tcp::socket socket) {
  asio::post(context_, [this, socket = std::move(socket)]() mutable {
    if (!stopping_) Connection::begin(std::make_shared<Connection>(*this, std::move(socket)));
  });
}

void IoThread::sweep() {
  fill_memory_reserve();
  sweeper_.expires_after(kSweep);
  sweeper_.async_wait([this](error_code) {
    if (stopping_) return;
    const auto now = Clock::now();
    for (auto it = connections_.begin(); it != connections_.end();) (*it++)->check(now);
    sweep();
  });
}

class Server::Impl {
 public:
  Impl(const ServerOptions& options, Handlers handlers)
      : shared_(std::make_shared<Shared>(options, std::move(handlers))) {
    for (int i = 0; i < options.io_threads; ++i) threads_.push_back(std::make_unique<IoThread>(shared_));
  }

  ~Impl() {
    asio::post(context_, [this] {
      error_code ec;
      acceptor_.close(ec);
      retry_.cancel();
      work_.reset();
    });
    if (thread_.joinable()) thread_.join();
    // No new work for the handlers; then those still at work post back to the I/O threads, which must be
    // there.
    for (auto& thread : threads_) thread->stop();
    shared_->pool.join();
    threads_.clear();
  }

  Status listen() {
    const ServerOptions& o = shared_->options;
    error_code ec;
    const auto address = asio::ip::make_address(o.host == "localhost" ? "127.0.0.1" : o.host, ec);
    if (ec)
      return invalid_argument("--host {}: give a numeric address, such as 127.0.0.1, 0.0.0.0 or ::", o.host);
    const tcp::endpoint endpoint(address, static_cast<unsigned short>(o.port));
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec && address.is_v6()) acceptor_.set_option(asio::ip::v6_only(false), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(4096, ec);
    if (ec)
      return invalid_argument("cannot listen on {} port {}: {}; choose another --port", o.host, o.port,
                              ec.message());
    port_ = acceptor_.local_endpoint().port();
    accept();
    thread_ = std::thread([this] { run_loop(context_); });
    return {};
  }

  int port() const { return port_; }
  Shared& shared() { return *shared_; }

 private:
  void accept() {
    if (!descriptors_to_spare()) return accept_later();
    IoThread& target = *threads_[next_++ % threads_.size()];
    acceptor_.async_accept(target.context(), [this, &target](error_code ec, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (ec) return accept_later();
      ++shared_->accepted;
      if (shared_->connections >= shared_->options.limits.max_connections) {
        refuse(std::move(socket));
      } else {
        ++shared_->connections;
        target.adopt(std::move(socket));
      }
      accept();
    });
  }

  /// Waits for descriptors to come back rather than spin.
  void accept_later() {
    retry_.expires_after(kSweep);
    retry_.async_wait([this](error_code) {
      if (acceptor_.is_open()) accept();
    });
  }

  /// Connections leave some descriptors to the rest of the process: to files, and to drivers, which may not
  /// bear the want of them.
  bool descriptors_to_spare() {
    constexpr rlim_t kMost = 64, kShare = 8;
    struct rlimit files {};
    const int next = ::dup(acceptor_.native_handle());  // the lowest that is free
    if (next < 0) return false;
    ::close(next);
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY) return true;
    return static_cast<rlim_t>(next) + std::min(kMost, files.rlim_cur / kShare) < files.rlim_cur;
  }

  void refuse(tcp::socket socket) {
    ++shared_->refused;
    const HttpResponse response = shared_->handlers.refuse(
        {503, fmt::format("{} connections are open (--max_connections); try again later",
                          shared_->options.limits.max_connections)});
    const std::string bytes = fmt::format(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {}\r\nContent-Length: {}\r\nRetry-After: 1\r\n"
        "Connection: close\r\n\r\n{}",
        response.content_type, response.body.size(), response.body);
    error_code ec;
    socket.non_blocking(true, ec);
    socket.write_some(asio::buffer(bytes), ec);  // a fresh socket's buffer takes it at once
  }

  std::shared_ptr<Shared> shared_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  tcp::acceptor acceptor_{context_};
  asio::steady_timer retry_{context_};
  size_t next_ = 0;
  int port_ = 0;
  std::thread thread_;
};

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, Handlers handlers) {
  struct rlimit files {};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  auto impl = std::make_unique<Impl>(options, std::move(handlers));
  SLUICE_TRY(impl->listen());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

int Server::port() const { return impl_->port(); }

ServerCounts Server::counts() const {
  const Shared& s = impl_->shared();
  return {s.connections, s.requests, s.accepted, s.refused};
}

void Server::drain() { impl_->shared().draining = true; }

}  // namespace sluice::serve
