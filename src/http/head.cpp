#include "http/head.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <charconv>
#include <limits>

namespace sluice::serve {

namespace http = boost::beast::http;

namespace {

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

EdgeError error_of(const boost::system::error_code& ec) {
  if (ec == http::error::header_limit) return {431, "the header is too large"};
  if (ec == http::error::body_limit) return {413, "the body is too large"};
  if (ec == http::error::bad_version) return {505, "this server speaks HTTP/1.1 and HTTP/1.0"};
  return {400, "malformed HTTP request: " + ec.message()};
}

// Content-Length, strictly: digits only, and once.
std::optional<EdgeError> read_length(const http::fields& fields, uint64_t limit, uint64_t& length) {
  const auto range = fields.equal_range(http::field::content_length);
  if (std::distance(range.first, range.second) > 1) return EdgeError{400, "Content-Length is given twice"};
  if (range.first == range.second) return std::nullopt;
  const std::string_view text = view(range.first->value());
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.empty() || end != text.data() + text.size() || text[0] == '-' || ec == std::errc::invalid_argument)
    return EdgeError{400, "Content-Length is not a number"};
  if (ec == std::errc::result_out_of_range || length > limit) {
    return EdgeError{413, "the body of " + std::string(text.substr(0, 24)) + " bytes is above the limit of " +
                              std::to_string(limit) + " (--max_body_bytes)"};
  }
  return std::nullopt;
}

std::optional<EdgeError> read_framing(const http::fields& fields, const HttpLimits& limits, Head& head) {
  if (auto error = read_length(fields, limits.max_body_bytes, head.body.length)) return error;
  const bool has_length = fields.find(http::field::content_length) != fields.end();
  const auto range = fields.equal_range(http::field::transfer_encoding);
  const auto count = std::distance(range.first, range.second);
  if (count > 0) {
    if (has_length) return EdgeError{400, "Content-Length and Transfer-Encoding exclude each other"};
    if (!head.request.chunked_reply) return EdgeError{400, "HTTP/1.0 has no Transfer-Encoding"};
    if (count > 1 || lower(view(range.first->value())) != "chunked")
      return EdgeError{400, "the only Transfer-Encoding understood is chunked"};
    head.body.chunked = true;
  }
  head.request.has_body = head.body.chunked || head.body.length > 0;
  return std::nullopt;
}

void read_keys(const http::fields& fields, HttpRequest& request) {
  const auto range = fields.equal_range(http::field::authorization);
  for (auto it = range.first; it != range.second; ++it) {
    const std::string_view value = view(it->value());
    const size_t space = value.find(' ');
    const bool bearer = space != std::string_view::npos && lower(value.substr(0, space)) == "bearer";
    request.api_keys.emplace_back(bearer ? value.substr(space + 1) : std::string_view());
  }
  for (const auto& field : fields) {
    if (lower(view(field.name_string())) == "x-api-key") request.api_keys.emplace_back(view(field.value()));
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<EdgeError> read_target(std::string_view target, HttpRequest& request) {
  const size_t question = target.find('?');
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  const auto path = normal_path(target.substr(0, question));
  if (!path) return EdgeError{400, "the request's path is not a plain path"};
  request.path = *path;
  return std::nullopt;
}

}  // namespace

std::optional<std::string> normal_path(std::string_view path) {
  if (path == "*") return std::string(path);  // OPTIONS *
  if (path.empty() || path[0] != '/') return std::nullopt;
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    char c = path[i];
    if (c == '%') {
      const int high = i + 1 < path.size() ? hex_digit(path[i + 1]) : -1;
      const int low = i + 2 < path.size() ? hex_digit(path[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') return std::nullopt;
    out.push_back(c);
  }
  if (out.find("//") != std::string::npos) return std::nullopt;
  for (std::string_view dots : {"/./", "/../"}) {
    if ((out + "/").find(dots) != std::string::npos) return std::nullopt;
  }
  if (out.size() > 1 && out.back() == '/') out.pop_back();
  return out;
}

HeadEnd find_head_end(std::string_view data, const HttpLimits& limits) {
  const std::string_view seen = data.substr(0, limits.max_header_bytes);
  size_t line = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    const char c = seen[i];
    if (c == '\0') return {0, EdgeError{400, "malformed HTTP request: a NUL byte in the header"}};
    if (c != '\n') continue;
    if (i == 0 || seen[i - 1] != '\r')
      return {0, EdgeError{400, "malformed HTTP request: a line feed without a carriage return"}};
    if (i - line == 1) return {i + 1, std::nullopt};
    line = i + 1;
    if (line < seen.size() && (seen[line] == ' ' || seen[line] == '\t'))
      return {0, EdgeError{400, "malformed HTTP request: a folded header line"}};
  }
  if (data.size() > limits.max_header_bytes) {
    return {0, EdgeError{431, "the header is above the limit of " + std::to_string(limits.max_header_bytes) +
                                  " bytes (--max_header_bytes)"}};
  }
  return {};
}

Head parse_head(std::string_view text, const HttpLimits& limits) {
  Head head;
  HttpRequest& request = head.request;
  http::request_parser<http::empty_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(limits.max_header_bytes + 1));
  parser.body_limit(std::numeric_limits<std::uint64_t>::max());  // read_length limits it
  boost::system::error_code ec;
  parser.put(boost::asio::const_buffer(text.data(), text.size()), ec);
  if (!parser.is_header_done()) {
    head.error = ec ? error_of(ec) : EdgeError{400, "malformed HTTP request"};
    return head;
  }
  const auto& message = parser.get();
  const http::fields& fields = message;
  if (message.version() != 11 && message.version() != 10) {
    head.error = EdgeError{505, "this server speaks HTTP/1.1 and HTTP/1.0"};
    return head;
  }
  request.chunked_reply = message.version() == 11;
  request.keep_alive = message.keep_alive();
  request.method = view(message.method_string());
  const auto count = static_cast<size_t>(std::distance(fields.begin(), fields.end()));
  if (count > limits.max_headers) {
    head.error =
        EdgeError{431, "the request has " + std::to_string(count) + " header fields, more than the " +
                           std::to_string(limits.max_headers) + " allowed"};
    return head;
  }
  if ((head.error = read_target(view(message.target()), request))) return head;
  if ((head.error = read_framing(fields, limits, head))) return head;
  if (const auto id = fields.find("x-request-id"); id != fields.end()) {
    const std::string_view value = view(id->value());
    if (!value.empty() && value.size() <= 128 && printable(value)) request.id = value;
  }
  const std::string type = lower(view(fields[http::field::content_type]));
  request.content_type = type.substr(0, type.find_first_of("; \t"));
  request.content_encoding = lower(view(fields[http::field::content_encoding]));
  const std::string expect = lower(view(fields[http::field::expect]));
  if (!expect.empty() && expect != "100-continue")
    head.error = EdgeError{417, "the only expectation understood is 100-continue"};
  request.expects_continue = expect == "100-continue";
  read_keys(fields, request);
  return head;
}

std::string_view reason_phrase(int status) {
  const boost::beast::string_view text = http::obsolete_reason(static_cast<http::status>(status));
  return {text.data(), text.size()};
}

}  // namespace sluice::serve
