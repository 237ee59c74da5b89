// The head of an HTTP/1.x response, as a client reads it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::serve {

struct ResponseHead {
  int status = 0;
  bool chunked = false;            // how the body is framed:
  std::optional<uint64_t> length;  // neither: it goes on to the end of the connection
  bool keep_alive = true;
};

/// Parses a whole head, as find_head_end delimits it. Nothing when it is no response, or is framed in a way
/// that no HTTP/1.1 client needs to understand.
std::optional<ResponseHead> parse_response_head(std::string_view head);

}  // namespace sluice::serve
