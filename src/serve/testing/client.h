// A small blocking HTTP client for tests: it sends whatever bytes it is told to.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace sluice::serve::testing {

struct Response {
  int status = 0;                              // 0: the connection ended without one
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined

  Json json() const;
  /// The data of each server-sent event.
  std::vector<std::string> events() const;
};

class Client {
 public:
  /// Connects to 127.0.0.1. `receive_buffer`: bytes of the socket's buffer; 0: the system's.
  explicit Client(int port, int receive_buffer = 0);
  ~Client();
  Client(Client&& other) noexcept : fd_(other.fd_), buffer_(std::move(other.buffer_)) { other.fd_ = -1; }
  Client(const Client&) = delete;

  bool send(std::string_view bytes);
  /// Reads one response; gives up after 60 s without a byte.
  Response receive();
  /// Reads until `text` has come; false at the end of the connection.
  bool receive_until(std::string_view text);
  /// Whether the server has closed the connection; waits for it.
  bool closed();
  /// What was read and not yet taken.
  const std::string& pending() const { return buffer_; }
  void half_close();
  /// Closes with a reset instead of a goodbye.
  void reset();

  Response get(const std::string& path, const std::string& headers = "");
  Response post(const std::string& path, const std::string& body, const std::string& headers = "");

 private:
  bool more();

  int fd_ = -1;
  std::string buffer_;
};

/// A POST request's bytes.
std::string post_bytes(const std::string& path, const std::string& body, const std::string& headers = "");

}  // namespace sluice::serve::testing
