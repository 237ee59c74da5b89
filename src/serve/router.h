// Which endpoint answers which request.
#pragma once

#include <span>

#include "serve/endpoints/endpoints.h"

namespace sluice::serve {

struct Route {
  const char* method;
  const char* path;  // a trailing * matches any rest
  Reply (*handler)(App& app, HttpRequest& request);
  const char* metric;  // the path under which it is counted
  bool open = false;   // needs no API key
  bool quick = false;  // may run on an I/O thread
  bool needs_engine = true;
};

std::span<const Route> routes();

/// The route, or nullptr and in `allow` the methods that the path has, comma-separated ("" if it has none).
const Route* find_route(const std::string& method, const std::string& path, std::string& allow);

}  // namespace sluice::serve
