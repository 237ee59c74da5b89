#include "http/response_head.h"

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <limits>

namespace sluice::serve {

namespace http = boost::beast::http;

std::optional<ResponseHead> parse_response_head(std::string_view text) {
  http::response_parser<http::empty_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(text.size() + 1));
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());
  boost::system::error_code ec;
  parser.put(boost::asio::const_buffer(text.data(), text.size()), ec);
  if (!parser.is_header_done()) return std::nullopt;
  ResponseHead head;
  head.status = static_cast<int>(parser.get().result_int());
  head.chunked = parser.chunked();
  if (const auto length = parser.content_length()) head.length = *length;
  head.keep_alive = parser.get().keep_alive() && (head.chunked || head.length);
  return head;
}

}  // namespace sluice::serve
