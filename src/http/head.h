// The head of an HTTP/1.x request: from bytes to values, strictly. No socket: this is what the fuzzer feeds.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "http/message.h"

namespace sluice::serve {

struct HttpLimits {
  size_t max_header_bytes = 32 << 10;  // request line and header fields
  size_t max_headers = 100;
  size_t max_body_bytes = size_t{32} << 20;
  int max_connections = 4096;
  double header_timeout = 30;  // seconds, from the first byte of a request to the end of its head
  double body_timeout = 60;    // for the whole body
  double idle_timeout = 300;   // of a kept connection without a request
  double write_timeout = 60;   // a write that makes no progress
};

/// A refusal at the edge: the connection is closed after it.
struct EdgeError {
  int status = 400;
  std::string message;
};

/// Where the head in `data` ends (just behind its empty line), 0: not yet. An EdgeError when no continuation
/// could make it a head that is accepted: bare line feeds, NUL, folded lines, too long.
struct HeadEnd {
  size_t bytes = 0;
  std::optional<EdgeError> error;
};
HeadEnd find_head_end(std::string_view data, const HttpLimits& limits);

/// How the body is framed.
struct BodyFrame {
  bool chunked = false;
  uint64_t length = 0;  // otherwise
};

struct Head {
  HttpRequest request;
  BodyFrame body;
  std::optional<EdgeError> error;  // everything else may be incomplete then
};

/// Parses a whole head, as find_head_end delimits it. What the request may not be (transfer encodings, body
/// sizes, versions) is an error here; what an endpoint decides is not.
Head parse_head(std::string_view head, const HttpLimits& limits);

/// Decodes %XX and refuses what has no one meaning (dot segments, empty segments, bad escapes, control
/// characters): nullopt. A slash at the end is dropped.
std::optional<std::string> normal_path(std::string_view path);

}  // namespace sluice::serve
