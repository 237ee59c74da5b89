#include "http/response_head.h"

#include <gtest/gtest.h>

namespace sluice::serve {
namespace {

TEST(ResponseHead, IsReadIntoValues) {
  const auto chunked = parse_response_head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  ASSERT_TRUE(chunked);
  EXPECT_EQ(chunked->status, 200);
  EXPECT_TRUE(chunked->chunked && chunked->keep_alive);
  const auto sized =
      parse_response_head("HTTP/1.1 429 Slow\r\nContent-Length: 12\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(sized);
  EXPECT_EQ(sized->status, 429);
  EXPECT_EQ(sized->length, 12u);
  EXPECT_FALSE(sized->keep_alive);
  const auto open = parse_response_head("HTTP/1.1 200 OK\r\n\r\n");
  ASSERT_TRUE(open);
  EXPECT_FALSE(open->keep_alive) << "only the end of the connection ends it";
  EXPECT_FALSE(parse_response_head("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n")->keep_alive);
}

TEST(ResponseHead, RefusesWhatIsNone) {
  for (const char* bad : {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "220 smtp ready\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"})
    EXPECT_FALSE(parse_response_head(bad)) << bad;
}

}  // namespace
}  // namespace sluice::serve
