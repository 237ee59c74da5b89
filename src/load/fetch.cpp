#include "load/fetch.h"

namespace sluice::load {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);
constexpr size_t kMaxBody = size_t{16} << 20;

asio::awaitable<void> get(Client& client, const std::string& request, std::string& body,
                          std::optional<Fault>& fault, asio::steady_timer& limit) {
  Client::Piece piece = [&body](int, std::string_view bytes) {
    body += bytes;
    return body.size() < kMaxBody;
  };
  fault = co_await client.exchange(request, std::move(piece));
  limit.cancel();
}

}  // namespace

/// The first address of the host that accepts a connection.
Result<tcp::endpoint> find_server(asio::io_context& context, const Target& target) {
  error_code ec;
  tcp::resolver resolver(context);
  const auto found = resolver.resolve(target.host, target.port, ec);
  if (ec) return invalid_argument("--url: {} is not known: {}", target.host, ec.message());
  for (const auto& entry : found) {
    tcp::socket socket(context);
    socket.connect(entry.endpoint(), ec);
    if (!ec) return entry.endpoint();
  }
  return invalid_argument("cannot connect to {}: {}", target.authority(), ec.message());
}

std::string request_head(const Target& target, std::string_view method, std::string_view path,
                         const Headers& headers) {
  std::string head =
      fmt::format("{} {}{} HTTP/1.1\r\nHost: {}\r\n", method, target.prefix, path, target.authority());
  for (const auto& [name, value] : headers) head += fmt::format("{}: {}\r\n", name, value);
  return head;
}

Result<std::string> fetch(const Target& target, std::string_view path, const Headers& headers) {
  asio::io_context context(1);
  SLUICE_ASSIGN(const tcp::endpoint server, find_server(context, target));
  Client client(context, server);
  asio::steady_timer limit(context, kPatience);
  limit.async_wait([&](error_code ec) {
    if (!ec) client.abort({"timeout", "no reply came within ten seconds"});
  });
  const std::string request = request_head(target, "GET", path, headers) + "\r\n";
  std::string body;
  std::optional<Fault> fault;
  asio::co_spawn(
      context, [&] { return get(client, request, body, fault, limit); }, asio::detached);
  context.run();
  if (fault) return io_error("{}{}: {}: {}", target.authority(), path, fault->kind, fault->detail);
  return body;
}

}  // namespace sluice::load
