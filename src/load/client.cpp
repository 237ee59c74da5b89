#include "load/client.h"

#include <algorithm>
#include <array>

#include "http/chunked.h"
#include "http/head.h"

namespace sluice::load {

using serve::ChunkDecoder;
using serve::ResponseHead;

namespace {

constexpr size_t kPiece = 16 << 10;

}  // namespace

void Client::abort(Fault fault) {
  aborted_ = std::move(fault);
  close();
}

void Client::close() {
  error_code ignored;
  socket_.close(ignored);
  buffer_.clear();
}

// The connection is of no more use; why it was given up goes before what followed from that.
Fault Client::fault(std::string kind, std::string detail) {
  close();
  return aborted_ ? *std::exchange(aborted_, std::nullopt) : Fault{std::move(kind), std::move(detail)};
}

// A kept connection that the server has closed meanwhile has an end to read.
bool Client::still_open() {
  if (!socket_.is_open()) return false;
  char byte = 0;
  error_code ec;
  socket_.receive(asio::buffer(&byte, 1), tcp::socket::message_peek, ec);
  if (ec == asio::error::would_block) return true;
  close();
  return false;
}

asio::awaitable<bool> Client::connect() {
  if (still_open()) co_return true;
  co_await socket_.async_connect(server_, asio::redirect_error(asio::use_awaitable, error_));
  if (error_) co_return false;
  socket_.set_option(tcp::no_delay(true), error_);
  socket_.non_blocking(true, error_);
  co_return !error_;
}

asio::awaitable<bool> Client::read_some() {
  std::array<char, kPiece> piece;
  const size_t n = co_await socket_.async_read_some(asio::buffer(piece),
                                                    asio::redirect_error(asio::use_awaitable, error_));
  buffer_.append(piece.data(), n);
  co_return !error_;
}

// The head of the reply itself: interim ones (100 Continue) are passed over.
asio::awaitable<std::optional<ResponseHead>> Client::read_head() {
  while (true) {
    const serve::HeadEnd end = serve::find_head_end(buffer_, {});
    if (end.error) co_return std::nullopt;
    if (end.bytes > 0) {
      std::optional<ResponseHead> head =
          serve::parse_response_head(std::string_view(buffer_).substr(0, end.bytes));
      buffer_.erase(0, end.bytes);
      if (!head || head->status >= 200) co_return head;
      continue;
    }
    const bool read = co_await read_some();
    if (!read) co_return std::nullopt;
  }
}

asio::awaitable<std::optional<Fault>> Client::read_body(const ResponseHead& head, const Piece& piece) {
  ChunkDecoder decoder(std::numeric_limits<size_t>::max());
  uint64_t left = head.length.value_or(std::numeric_limits<uint64_t>::max());
  std::string content;
  while (true) {
    bool done = false;
    content.clear();
    if (head.chunked) {
      std::string_view data = buffer_;
      const ChunkDecoder::State state = decoder.feed(data, content);
      buffer_.erase(0, buffer_.size() - data.size());
      if (state == ChunkDecoder::State::malformed || state == ChunkDecoder::State::too_large)
        co_return fault("malformed reply", "its chunks are malformed");
      done = state == ChunkDecoder::State::done;
    } else {
      content = buffer_.substr(0, static_cast<size_t>(std::min<uint64_t>(left, buffer_.size())));
      buffer_.erase(0, content.size());
      left -= content.size();
      done = left == 0;
    }
    if (!content.empty() && !piece(head.status, content)) {
      close();
      co_return std::nullopt;
    }
    if (done) co_return std::nullopt;
    const bool read = co_await read_some();
    if (read) continue;
    if (!head.chunked && !head.length && error_ == asio::error::eof && !aborted_) co_return std::nullopt;
    co_return fault("connection lost", "it ended before the reply did: " + error_.message());
  }
}

asio::awaitable<std::optional<Fault>> Client::exchange(std::string_view request, Piece piece) {
  aborted_.reset();
  const bool connected = co_await connect();
  if (!connected) co_return fault("cannot connect", error_.message());
  co_await asio::async_write(socket_, asio::buffer(request.data(), request.size()),
                             asio::redirect_error(asio::use_awaitable, error_));
  if (error_) co_return fault("connection lost", "while the request was sent: " + error_.message());
  const std::optional<ResponseHead> head = co_await read_head();
  if (!head) {
    co_return error_ ? fault("connection lost", "before a reply came: " + error_.message())
                     : fault("malformed reply", "its head is no HTTP/1.1");
  }
  const std::optional<Fault> ended = co_await read_body(*head, piece);
  if (!ended && !head->keep_alive) close();
  co_return ended;
}

}  // namespace sluice::load
