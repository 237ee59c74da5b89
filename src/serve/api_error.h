// Errors in the shape that OpenAI clients read.
#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "http/message.h"

namespace sluice::serve {

struct ApiError {
  int status = 400;
  std::string message;
  std::optional<std::string> param;  // the field
  std::optional<std::string> code;   // "context_length_exceeded", ...; empty: by status
  bool retry = true;                 // false: tells the client that the same request will fail again
  int retry_after = 0;               // seconds; 0: the header is left out
};

/// {"error": {"message", "type", "param", "code"}}, all four keys present.
std::string error_body(const ApiError& error);
HttpResponse error_response(const ApiError& error);

ApiError out_of_memory();

/// What a failure is to a client: bad input 400, out of time 408, ours 500, the system's 503.
ApiError from_status(const Status& status, std::optional<std::string> param = std::nullopt);

}  // namespace sluice::serve
