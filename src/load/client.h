// One connection of the load tool: an HTTP/1.1 client that is kept from request to request.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "http/asio.h"
#include "http/response_head.h"

namespace sluice::load {

namespace asio = serve::asio;
using serve::error_code;
using serve::tcp;
using Clock = std::chrono::steady_clock;

/// What went wrong; failures are counted by `kind`.
struct Fault {
  std::string kind, detail;
};

class Client {
 public:
  Client(asio::io_context& context, const tcp::endpoint& server) : socket_(context), server_(server) {}

  /// Takes the pieces of a reply's body as they come. False: enough was seen; the connection ends.
  using Piece = std::function<bool(int status, std::string_view bytes)>;
  /// Sends a request, connecting first where that is needed, and reads the reply to its end.
  asio::awaitable<std::optional<Fault>> exchange(std::string_view request, Piece piece);

  /// Ends the exchange under way with this fault.
  void abort(Fault fault);

 private:
  asio::awaitable<bool> connect();
  asio::awaitable<bool> read_some();
  asio::awaitable<std::optional<serve::ResponseHead>> read_head();
  asio::awaitable<std::optional<Fault>> read_body(const serve::ResponseHead& head, const Piece& piece);
  bool still_open();
  void close();
  Fault fault(std::string kind, std::string detail);

  tcp::socket socket_;
  tcp::endpoint server_;
  std::string buffer_;  // read and not yet used
  error_code error_;    // of the last operation
  std::optional<Fault> aborted_;
};

}  // namespace sluice::load
