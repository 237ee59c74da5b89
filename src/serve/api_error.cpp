#include "serve/api_error.h"

#include "base/json.h"

namespace sluice::serve {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 408:
      return "timeout_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

const char* code_of(int status) {
  switch (status) {
    case 400:
      return "invalid_value";
    case 401:
      return "invalid_api_key";
    case 404:
      return "not_found";
    case 405:
      return "method_not_allowed";
    case 408:
      return "timeout";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_exceeded";
    case 500:
      return "internal_error";
    case 503:
      return "unavailable";
    default:
      return nullptr;
  }
}

}  // namespace

std::string error_body(const ApiError& e) {
  Json code;
  if (e.code) {
    code = *e.code;
  } else if (const char* name = code_of(e.status)) {
    code = name;
  }
  return dump_json({{"error",
                     {{"message", e.message},
                      {"type", type_of(e.status)},
                      {"param", e.param ? Json(*e.param) : Json(nullptr)},
                      {"code", code}}}});
}

HttpResponse error_response(const ApiError& e) {
  HttpResponse out;
  out.status = e.status;
  out.body = error_body(e);
  if (e.status == 401) out.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (e.retry_after > 0) {
    out.headers.emplace_back("Retry-After", std::to_string(e.retry_after));
    out.headers.emplace_back("retry-after-ms", std::to_string(1000 * e.retry_after));
  }
  if (!e.retry) out.headers.emplace_back("x-should-retry", "false");
  return out;
}

ApiError out_of_memory() {
  return {.status = 503, .message = "the server is out of memory", .retry_after = 1};
}

ApiError from_status(const Status& status, std::optional<std::string> param) {
  ApiError out;
  out.message = status.message();
  out.param = std::move(param);
  switch (status.code()) {
    case StatusCode::io_error:  // of memory, most likely
      out.status = 503;
      out.retry_after = 1;
      break;
    case StatusCode::cancelled:
      out.status = 408;
      out.retry = false;
      break;
    case StatusCode::internal:
      out.status = 500;
      out.retry = false;  // what broke a step would break it again
      break;
    case StatusCode::unsupported:
      out.code = "unsupported_parameter";
      break;
    default:
      break;
  }
  return out;
}

}  // namespace sluice::serve
