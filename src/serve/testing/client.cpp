#include "serve/testing/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

namespace sluice::serve::testing {

Json Response::json() const {
  auto parsed = parse_json(body, "response");
  SLUICE_CHECK(parsed.ok(), "{}: {}", parsed.status().message(), body);
  return *std::move(parsed);
}

std::vector<std::string> Response::events() const {
  std::vector<std::string> out;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = body.find("\n\n", begin);
    SLUICE_CHECK(end != std::string::npos, "an event without an end: {}", body.substr(begin));
    const size_t data = body.find("data: ", begin);
    SLUICE_CHECK(data < end, "an event without data: {}", body.substr(begin, end - begin));
    out.push_back(body.substr(data + 6, end - data - 6));
    begin = end + 2;
  }
  return out;
}

Client::Client(int port, int receive_buffer) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  const timeval limit{60, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  SLUICE_CHECK(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "port {}", port);
}

Client::~Client() {
  if (fd_ >= 0) ::close(fd_);
}

bool Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool Client::more() {
  char piece[16384];
  const ssize_t n = ::recv(fd_, piece, sizeof(piece), 0);
  if (n <= 0) return false;
  buffer_.append(piece, static_cast<size_t>(n));
  return true;
}

bool Client::receive_until(std::string_view text) {
  while (buffer_.find(text) == std::string::npos) {
    if (!more()) return false;
  }
  return true;
}

bool Client::closed() {
  while (more()) {
  }
  return true;
}

void Client::half_close() { ::shutdown(fd_, SHUT_WR); }

void Client::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  ::close(fd_);
  fd_ = -1;
}

Response Client::receive() {
  Response out;
  if (!receive_until("\r\n\r\n")) return out;
  const size_t end = buffer_.find("\r\n\r\n");
  const std::string head = buffer_.substr(0, end + 2);
  buffer_.erase(0, end + 4);
  out.status = std::stoi(head.substr(9, 3));
  for (size_t line = head.find("\r\n") + 2; line < head.size();) {
    const size_t next = head.find("\r\n", line), colon = head.find(':', line);
    std::string name = head.substr(line, colon - line);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    out.headers[name] = head.substr(colon + 2, next - colon - 2);
    line = next + 2;
  }
  if (out.status == 100) return receive();
  if (out.headers["transfer-encoding"] == "chunked") {
    while (true) {
      if (!receive_until("\r\n")) return out;
      const size_t size = std::stoul(buffer_, nullptr, 16), data = buffer_.find("\r\n") + 2;
      while (buffer_.size() < data + size + 2) {
        if (!more()) return out;
      }
      out.body += buffer_.substr(data, size);
      buffer_.erase(0, data + size + 2);
      if (size == 0) return out;
    }
  }
  if (out.headers.contains("content-length")) {
    const size_t length = std::stoul(out.headers["content-length"]);
    while (buffer_.size() < length && more()) {
    }
    out.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
  } else if (out.headers["connection"] == "close") {
    closed();
    out.body = std::move(buffer_);
  }
  return out;
}

std::string post_bytes(const std::string& path, const std::string& body, const std::string& headers) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", path,
      body.size(), headers, body);
}

Response Client::get(const std::string& path, const std::string& headers) {
  send(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n", path, headers));
  return receive();
}

Response Client::post(const std::string& path, const std::string& body, const std::string& headers) {
  send(post_bytes(path, body, headers));
  return receive();
}

}  // namespace sluice::serve::testing
