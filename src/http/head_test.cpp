// Heads and chunked bodies by the table: what is accepted, and how the rest is refused.
#include "http/head.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/chunked.h"

namespace sluice::serve {
namespace {

using ::testing::ElementsAre;

// The status with which a head is refused; 0: accepted, -1: more is needed.
int refusal(std::string_view text, Head* out = nullptr, HttpLimits limits = {}) {
  const HeadEnd end = find_head_end(text, limits);
  if (end.error) return end.error->status;
  if (end.bytes == 0) return -1;
  Head head = parse_head(text.substr(0, end.bytes), limits);
  const int status = head.error ? head.error->status : 0;
  if (out != nullptr) *out = std::move(head);
  return status;
}

TEST(Head, IsReadIntoValues) {
  Head head;
  ASSERT_EQ(refusal("POST /v1/%63ompletions/?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n"
                    "Content-Type: Application/JSON; charset=utf-8\r\nAuthorization: bearer abc\r\n"
                    "X-Api-Key: def\r\nX-Request-Id: mine-1\r\nExpect: 100-continue\r\n\r\n",
                    &head),
            0);
  EXPECT_EQ(head.request.method, "POST");
  EXPECT_EQ(head.request.path, "/v1/completions");
  EXPECT_EQ(head.request.query, "a=b");
  EXPECT_EQ(head.request.content_type, "application/json");
  EXPECT_THAT(head.request.api_keys, ElementsAre("abc", "def"));
  EXPECT_EQ(head.request.id, "mine-1");
  EXPECT_TRUE(head.request.expects_continue && head.request.keep_alive && head.request.chunked_reply);
  EXPECT_EQ(head.body.length, 12u);
  EXPECT_FALSE(head.body.chunked);

  ASSERT_EQ(refusal("GET / HTTP/1.0\r\n\r\n", &head), 0);
  EXPECT_FALSE(head.request.keep_alive || head.request.chunked_reply || head.request.has_body);
  ASSERT_EQ(refusal("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n", &head), 0);
  EXPECT_TRUE(head.body.chunked && head.request.has_body && !head.request.keep_alive);
  EXPECT_EQ(refusal("GET / HTTP/1.1\r\nHost: x"), -1);
}

TEST(Head, WhatIsMalformedIsRefused) {
  const std::string get = "GET / HTTP/1.1\r\n";
  const struct {
    std::string text;
    int status;
  } kCases[] = {
      {"GET / HTTP/1.1\n\n", 400},
      {get + "A: b\n\r\n", 400},
      {get + "A: b\r\n folded\r\n\r\n", 400},
      {get + "A: b\r\n\tfolded\r\n\r\n", 400},
      {get + "A : b\r\n\r\n", 400},
      {get + ": b\r\n\r\n", 400},
      {get + "nonsense\r\n\r\n", 400},
      {get + std::string("A: b\0c\r\n\r\n", 10), 400},
      {"GET /\r\n\r\n", 400},
      {"G E T / HTTP/1.1\r\n\r\n", 505},
      {"GET  / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"GET / HTTP/0.9\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"\x16\x03\x01\x02 hello\r\n\r\n", 400},
      {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n\r\n", 505},
      {get + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
      {get + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {get + "Content-Length: +5\r\n\r\n", 400},
      {get + "Content-Length: -5\r\n\r\n", 400},
      {get + "Content-Length: 0x5\r\n\r\n", 400},
      {get + "Content-Length: \r\n\r\n", 400},
      {get + "Content-Length: 5, 5\r\n\r\n", 400},
      {get + "Content-Length: 18446744073709551616\r\n\r\n", 400},
      {get + "Content-Length: 33554433\r\n\r\n", 413},
      {get + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {get + "Transfer-Encoding: chunked, chunked\r\n\r\n", 400},
      {get + "Transfer-Encoding: xchunked\r\n\r\n", 400},
      {get + "Transfer-Encoding: gzip, chunked\r\n\r\n", 400},
      {get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {get + "Expect: something\r\n\r\n", 417},
      {"GET //v1 HTTP/1.1\r\n\r\n", 400},
      {"GET /v1/../x HTTP/1.1\r\n\r\n", 400},
      {"GET /v1/%2e%2e/x HTTP/1.1\r\n\r\n", 400},
      {"GET /v1/%zz HTTP/1.1\r\n\r\n", 400},
      {"GET /v1/%00 HTTP/1.1\r\n\r\n", 400},
      {"GET x HTTP/1.1\r\n\r\n", 400},
      {"GET /" + std::string(40'000, 'a') + " HTTP/1.1\r\n\r\n", 431},
      {get + "A: " + std::string(40'000, 'a'), 431},
  };
  for (const auto& c : kCases) EXPECT_EQ(refusal(c.text), c.status) << c.text.substr(0, 100);
  std::string many = get;
  for (int i = 0; i < 101; ++i) many += fmt::format("A{}: b\r\n", i);
  EXPECT_EQ(refusal(many + "\r\n"), 431);
}

TEST(Head, TheEndIsFoundHoweverTheBytesCome) {
  const std::string text = "GET / HTTP/1.1\r\nHost: x\r\n\r\nrest";
  for (size_t n = 0; n < text.size() - 4; ++n)
    EXPECT_EQ(refusal(std::string_view(text).substr(0, n)), -1) << n;
  EXPECT_EQ(find_head_end(text, {}).bytes, text.size() - 4);
}

struct Decoded {
  ChunkDecoder::State state;
  std::string body;
  size_t left;
};
Decoded decode(std::string_view text, size_t piece, size_t limit = 100) {
  ChunkDecoder decoder(limit);
  Decoded out{ChunkDecoder::State::more, "", 0};
  while (out.state == ChunkDecoder::State::more && !text.empty()) {
    std::string_view part = text.substr(0, piece);
    const size_t given = part.size();
    out.state = decoder.feed(part, out.body);
    text.remove_prefix(given - part.size());
  }
  out.left = text.size();
  return out;
}

TEST(Chunks, AreJoinedHoweverTheBytesCome) {
  const std::string text = "5\r\nhello\r\n1;ext=1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nnext";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    const Decoded d = decode(text, piece);
    EXPECT_EQ(d.state, ChunkDecoder::State::done) << piece;
    EXPECT_EQ(d.body, "hello 0123456789");
    EXPECT_EQ(d.left, 4u);
  }
}

TEST(Chunks, WhatIsMalformedOrTooLargeIsRefused) {
  using State = ChunkDecoder::State;
  const struct {
    std::string text;
    State state;
  } kCases[] = {
      {"x\r\n", State::malformed},
      {"\r\n", State::malformed},
      {"-1\r\n", State::malformed},
      {"0x5\r\n", State::malformed},
      {"5\nhello", State::malformed},
      {"5\r\nhelloX\r\n", State::malformed},
      {"5\r\nhello\n", State::malformed},
      {"5;" + std::string(2000, 'x') + "\r\n", State::malformed},
      {"0\r\n" + std::string(2000, 'x') + "\r\n", State::malformed},
      {"FFFFFFFFFFFFFFFF\r\n", State::too_large},
      {"FFFFFFFFFFFFFFFFF\r\n", State::too_large},
      {"65\r\n", State::too_large},
      {"64\r\n" + std::string(100, 'x') + "\r\n1\r\n", State::too_large},
  };
  for (const auto& c : kCases) {
    for (size_t piece : {size_t{1}, size_t{7}, c.text.size()})
      EXPECT_EQ(decode(c.text, piece).state, c.state) << c.text.substr(0, 40);
  }
}

}  // namespace
}  // namespace sluice::serve
